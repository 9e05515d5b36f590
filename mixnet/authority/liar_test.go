package authority

import (
	"crypto/rand"
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// A liar is dir2: it votes with dir1 to dir1 and with dir3 to dir3, and gives each
// the snapshot that comes of that, with its own signature.
type liar struct {
	*council
	client *Client

	mu      sync.Mutex // guards all below
	waiting map[string]chan *directory.SignedSnapshot
}

// lie runs the liar until the test ends.
func (c *council) lie() {
	c.t.Helper()
	l := &liar{council: c, client: c.client("dir2"), waiting: map[string]chan *directory.SignedSnapshot{}}
	config, err := wire.TLS(c.identity["dir2"], protocol, func(directory.Key) error { return nil })
	if err != nil {
		c.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/vote/{epoch}/{round}", l.vote)
	mux.HandleFunc("GET /v1/snapshot/{epoch}", l.snapshot)
	server := &http.Server{Handler: mux}
	listener := c.listener["dir2"]
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Serve(tls.NewListener(listener, config)) // ends with Close
	}()
	c.t.Cleanup(func() { server.Close(); <-ended })
}

// asker returns which directory makes a request.
func (l *liar) asker(r *http.Request) *directory.Node { return l.doc.Node(peer(r)) }

func answer(w http.ResponseWriter, v any, err error) {
	var b []byte
	if err == nil {
		b, err = codec.Marshal(v)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Write(b)
}

// vote votes as the asker does.
func (l *liar) vote(w http.ResponseWriter, r *http.Request) {
	e, _ := strconv.ParseUint(r.PathValue("epoch"), 10, 64)
	round, _ := strconv.ParseUint(r.PathValue("round"), 10, 32)
	v, err := l.client.voteFrom(r.Context(), l.asker(r), directory.Epoch(e), uint32(round))
	if err == nil {
		var s *directory.Snapshot
		if s, err = v.Open(l.doc); err == nil {
			v, err = directory.NewVote(l.doc, s.Epoch, v.Round, s.Descriptors, l.identity["dir2"])
		}
	}
	answer(w, v, err)
}

// snapshot finishes what the asker has signed, once both others have asked, so that
// neither hears of the other's snapshot before it has its own.
func (l *liar) snapshot(w http.ResponseWriter, r *http.Request) {
	e, _ := strconv.ParseUint(r.PathValue("epoch"), 10, 64)
	asker := l.asker(r)
	sets, err := l.client.signaturesFrom(r.Context(), asker, directory.Epoch(e))
	var own *directory.SignedSnapshot
	for _, s := range sets {
		for _, g := range s.Signatures {
			if g.Directory == asker.ID() {
				own = &directory.SignedSnapshot{Body: s.Body, Signatures: []directory.Signature{g, directory.SignSnapshot(s.Body, l.identity["dir2"])}}
			}
		}
	}
	if err == nil && own == nil {
		err = ErrNone
	}
	if err == nil && !l.both(r, asker.Name) {
		err = ErrNone
	}
	answer(w, own, err)
}

// both waits until both others are waiting.
func (l *liar) both(r *http.Request, name string) bool {
	l.mu.Lock()
	for _, n := range []string{"dir1", "dir3"} {
		if l.waiting[n] == nil {
			l.waiting[n] = make(chan *directory.SignedSnapshot)
		}
	}
	own, other := l.waiting[name], l.waiting[map[string]string{"dir1": "dir3", "dir3": "dir1"}[name]]
	select {
	case <-own:
	default:
		close(own)
	}
	l.mu.Unlock()
	select {
	case <-other:
		time.Sleep(50 * time.Millisecond) // until what else they asked for is answered
		return true
	case <-r.Context().Done():
		return false
	}
}

// TestALiarIsFoundOutLater has a directory make two others finish two snapshots of
// one epoch. Nothing is wrong to either, until they compare.
func TestALiarIsFoundOutLater(t *testing.T) {
	c := newCouncil(t, 2*time.Minute)
	// A clock by which the epoch has just begun.
	p, began := c.doc.Parameters, time.Now()
	first := p.EpochStart(p.EpochAt(began))
	c.now = func() time.Time { return first.Add(time.Since(began)) }
	c.start("dir1", "dir3")
	c.lie()
	e := c.epoch()
	for _, name := range members {
		private, err := sphinx.NewPrivateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		sd, err := directory.NewDescriptor(c.identity[name], e, private.Public(), nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := codec.Marshal(sd)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"dir1", "dir3"} {
			if name == "extra" && dir == "dir3" {
				continue // which makes their votes differ
			}
			if err := c.client(name).post(t.Context(), c.node(dir), b); err != nil {
				t.Fatal(err)
			}
		}
	}
	one, three := c.running["dir1"], c.running["dir3"]
	wait := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	wait("there are no snapshots", func() bool { return one.Snapshot(e) != nil && three.Snapshot(e) != nil })
	if string(one.Snapshot(e).Body) == string(three.Snapshot(e).Body) {
		t.Fatal("the liar has not had its way: both have the same snapshot")
	}
	for name, a := range map[string]*Authority{"dir1": one, "dir3": three} {
		wait(name+" catches nobody", func() bool { return len(a.Caught()) > 0 })
		if got := a.Caught(); len(got) != 1 || got[0] != "dir2" {
			t.Errorf("%s caught %v, want dir2", name, got)
		}
	}

	// The proof outlives the process, and convicts nobody else.
	c.stop("dir1")
	files, err := filepath.Glob(filepath.Join(c.lies("dir1"), "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("proofs: %v, %v, want one", files, err)
	}
	proof, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	altered := append([]byte(nil), proof...)
	altered[len(altered)-1] ^= 1
	if err := os.WriteFile(filepath.Join(c.lies("dir1"), "0-altered"+lieSuffix), altered, 0o600); err != nil {
		t.Fatal(err)
	}
	c.start("dir1")
	if got := c.running["dir1"].Caught(); len(got) != 1 || got[0] != "dir2" {
		t.Errorf("after a restart caught %v, want dir2", got)
	}
	if _, err := c.running["dir1"].witness.convicts(altered); err == nil {
		t.Error("an altered proof convicts")
	}
}
