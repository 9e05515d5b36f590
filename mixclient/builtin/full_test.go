package builtin

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFullGateway checks that a client whose gateway has no room says so, is at no
// time connected, sends nothing, and asks ever less often.
func TestFullGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLinkBench(t)
		b.set(func() { b.full = true })
		b.run()
		events := b.Events()
		time.Sleep(time.Hour)
		status := b.Status()
		if status.Connected || !strings.Contains(status.Reason, "no room") {
			t.Errorf("connected: %v, %q", status.Connected, status.Reason)
		}
		for more := true; more; {
			select {
			case e := <-events:
				if e.Connected {
					t.Error("was connected for a while")
				}
			default:
				more = false
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if n := len(b.dials); n < 110 || n > 260 {
			t.Errorf("%d attempts in an hour, want one in 15 to 30 s", n)
		}
		for _, l := range b.links {
			if len(l.written) > 0 {
				t.Fatal("a frame was sent to a gateway that has no room")
			}
		}
	})
}
