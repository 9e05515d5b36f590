package inbox

import (
	"testing"
	"time"

	"mailproxy/proxy/seal"
)

// TestArriving: what is shown follows the messages, and does not wait for one that is
// being delivered.
func TestArriving(t *testing.T) {
	in := &Inbox{partial: map[seal.ID]*partial{}}
	in.mu.Lock() // as while a large mail is delivered
	defer in.mu.Unlock()
	first := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	for n := range maxArrivals + 3 {
		p := &partial{first: first.Add(time.Duration(-n) * time.Minute), count: 9, have: map[uint32]bool{0: true, 7: true}}
		if n == 1 {
			p.held = &holding{}
		}
		in.partial[seal.ID{byte(n)}] = p
		in.shown.put(seal.ID{byte(n)}, p)
	}
	if incomplete, held := in.Waiting(); incomplete != maxArrivals+2 || held != 1 {
		t.Errorf("%d are incomplete and %d held", incomplete, held)
	}
	list := in.Arriving()
	if len(list) != maxArrivals {
		t.Fatalf("%d are shown", len(list))
	}
	oldest := Arrival{Since: first.Add(-(maxArrivals + 2) * time.Minute), Here: 2, Blocks: 9}
	if list[0] != oldest {
		t.Errorf("first is %+v, want %+v", list[0], oldest)
	}
	in.forgetPartial(seal.ID{maxArrivals + 2})
	if now := in.Arriving(); now[0] == oldest {
		t.Error("a message that is done with is shown")
	}
}
