package monitor

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/mailbox"
	"mailproxy/spool"
	"mailproxy/spool/keylog"
)

const (
	alice = "alice@north.test"
	bob   = "bob@north.test"
	// reader is an account of the daemon under test at another provider.
	reader = "carol@south.test"
)

var (
	start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	north = mixclient.Service{Kind: mixclient.KindSpool, Provider: "north.test", Node: "n"}
)

const (
	epoch = time.Hour
	slot  = time.Second
)

// identity derives an identity key from a name.
func identity(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(name string) [32]byte { return [32]byte(identity(name).Public().(ed25519.PublicKey)) }

func bundle(t testing.TB, address, name string) spool.SignedBundle {
	t.Helper()
	b := spool.Bundle{
		Format: spool.BundleFormat, Address: address, Version: 9, Identity: identity(name).Public().(ed25519.PublicKey),
		Static: make([]byte, spool.StaticSize),
		Prekey: spool.Prekey{ID: make([]byte, spool.PrekeyIDSize), Public: make([]byte, spool.PrekeySize)},
	}
	s, err := b.Sign(identity(name))
	if err != nil {
		t.Fatal(err)
	}
	return *s
}

// A service is a provider's log, and what it answers: the truth, until tampered with.
type service struct {
	t       testing.TB
	records []spool.LogRecord
	hashes  []tlog.Hash
	place   map[string]uint64 // of an address
	key     map[string]string // whose identity it has
	lookup  func(name string, r *spool.LookupReply)
	log     func(from uint64, r *spool.LogReply)
	refuse  func(r spool.Request) spool.Status
	slow    bool // one request for records at a time: settle ends after it
	asked   int
}

func newService(t testing.TB, users int) *service {
	s := &service{t: t, place: map[string]uint64{}, key: map[string]string{}}
	for i := range users {
		s.enter(string(rune('a'+i%26))+strings.Repeat("x", i/26+1)+"@north.test", "crowd", spool.LogMade)
	}
	return s
}

func (s *service) ReadHashes(indexes []int64) (out []tlog.Hash, err error) {
	for _, i := range indexes {
		if i >= int64(len(s.hashes)) {
			return nil, errors.New("no such hash")
		}
		out = append(out, s.hashes[i])
	}
	return out, nil
}

// enter puts a record into the log: from now on the address has the identity called
// name.
func (s *service) enter(address, name string, kind spool.LogKind) {
	s.t.Helper()
	r := spool.LogRecord{Kind: kind, Name: spool.HashName(address), Identity: public(name), Version: 1}
	hashes, err := tlog.StoredHashes(int64(len(s.records)), r.Encode(), s)
	if err != nil {
		s.t.Fatal(err)
	}
	s.place[address], s.key[address] = uint64(len(s.records)), name
	s.records, s.hashes = append(s.records, r), append(s.hashes, hashes...)
}

// fork returns a service with the first n records of s.
func (s *service) fork(n int) *service {
	f := newService(s.t, 0)
	names := map[uint64]string{}
	for address, i := range s.place {
		names[i] = address
	}
	for i, r := range s.records[:n] {
		hashes, err := tlog.StoredHashes(int64(i), r.Encode(), f)
		if err != nil {
			s.t.Fatal(err)
		}
		f.records, f.hashes = append(f.records, r), append(f.hashes, hashes...)
		if address := names[uint64(i)]; address != "" {
			f.place[address], f.key[address] = uint64(i), s.key[address]
		}
	}
	return f
}

func (s *service) head() spool.LogHead {
	s.t.Helper()
	h, err := keylog.Head(uint64(len(s.records)), s)
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

func (s *service) answer(request []byte) []byte {
	s.t.Helper()
	s.asked++
	r, _, status := spool.DecodeRequest(request)
	var body any
	size := uint64(len(s.records))
	if s.refuse != nil {
		if refused := s.refuse(r); refused != spool.StatusOK {
			r, status = nil, refused
		}
	}
	switch r := r.(type) {
	case *spool.Lookup:
		addr := r.Name + "@north.test"
		i, ok := s.place[addr]
		switch {
		case !ok:
			status = spool.StatusNoUser
		case r.Size > size:
			status = spool.StatusNoLog
		default:
			reply := spool.LookupReply{Bundle: bundle(s.t, addr, s.key[addr]), Index: i, Kind: s.records[i].Kind, Version: s.records[i].Version}
			if i < r.Size {
				reply.Proof = s.prove(r.Size, i)
			}
			if s.lookup != nil {
				s.lookup(r.Name, &reply)
			}
			body = reply
		}
	case *spool.Log:
		if r.Size > size {
			status = spool.StatusNoLog
			break
		}
		var reply spool.LogReply
		var err error
		if r.Edge {
			if reply.Edge, err = keylog.Edge(r.From, s); err != nil {
				s.t.Fatal(err)
			}
		}
		for i := r.From; i < min(r.Size, r.From+5); i++ {
			reply.Records = append(reply.Records, s.records[i].Encode()...)
		}
		if s.log != nil {
			s.log(r.From, &reply)
		}
		body = reply
	}
	if status != spool.StatusOK {
		b, err := spool.EncodeRefused(spool.Refused{Status: status, Time: start})
		if err != nil {
			s.t.Fatal(err)
		}
		return b
	}
	b, err := spool.EncodeReply(status, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *service) prove(size, index uint64) []byte {
	s.t.Helper()
	proof, err := keylog.Prove(size, index, s)
	if err != nil {
		s.t.Fatal(err)
	}
	return proof
}

// A net is a network in which north.test is answered by service.
type net struct {
	mixclient.Network // nil: nothing else is used
	service           *service
	notice            mixclient.Notice
	lose              bool // requests for records
	off               bool
}

func (n *net) Query(_ context.Context, _ mixclient.Service, request []byte) ([]byte, error) {
	if r, _, _ := spool.DecodeRequest(request); n.lose {
		if _, ok := r.(*spool.Log); ok {
			return nil, mixclient.ErrLost
		}
	}
	return n.service.answer(request), nil
}

func (n *net) Notice(mixclient.Service) (mixclient.Notice, bool) {
	return n.notice, !n.notice.Since.IsZero()
}

func (n *net) Services(context.Context, string) ([]mixclient.Service, error) {
	return []mixclient.Service{north}, nil
}

func (n *net) Status() mixclient.Status {
	return mixclient.Status{Connected: !n.off, QueryRate: 10_000}
}

// A world is a daemon's monitor and the provider that it watches.
type world struct {
	t    *testing.T
	now  time.Time
	own  map[string][32]byte
	m    *Monitor
	st   *store.Store
	mail *mailbox.Store
	net  *net

	cleared []string
	log     bytes.Buffer // of the monitor
}

// newWorld returns a world in which the daemon has these accounts at north.test, with
// their true keys, and one elsewhere.
func newWorld(t *testing.T, s *service, accounts ...string) *world {
	t.Helper()
	w := &world{t: t, now: start, own: map[string][32]byte{}, net: &net{service: s}}
	var err error
	if w.st, err = store.Open(store.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.st.Close(); err != nil {
			t.Error(err)
		}
	})
	if w.mail, err = mailbox.Open(w.st, mailbox.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, a := range append(accounts, reader) {
		if _, err := w.mail.CreateAccount(a); err != nil {
			t.Fatal(err)
		}
		if a != reader {
			w.own[a] = public(a)
		}
	}
	t.Cleanup(func() {
		if strings.Contains(w.log.String(), "@") {
			t.Errorf("an address is in the log:\n%s", &w.log)
		}
	})
	w.open()
	return w
}

// open opens the monitor, again perhaps.
func (w *world) open() {
	w.t.Helper()
	var err error
	w.m, err = Open(Config{
		Store: w.st, Mailbox: w.mail, Now: func() time.Time { return w.now },
		Own: func(domain string) map[string][32]byte {
			if domain == "north.test" {
				return w.own
			}
			return nil
		},
		Cleared: func(account, address string) { w.cleared = append(w.cleared, account+" "+address) },
		Logger:  slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.m.random = func(mean time.Duration) time.Duration {
		if mean < lookAgain {
			return 0
		}
		return mean
	}
}

// announce begins the next epoch, with this head in its snapshot.
func (w *world) announce(h spool.LogHead) {
	w.now = w.now.Add(epoch)
	w.net.notice = mixclient.Notice{Bytes: h.Notice(), Since: w.now}
}

// settle follows the log as far as it goes.
func (w *world) settle() {
	w.t.Helper()
	if err := w.m.watch(w.net, north, 0); err != nil {
		w.t.Fatal(err)
	}
	for range 1000 {
		task, ok := w.m.take(north, []string{"north.test"}, slot)
		if !ok {
			return
		}
		w.m.ask(w.t.Context(), w.net, north, task)
		if task.look == "" && (w.net.lose || w.net.service.slow) {
			return
		}
	}
	w.t.Fatal("the log is asked for without end")
}

// look looks an address up for the account elsewhere.
func (w *world) look(address string) error {
	w.t.Helper()
	_, err := w.m.LookUp(w.t.Context(), w.net, north, reader, strings.TrimSuffix(address, "@north.test"))
	return err
}

// alarms checks which kinds of alarms stand, and that each account concerned got one
// message for each.
func (w *world) alarms(want ...Kind) {
	w.t.Helper()
	list := w.m.Alarms()
	letters := map[string]int{}
	for _, a := range list {
		found := false
		for _, k := range want {
			found = found || k == a.Kind
		}
		if !found {
			w.t.Errorf("alarm %q about %q: %s", a.Kind, a.Address, a.Detail)
		}
		if a.Subject() == "" || strings.Contains(a.Subject()+a.Text(), "{") || len(a.Accounts) == 0 {
			w.t.Errorf("alarm says %q, %q to %q", a.Subject(), a.Text(), a.Accounts)
		}
		for _, account := range a.Accounts {
			letters[account]++
		}
	}
	if len(list) != len(want) {
		w.t.Errorf("%d alarms, want %q", len(list), want)
	}
	for _, account := range append([]string{reader}, keys(w.own)...) {
		for _, m := range w.inbox(account) {
			if !slices.Equal(m.Flags, []string{mailbox.KeywordNotice}) {
				w.t.Errorf("a warning has the flags %q", m.Flags)
			}
		}
		if got := len(w.inbox(account)); got != letters[account] {
			w.t.Errorf("%d warnings in the INBOX of %s, want %d", got, account, letters[account])
		}
	}
}

func keys(m map[string][32]byte) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}

func (w *world) inbox(account string) []mailbox.Message {
	w.t.Helper()
	a, err := w.mail.Account(account)
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := a.Folder("INBOX")
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := f.Messages()
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func alter(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	return b
}
