package node

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// serviceFunc is a service that is a function.
type serviceFunc func(ctx context.Context, request []byte) []byte

func (f serviceFunc) Answer(ctx context.Context, request []byte) []byte { return f(ctx, request) }

func TestDrainLosesNothing(t *testing.T) {
	b := newBench(t)
	arrived := b.accept("mix2")
	n := b.run("mix1", nil)
	c := b.dial("gateway", "mix1")
	const packets = 200
	var list [][]byte
	for range packets {
		list = append(list, b.packet(b.hop("mix1", 35*time.Millisecond), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0)))
	}
	send(t, c, list[0])
	eventually(t, "connected", &n.Counters.Received, 1)
	for _, p := range list[1:] {
		send(t, c, p) // most of them lie unread while the node drains
	}
	ended := make(chan struct{})
	go func() { // as a link does
		defer close(ended)
		_, _, _ = c.ReadFrame(make([]byte, n.end.FrameSize()), 0)
		_ = c.Close()
	}()
	came := make(chan int, 1)
	go func() { // meanwhile, or the links fill up
		for i := range packets {
			select {
			case <-arrived:
			case <-time.After(2 * time.Minute):
				came <- i
				return
			}
		}
		came <- packets
	}()
	if err := n.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if i := <-came; i != packets {
		t.Fatalf("%d of %d packets left before the end", i, packets)
	}
	<-ended
	// Nothing more is taken.
	for deadline := time.Now().Add(2 * time.Minute); c.WriteFrame(wire.KindPacket, nil) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a node that drained still takes packets")
		}
	}
	if got := n.Counters.Received.Load(); got != packets {
		t.Errorf("%d packets were taken, want %d", got, packets)
	}
}

func TestDrainAnswersWhatWasAsked(t *testing.T) {
	b := newBench(t)
	arrived := b.accept("mix1")
	asked, answer := make(chan struct{}), make(chan struct{})
	n := b.run("service", map[string]Service{"echo": serviceFunc(func(ctx context.Context, request []byte) []byte {
		close(asked)
		select {
		case <-answer:
		case <-ctx.Done():
		}
		return request
	})})
	c := b.dial("mix3", "service")
	client, id, home, at := ClientRecipient(directory.Key{1}), sphinx.SURBID{2}, b.hop("gateway", 0), b.hop("service", 0)
	home.Recipient, home.SURBID = &client, &id
	surb, _, err := sphinx.NewSURB(rand.Reader, []sphinx.Hop{b.hop("mix1", 0), home})
	if err != nil {
		t.Fatal(err)
	}
	query, err := sphinx.PackQuery(surb, []byte("hello"), b.doc.Parameters.Payload())
	if err != nil {
		t.Fatal(err)
	}
	echo := ServiceRecipient("echo")
	at.Recipient = &echo
	packet, err := sphinx.NewPacket(rand.Reader, []sphinx.Hop{at}, query)
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, packet)
	<-asked
	short, cancel := context.WithTimeout(t.Context(), 3*drainTick)
	defer cancel()
	if err := n.Drain(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drained with a query that is not answered: %v", err)
	}
	close(answer)
	if err := n.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-arrived:
	case <-time.After(2 * time.Minute):
		t.Error("the answer did not leave")
	}
}
