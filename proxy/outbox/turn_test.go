package outbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
	"mailproxy/spool/client"
)

// slotByHand is a network whose slots the test gives. All that is asked of it
// succeeds.
type slotByHand struct {
	mixclient.Network // nil: what is not below is not called
	waiting           chan struct{}
	slot              chan struct{}
}

var spoolService = mixclient.Service{Kind: mixclient.KindSpool, Provider: "north.test", Node: "n"}

func (n *slotByHand) Services(context.Context, string) ([]mixclient.Service, error) {
	return []mixclient.Service{spoolService}, nil
}

func (n *slotByHand) Query(ctx context.Context, _ mixclient.Service, _ []byte) ([]byte, error) {
	n.waiting <- struct{}{}
	select {
	case <-n.slot:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	mixclient.ContextTrace(ctx).Taken()
	mixclient.ContextTrace(ctx).Sent(mixclient.Timing{})
	return spool.EncodeReply(spool.StatusOK, spool.Empty{})
}

// byOpenLane is the part of an account that appends by the open lane and tells its
// recipients nothing.
type byOpenLane struct{}

func (byOpenLane) Lane(string) (contacts.Lane, error)                   { return contacts.Lane{}, nil }
func (byOpenLane) LaneRefused(string, contacts.Lane, spool.Terms) error { return nil }
func (byOpenLane) LookUp(context.Context, mixclient.Service, string) (*client.Found, error) {
	return nil, ErrUnknown
}
func (byOpenLane) Beside(seal.Kind, string) (map[uint64][]byte, func(*store.Tx) error, error) {
	return nil, nil, nil
}

// self is an account that knows its own keys, and writes to itself.
type self struct {
	byOpenLane
	keys    *keys.Account
	network mixclient.Network
}

func (s self) Address() string            { return s.keys.Address() }
func (s self) Owns(a string) bool         { return a == s.Address() }
func (s self) Network() mixclient.Network { return s.network }
func (s self) Clean(message io.Reader, _ *Submission) (*Cleaned, error) {
	return &Cleaned{Message: message}, nil
}
func (s self) Sender() (seal.Sender, error)      { return s.keys.Sender(), nil }
func (s self) Learn(string, *client.Found) error { return nil }
func (s self) Bundle(a string) (*spool.Bundle, error) {
	bundle, _ := s.keys.Bundle()
	return bundle, nil
}

// TestShortMailBesideALong checks that a mail that comes while a long one is being
// sent waits for the one query that waits already, and for no other: it is sealed
// meanwhile, and has its first turn before the long one has another.
func TestShortMailBesideALong(t *testing.T) {
	h := newHome(t)
	network := &slotByHand{waiting: make(chan struct{}), slot: make(chan struct{})}
	events := make(chan progress.Event, 100)
	o, err := Open(Config{
		Store: h.store, Mailbox: h.mail, Times: DefaultTimes(),
		Account: func(string) (Account, bool) { return self{keys: h.keys, network: network}, true },
		Observe: func(e progress.Event) { events <- e },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	ran := make(chan struct{})
	go func() { defer close(ran); o.Run(ctx, network) }()
	defer func() { cancel(); <-ran; o.Close() }()

	next := func(kind progress.Kind) progress.Event {
		t.Helper()
		for {
			select {
			case e := <-events:
				if e.Kind == kind {
					return e
				}
			case <-ctx.Done():
				t.Fatalf("no event of kind %d", kind)
			}
		}
	}
	wait := func() {
		t.Helper()
		select {
		case <-network.waiting:
		case <-ctx.Done():
			t.Fatal("no query came to wait")
		}
	}
	submit := func(body []byte) (id string) {
		t.Helper()
		s := &Submission{Account: me, From: me, Recipients: []Recipient{{Address: me}}}
		if err := o.Submit(ctx, s, bytes.NewReader(append([]byte("Subject: x\r\n\r\n"), body...))); err != nil {
			t.Fatal(err)
		}
		return next(progress.Submitted).Outbox
	}
	noise := make([]byte, 5*spool.BlockSize) // does not compress
	rand.Read(noise)

	long := submit(noise)
	if e := next(progress.Sealed); e.Outbox != long || e.Count < 5 {
		t.Fatalf("sealed %+v, want the long mail %s", e, long)
	}
	wait() // the long one's first block
	short := submit(nil)
	if e := next(progress.Sealed); e.Outbox != short {
		t.Fatalf("sealed %s, want the short mail %s", e.Outbox, short)
	}
	second := submit(nil)
	if e := next(progress.Sealed); e.Outbox != second {
		t.Fatalf("sealed %s, want the second short mail %s", e.Outbox, second)
	}
	for i, want := range []string{long, short, second, long, long} {
		if i > 0 {
			wait()
		}
		network.slot <- struct{}{}
		if e := next(progress.Sent); e.Outbox != want {
			t.Errorf("slot %d carried a block of %s, want %s (long %s, short %s, second %s)", i, e.Outbox, want, long, short, second)
		}
	}
	// The rest fails with the context.
	wait()
}
