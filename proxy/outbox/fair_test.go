package outbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/mixclient/memory"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/client"
	"mailproxy/spool/server"
)

// A writer is an account that has to look others up, once.
type writer struct {
	byOpenLane
	keys    *keys.Account
	network mixclient.Network

	mu    sync.Mutex // guards all below
	known map[string]*spool.Bundle
	// The next that Learn, and what Beside gives for the transaction, return.
	learns, seals []error
}

func (w *writer) Address() string            { return w.keys.Address() }
func (w *writer) Owns(a string) bool         { return a == w.Address() }
func (w *writer) Network() mixclient.Network { return w.network }
func (w *writer) Clean(message io.Reader, _ *Submission) (*Cleaned, error) {
	return &Cleaned{Message: message}, nil
}
func (w *writer) Sender() (seal.Sender, error) { return w.keys.Sender(), nil }

func (w *writer) Bundle(a string) (*spool.Bundle, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known[a] == nil {
		return nil, ErrUnknown
	}
	return w.known[a], nil
}

func (w *writer) LookUp(ctx context.Context, service mixclient.Service, name string) (*client.Found, error) {
	return client.New(w.network, service, client.Signing{}).Lookup(ctx, name, 0)
}

func (w *writer) Learn(a string, found *client.Found) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := next(&w.learns); err != nil {
		return err
	}
	w.known[a] = found.Bundle
	return nil
}

func (w *writer) Beside(seal.Kind, string) (map[uint64][]byte, func(*store.Tx) error, error) {
	return nil, func(*store.Tx) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		return next(&w.seals)
	}, nil
}

// next takes the first of errs, if there is one.
func next(errs *[]error) (err error) {
	if len(*errs) > 0 {
		err, *errs = (*errs)[0], (*errs)[1:]
	}
	return err
}

// A bench is an outbox before a network in memory, whose spool is a real one.
type bench struct {
	outbox *Outbox
	spool  *server.Server
	alice  *writer

	mu     sync.Mutex // guards events
	events []progress.Event
}

const (
	writerAddress = "alice@north.test"
	readerAddress = "bob@north.test"
)

// newBench starts one in which bob is registered.
func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{}
	st, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := badgerstore.Open(badgerstore.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if b.spool, err = server.New(server.Options{Store: blocks, Provider: "north.test"}); err != nil {
		t.Fatal(err)
	}
	network := memory.New(memory.Config{
		Services: map[mixclient.Service]memory.Handler{spoolService: b.spool},
		Limits:   mixclient.Limits{Request: 8192 + 320, Reply: 8192 + 320},
		Slot:     5 * time.Millisecond, Latency: 20 * time.Millisecond, Pad: true,
	})
	mail, err := mailbox.Open(st, mailbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	accounts := map[string]*keys.Account{}
	for _, address := range []string{writerAddress, readerAddress} {
		if err := keys.CreateIn(st, address, time.Now()); err != nil {
			t.Fatal(err)
		}
		if accounts[address], err = keys.Load(st, address, time.Now); err != nil {
			t.Fatal(err)
		}
		if _, err := mail.CreateAccount(address); err != nil {
			t.Fatal(err)
		}
	}
	bob := accounts[readerAddress]
	_, bundle := bob.Bundle()
	signing := client.Signing{Instance: spool.Instance(bob.Instance()), Nonce: bob.Nonce}
	if err := client.New(network, spoolService, signing).Register(t.Context(), bob.IdentityKey(), bob.ReadKey(), bundle, nil); err != nil {
		t.Fatal(err)
	}
	alice := &writer{keys: accounts[writerAddress], network: network, known: map[string]*spool.Bundle{}}
	b.alice = alice
	b.outbox, err = Open(Config{
		Store: st, Mailbox: mail, Times: DefaultTimes(),
		Account: func(string) (Account, bool) { return alice, true },
		Observe: func(e progress.Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { defer close(ran); b.outbox.Run(ctx, network) }()
	t.Cleanup(func() {
		cancel()
		<-ran
		b.outbox.Close()
		for _, close := range []func() error{network.Close, b.spool.Close, blocks.Close, st.Close} {
			if err := close(); err != nil {
				t.Error(err)
			}
		}
	})
	return b
}

// submit queues a mail to bob with size bytes that do not compress.
func (b *bench) submit(t *testing.T, size int) (id string) {
	t.Helper()
	body := make([]byte, size)
	rand.Read(body)
	s := &Submission{Account: writerAddress, From: writerAddress, Recipients: []Recipient{{Address: readerAddress}}}
	m := append(fmt.Appendf(nil, "Subject: %d\r\n\r\n", size), body...)
	if err := b.outbox.Submit(t.Context(), s, bytes.NewReader(m)); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.events) - 1; i >= 0; i-- {
		if b.events[i].Kind == progress.Submitted {
			return b.events[i].Outbox
		}
	}
	t.Fatal("the outbox did not tell of a mail")
	return ""
}

// wait waits until that many mails are in the spool.
func (b *bench) wait(t *testing.T, kind progress.Kind, n int) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if len(b.order(kind)) >= n {
			return
		}
	}
	t.Fatalf("%d events of kind %d, want %d", len(b.order(kind)), kind, n)
}

// order returns the mails in the order of that event.
func (b *bench) order(kind progress.Kind) (ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Kind == kind {
			ids = append(ids, e.Outbox)
		}
	}
	return ids
}

// TestSmallMailsDuringALarge submits small mails while a large one is on its way:
// each is in the spool long before it, having waited for few of its blocks.
func TestSmallMailsDuringALarge(t *testing.T) {
	b := newBench(t)
	large := b.submit(t, 100*8192)
	b.wait(t, progress.Sent, 10)
	const smalls = 5
	isSmall := map[string]bool{}
	before := len(b.order(progress.Sent))
	for range smalls {
		isSmall[b.submit(t, 100)] = true
	}
	b.wait(t, progress.InSpool, smalls+1)
	if in := b.order(progress.InSpool); in[smalls] != large {
		t.Errorf("in the spool were %v, want the large mail %s last", in, large)
	}
	// How many slots went to the large mail from the first submission to the last
	// small mail's slot: those that passed while mail was submitted (a submission
	// syncs the disk, which takes a few slots), then at most every other.
	large2, small2 := 0, 0
	for _, id := range b.order(progress.Sent)[before:] {
		if isSmall[id] {
			small2++
		} else if small2 < smalls {
			large2++
		}
	}
	if small2 != smalls || large2 > 60 {
		t.Errorf("%d blocks of the large mail went before the last of %d small mails", large2, small2)
	}
}

// TestManyToSomeoneNew submits many mails at once to someone whose keys have to be
// looked up. They are looked up once, and the mails leave in their order: those
// for which the look-up was made do not wait behind all that came later.
func TestManyToSomeoneNew(t *testing.T) {
	b := newBench(t)
	const mails = 40
	var want []string
	for range mails {
		want = append(want, b.submit(t, 100))
	}
	b.wait(t, progress.InSpool, mails)
	if n := b.spool.Answers(spool.TypeLookup, spool.StatusOK); n != 1 {
		t.Errorf("the keys were looked up %d times, want once", n)
	}
	got := b.order(progress.Sent)
	if len(got) != mails {
		t.Fatalf("%d blocks were sent, want %d", len(got), mails)
	}
	place := map[string]int{}
	for i, id := range got {
		place[id] = i
	}
	for i, id := range want {
		// Sealing takes a moment, in which another may come first.
		if d := place[id] - i; d > 5 || d < -5 {
			t.Errorf("mail %d was sent as number %d", i, place[id])
		}
	}
}
