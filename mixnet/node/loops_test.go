package node

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// TestLoopsOverASleep checks that loops that were under way while the machine slept
// do not count as lost, and all others that do not come back do.
func TestLoopsOverASleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var jump time.Duration // of the wall clock, beside timers that stand still
		n := &Node{log: slog.New(slog.DiscardHandler), loops: loops{out: map[loopID]loopOut{}}}
		n.cfg.Now = func() time.Time { return time.Now().Round(0).Add(jump) }
		send := func(id byte) {
			n.loops.mu.Lock()
			defer n.loops.mu.Unlock()
			n.loops.Sent()
			n.expect(loopID{id}, 10*time.Second)
		}
		send(1)
		send(2)
		time.Sleep(time.Second)
		n.loopEnded(loopID{1}, true)
		time.Sleep(time.Minute)
		if r := n.Loops(); r.Sent != 2 || r.Back != 1 || r.Lost != 0.5 {
			t.Errorf("one loop of two is back: %+v", r)
		}
		send(3)
		send(4)
		time.Sleep(time.Second)
		jump += 3 * time.Hour
		n.loopEnded(loopID{3}, true) // it was held at a peer
		time.Sleep(time.Minute)
		if r := n.Loops(); r.Sent != 3 || r.Back != 2 || r.Lost != 1.0/3 {
			t.Errorf("two more in a sleep, of which one is back: %+v", r)
		}
		if len(n.loops.out) != 0 {
			t.Errorf("%d loops are still waited for", len(n.loops.out))
		}
	})
}
