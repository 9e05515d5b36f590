package client_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/client"
	"mailproxy/spool/server"
	"mailproxy/spool/server/storetest"
)

var (
	north = mixclient.Service{Kind: mixclient.KindSpool, Provider: "north.test", Node: "n"}
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// direct is a network without a way: it hands requests to a server, pads both
// ways, and loses replies when told to.
type direct struct {
	mixclient.Network // nil: nothing else of it is used
	server            *server.Server
	lose              atomic.Int32 // that many of the next replies
}

func (d *direct) Query(ctx context.Context, _ mixclient.Service, request []byte) ([]byte, error) {
	if len(request) > spool.MaxRequestSize {
		return nil, mixclient.ErrTooLarge
	}
	reply := d.server.Answer(ctx, pad(request))
	if d.lose.Add(-1) >= 0 {
		return nil, mixclient.ErrLost
	}
	return pad(reply), nil
}

func pad(b []byte) []byte {
	return append(bytes.Clone(b), make([]byte, spool.MaxRequestSize-len(b))...)
}

// A world is a server and the keys of one user.
type world struct {
	net            *direct
	store          *badgerstore.Store
	identity, read ed25519.PrivateKey
	signing        client.Signing
	now            atomic.Int64
}

func (w *world) spool() spool.ID { return spool.IDOf(w.read.Public().(ed25519.PublicKey)) }

func (w *world) bundle(t testing.TB, version uint64) *spool.SignedBundle {
	t.Helper()
	b := &spool.Bundle{
		Format: spool.BundleFormat, Address: "alice@north.test", Version: version, Spool: w.spool(),
		Identity: w.identity.Public().(ed25519.PublicKey), Static: make([]byte, spool.StaticSize),
		Prekey: spool.Prekey{ID: make([]byte, spool.PrekeyIDSize), Public: make([]byte, spool.PrekeySize)},
	}
	s, err := b.Sign(w.identity)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newWorld(t testing.TB, limits server.Limits) *world {
	t.Helper()
	st, err := badgerstore.Open(badgerstore.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var clock atomic.Int64 // of the server, in seconds
	clock.Store(start.Unix())
	s, err := server.New(server.Options{
		Store: st, Provider: "north.test", Limits: limits,
		Now: func() time.Time { return time.Unix(clock.Load(), 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), st.Close()); err != nil {
			t.Error(err)
		}
	})
	w := &world{
		net: &direct{server: s}, store: st,
		identity: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize)),
		read:     ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize)),
	}
	w.now.Store(start.Unix())
	var nonce atomic.Uint64
	w.signing = client.Signing{
		Instance: spool.Instance{1},
		Nonce:    func() uint64 { return nonce.Add(1) },
		Now:      func() time.Time { return time.Unix(w.now.Load(), 0) },
	}
	return w
}

func (w *world) client() *client.Client { return client.New(w.net, north, w.signing) }

func TestClient(t *testing.T) {
	ctx, w := t.Context(), newWorld(t, server.Limits{MaxBlocks: 2})
	c := w.client()
	check := func(what string, err, want error, temporary bool) {
		t.Helper()
		if !errors.Is(err, want) || (want == nil) != (err == nil) || client.IsTemporary(err) != temporary {
			t.Fatalf("%s: %v, temporary %v; want %v", what, err, client.IsTemporary(err), want)
		}
	}
	_, err := c.Lookup(ctx, "alice", 0)
	check("look up nobody", err, client.ErrNoUser, false)
	_, err = c.Append(ctx, w.spool(), storetest.Block(1), nil)
	check("append to no spool", err, client.ErrNoSpool, false)

	// The reply to each request is lost once; the repetition succeeds.
	w.net.lose.Store(1)
	check("register, lost", c.Register(ctx, w.identity, w.read, w.bundle(t, 1), nil), mixclient.ErrLost, true)
	check("register", c.Register(ctx, w.identity, w.read, w.bundle(t, 1), nil), nil, false)
	w.net.lose.Store(1)
	check("replace, lost", c.Replace(ctx, w.identity, w.bundle(t, 2)), mixclient.ErrLost, true)
	check("replace", c.Replace(ctx, w.identity, w.bundle(t, 2)), nil, false)
	check("replace by an older one", c.Replace(ctx, w.identity, w.bundle(t, 1)), client.ErrStale, false)
	w.net.lose.Store(1)
	_, err = c.Append(ctx, w.spool(), storetest.Block(1), nil)
	check("append, lost", err, mixclient.ErrLost, true)
	known, err := c.Append(ctx, w.spool(), storetest.Block(1), nil)
	check("append", err, nil, false)
	if !known {
		t.Fatal("the repeated block was stored again")
	}
	if known, err = c.Append(ctx, w.spool(), storetest.Block(2), nil); known || err != nil {
		t.Fatalf("append: %v, %v", known, err)
	}
	_, err = c.Append(ctx, w.spool(), storetest.Block(3), nil)
	check("append to a full spool", err, client.ErrFull, true)
	_, err = c.Append(ctx, w.spool(), make([]byte, spool.BlockSize+1), nil)
	check("append too much", err, client.ErrTooBig, false)
	_, err = c.Append(ctx, w.spool(), storetest.Block(3), &spool.LaneProof{Lane: 9, Proof: []byte{1}})
	check("append by an unknown lane", err, client.ErrLane, false)

	f, err := c.Lookup(ctx, "alice", 1)
	if err != nil || f.Bundle.Version != 2 || !bytes.Equal(f.Signed.Body, w.bundle(t, 2).Body) || f.Index != 0 || f.Record.Version != 1 {
		t.Fatalf("look up: %+v, %v", f, err)
	}

	// A wrong clock is told apart, with the service's time.
	for skew, want := range map[time.Duration]error{-6 * time.Minute: client.ErrExpired, 6 * time.Minute: client.ErrTooFar} {
		w.now.Store(start.Add(skew).Unix())
		err := c.Replace(ctx, w.identity, w.bundle(t, 3))
		check("wrong clock", err, want, true)
		var refused *spool.Refused
		if !errors.As(err, &refused) || !refused.Time.Equal(start) {
			t.Fatalf("wrong clock: %v does not have the service's time", err)
		}
	}
	for _, skew := range []time.Duration{-4 * time.Minute, 4 * time.Minute} {
		w.now.Store(start.Add(skew).Unix())
		check("clock a little wrong", c.Replace(ctx, w.identity, w.bundle(t, 3)), nil, false)
	}
	if err := client.New(w.net, north, client.Signing{}).Replace(ctx, w.identity, w.bundle(t, 9)); err == nil {
		t.Fatal("a request was signed without a nonce")
	}
}

// A service that answers with somebody else's bundle, or with none, is caught.
func TestLookupChecksTheBundle(t *testing.T) {
	w := newWorld(t, server.Limits{})
	good := w.bundle(t, 1)
	changed := *good
	changed.Body = bytes.Clone(good.Body)
	changed.Body[len(changed.Body)-1] ^= 1
	for name, signed := range map[string]spool.SignedBundle{"bob": *good, "alice": changed} {
		reply, err := spool.EncodeReply(spool.StatusOK, spool.LookupReply{Bundle: signed})
		if err != nil {
			t.Fatal(err)
		}
		c := client.New(answering{reply: reply}, north, client.Signing{})
		if _, err := c.Lookup(t.Context(), name, 0); !errors.Is(err, client.ErrReply) || !client.IsTemporary(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// answering is a network that has one answer.
type answering struct {
	mixclient.Network
	reply []byte
}

func (a answering) Query(context.Context, mixclient.Service, []byte) ([]byte, error) {
	return a.reply, nil
}

func TestIsTemporary(t *testing.T) {
	for err, want := range map[error]bool{
		nil: false, mixclient.ErrLost: true, mixclient.ErrClosed: true, mixclient.ErrUnknownService: true,
		mixclient.ErrTooLarge: false, context.Canceled: true, client.ErrTemporary: true, client.ErrFull: true,
		client.ErrOtherReader: true, client.ErrReplayed: true, client.ErrExpired: true, client.ErrTooFar: true,
		client.ErrNoUser: false, client.ErrNoSpool: false, client.ErrVersion: false, client.ErrReply: true,
		&spool.Refused{Status: spool.StatusTaken}: false, fmt.Errorf("x: %w", &spool.Refused{Status: spool.StatusTemporary}): true,
	} {
		if got := client.IsTemporary(err); got != want {
			t.Errorf("IsTemporary(%v) = %v", err, got)
		}
	}
}

// Everything together: many reads in flight, lost and reordered, over the real
// server and its store.
func TestReaderOverServer(t *testing.T) {
	const blocks = 60
	w := newWorld(t, server.Limits{})
	c := w.client()
	if err := c.Register(t.Context(), w.identity, w.read, w.bundle(t, 1), nil); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards got and cursors
	got := make(map[uint64]int)
	var cursors []uint64
	r, err := client.NewReader(client.ReaderOptions{
		Service: north, Key: w.read, Signing: w.signing,
		Deliver: func(seq uint64, block []byte) error {
			mu.Lock()
			defer mu.Unlock()
			got[seq] = storetest.BlockNumber(block)
			return nil
		},
		Moved: func(cursor uint64) {
			mu.Lock()
			defer mu.Unlock()
			cursors = append(cursors, cursor)
		},
		Failed: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range blocks {
			if _, err := c.Append(t.Context(), w.spool(), storetest.Block(n), nil); err != nil {
				t.Error(err)
			}
		}
	})
	for range 5 {
		wg.Go(func() {
			for deadline := time.Now().Add(2 * time.Minute); r.Cursor() < blocks && time.Now().Before(deadline); {
				request, done := r.Next(start)
				if rand.IntN(5) == 0 {
					done(nil, mixclient.ErrLost)
					continue
				}
				reply, err := w.net.Query(t.Context(), north, request)
				if rand.IntN(5) == 0 {
					reply, err = nil, mixclient.ErrLost
				}
				done(reply, err)
			}
		})
	}
	wg.Wait()
	if r.Cursor() != blocks || r.Backlog() != 0 || len(got) != blocks {
		t.Fatalf("cursor %d, backlog %d, %d blocks", r.Cursor(), r.Backlog(), len(got))
	}
	for seq, n := range got {
		if uint64(n)+1 != seq {
			t.Fatalf("block %d came as %d", n, seq)
		}
	}
	for i := range cursors {
		if i > 0 && cursors[i] <= cursors[i-1] {
			t.Fatalf("the cursor went from %d to %d", cursors[i-1], cursors[i])
		}
	}
}
