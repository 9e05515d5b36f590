package outbox

import (
	"context"
	"sync/atomic"
	"testing"

	"mailproxy/mixclient"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/progress"
	"mailproxy/spool"
	"mailproxy/spool/client"
)

// keyless is an account that knows no keys, and that no provider answers, until
// known is set.
type keyless struct {
	stranger
	known, asked atomic.Bool
}

func (k *keyless) Bundle(a string) (*spool.Bundle, error) {
	if !k.known.Load() {
		return nil, ErrUnknown
	}
	return k.stranger.Bundle(a)
}

func (k *keyless) LookUp(context.Context, mixclient.Service, string) (*client.Found, error) {
	k.asked.Store(true)
	return nil, mixclient.ErrLost
}

// TestTrapMailAwaitingKeysInMemory is for mail that was accepted, waits for its
// recipient's keys, and is in memory only: gone with the daemon.
func TestTrapMailAwaitingKeysInMemory(t *testing.T) {
	p := newLanePath(t, contacts.Lane{})
	k := &keyless{stranger: p.account}
	p.as = k
	p.start(false)
	p.submit(1)
	p.wait("a look-up", k.asked.Load)
	p.stop()
	if by, _ := p.gate.lanes(); by != [3]int{} {
		t.Fatalf("blocks before the keys were known: %v", by)
	}
	k.known.Store(true)
	p.start(false)
	p.inSpool(1)
	p.want(1, 0, 0, 0)
	if n := p.count(progress.Failed); n != 0 {
		t.Errorf("%d reports of failure", n)
	}
}

// TestTrapRowDeletedBeforeTheAnswer is for a row of the queue that goes as soon as
// its mail was sent: if the answer gets lost, and the daemon ends, nobody sends
// it again. Here the same block goes once more, and the spool has it once.
func TestTrapRowDeletedBeforeTheAnswer(t *testing.T) {
	p := newLanePath(t, contacts.Lane{})
	p.gate.lose = 1 << 30
	p.start(false)
	p.submit(1)
	answers := func(n int) func() bool {
		return func() bool { _, asked := p.gate.lanes(); return len(asked) >= n }
	}
	p.wait("two answers that get lost", answers(2))
	p.stop()
	if n := p.count(progress.InSpool); n != 0 {
		t.Fatal("in the spool, without an answer that says so")
	}
	_, before := p.gate.lanes()
	p.gate.mu.Lock()
	p.gate.lose = 1
	p.gate.mu.Unlock()
	p.start(false)
	p.inSpool(1)
	p.want(1, 0, 0, 0) // one block, however often it was sent
	if _, asked := p.gate.lanes(); len(asked) < len(before)+2 {
		t.Errorf("%d appends before the restart, %d after it", len(before), len(asked)-len(before))
	}
}
