package monitor

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/spool"
)

// busy refuses requests for records.
func busy(r spool.Request) spool.Status {
	if _, ok := r.(*spool.Log); ok {
		return spool.StatusBusy
	}
	return spool.StatusOK
}

// grow lets time pass in which the provider is asked: so many epochs, each with a new
// user if the log is to grow.
func (w *world) grow(epochs int, growing bool) {
	w.t.Helper()
	for range epochs {
		s := w.net.service
		if growing {
			s.enter(fmt.Sprintf("new%d@north.test", len(s.records)), "crowd", spool.LogMade)
		}
		for i := range 4 {
			w.now = w.now.Add(epoch / 4)
			if i == 0 {
				w.net.notice = mixclient.Notice{Bytes: s.head().Notice(), Since: w.now}
			}
			w.settle()
		}
	}
}

// state returns what is known of north.test.
func (w *world) state() providerRecord {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	return w.m.providers["north.test"].rec
}

// followed returns a world in which the log with alice in it has been followed.
func followed(t *testing.T, accounts ...string) (*world, *service) {
	s := newService(t, 5)
	for _, a := range accounts {
		s.enter(a, a, spool.LogMade)
	}
	w := newWorld(t, s, accounts...)
	w.announce(s.head())
	w.settle()
	w.alarms()
	return w, s
}

// TestLogNotShown enters a false key for alice, and shows the log to nobody from then
// on, in all ways that a provider has.
func TestLogNotShown(t *testing.T) {
	for what, c := range map[string]struct {
		hide   func(w *world, s *service)
		still  bool // the log does not grow further
		within int  // epochs
	}{
		"it is busy":        {hide: func(_ *world, s *service) { s.refuse = busy }, within: 30},
		"it does not reply": {hide: func(w *world, s *service) { w.net.lose = true }, within: 30},
		"it replies with one record at a time": {hide: func(_ *world, s *service) {
			s.log = func(_ uint64, r *spool.LogReply) { r.Records = r.Records[:min(len(r.Records), spool.LogRecordSize)] }
			// Faster than it can be read so.
			s.refuse = func(spool.Request) spool.Status {
				for i := range 3 {
					s.enter(fmt.Sprintf("fake%d.%d@north.test", len(s.records), i), "crowd", spool.LogMade)
				}
				return spool.StatusOK
			}
			s.slow = true
		}, within: 60},
		"it is busy and does not grow": {hide: func(_ *world, s *service) { s.refuse = busy }, still: true, within: 80},
	} {
		t.Run(what, func(t *testing.T) {
			w, s := followed(t, alice)
			place := s.place[alice]
			for i := range 500 {
				s.enter(fmt.Sprintf("many%d@north.test", i), "crowd", spool.LogMade)
			}
			s.enter(alice, "mallory", spool.LogChanged)
			s.place[alice], s.key[alice] = place, alice // in case she looks
			c.hide(w, s)
			n := 0
			for ; len(w.m.Alarms()) == 0 && n < c.within; n++ {
				w.grow(1, !c.still)
				if n%7 == 0 {
					w.open() // what was counted is kept
				}
			}
			if n < 20 {
				t.Errorf("alarm after %d epochs", n)
			}
			w.alarms(NotShown)
			w.open()
			w.alarms(NotShown)
			if c.still || s.slow {
				return
			}
			w.grow(60, true)
			w.alarms(NotShown)
			if a := w.m.Alarms()[0]; a.Count < 2 {
				t.Errorf("raised %d times in all", a.Count)
			}
			// When it is shown at last, all is found.
			s.refuse, w.net.lose = nil, false
			w.now = w.now.Add(2 * after)
			w.settle()
			w.alarms(NotShown, OwnKey)
			w.reached(len(s.records))
			if r := w.state(); r.Heads != 0 || r.Unshown != 0 {
				t.Errorf("counts on: %d heads, %d ms", r.Heads, r.Unshown)
			}
		})
	}
}

// TestLogShownLater raises no alarm for a provider that is overloaded for some hours
// each day, nor for time in which the daemon was off, asleep or not connected.
func TestLogShownLater(t *testing.T) {
	w, s := followed(t, alice)
	for range 5 {
		s.refuse = busy
		w.grow(20, true)
		s.refuse = nil
		w.now = w.now.Add(2 * after)
		w.grow(1, true)
	}
	s.refuse = busy
	for range 10 {
		w.grow(1, true)
		w.open()
		w.now = w.now.Add(24 * time.Hour)
	}
	w.net.off = true
	w.grow(40, true)
	w.alarms()
}

// TestHeadsDoNotFreeze: however many heads were not followed to, new ones are taken
// up, and keys that none of them holds are found out.
func TestHeadsDoNotFreeze(t *testing.T) {
	w, s := followed(t, alice)
	s.enter(bob, bob, spool.LogMade)
	s.refuse = busy
	w.grow(maxQueue+20, true)
	r := w.state()
	if r.Newest != head(s.head()) || len(r.Queue) != maxQueue || r.Queue[maxQueue-1] != r.Newest || r.Heads != maxQueue+20 {
		t.Fatalf("newest of %d, %d heads wait, %d counted", r.Newest.Size, len(r.Queue), r.Heads)
	}
	s.lookup = func(_ string, r *spool.LookupReply) {
		r.Bundle, r.Index, r.Proof, r.Kind = bundle(t, bob, "mallory"), 1<<30, nil, spool.LogChanged
	}
	if err := w.look(bob); err != nil {
		t.Fatal(err)
	}
	w.grow(1, true)
	w.alarms(NotShown)
	w.grow(1, true)
	w.alarms(NotShown, NotLogged)
	s.refuse, s.lookup = nil, nil
	w.now = w.now.Add(2 * after)
	w.settle()
	w.reached(len(s.records))
	w.alarms(NotShown, NotLogged)
}

// TestProvedUnderSkippedHead shows bob a false key that is in a head which the
// provider announced, and not in the log that it shows later, when that head is not
// kept any more.
func TestProvedUnderSkippedHead(t *testing.T) {
	w, s := followed(t, alice)
	s.refuse = busy
	w.grow(maxQueue, true)
	f := s.fork(len(s.records))
	f.refuse = busy
	f.enter(bob, "mallory", spool.LogMade)
	w.net.service = f
	w.announce(f.head())
	w.settle()
	if err := w.look(bob); err != nil {
		t.Fatal(err)
	}
	w.net.service = s
	s.enter("another@north.test", "crowd", spool.LogMade)
	w.grow(4, true)
	s.refuse = nil
	w.now = w.now.Add(2 * after)
	w.settle()
	w.reached(len(s.records))
	w.alarms(NotShown, NotLogged)
}

// TestOwnAddressAgain: a false key that a look-up shows is noticed though alice is
// known and nothing is to be seen in the log.
func TestOwnAddressAgain(t *testing.T) {
	w, s := followed(t, alice)
	s.refuse = busy
	s.enter(alice, "mallory", spool.LogChanged)
	w.announce(s.head())
	w.settle()
	w.alarms()
	// Later: the first time lies in the past by now, and another is drawn.
	for range 2 {
		w.now = w.now.Add(lookAgain - epoch)
		w.settle()
	}
	w.now = w.now.Add(epoch)
	w.settle()
	w.alarms(OwnKey)
}

// TestOneAddressDoesNotDelayOthers: alice is suspended, and the log is followed for
// carol all the same.
func TestOneAddressDoesNotDelayOthers(t *testing.T) {
	const carol = "caroline@north.test"
	s := newService(t, 5)
	s.enter(alice, alice, spool.LogMade)
	s.enter(carol, carol, spool.LogMade)
	s.refuse = func(r spool.Request) spool.Status {
		if l, ok := r.(*spool.Lookup); ok && l.Name == "alice" {
			return spool.StatusSuspended
		}
		return spool.StatusOK
	}
	w := newWorld(t, s, alice, carol)
	w.m.random = func(time.Duration) time.Duration { return time.Minute }
	w.announce(s.head())
	for range 10 {
		w.settle()
		w.now = w.now.Add(time.Minute)
	}
	w.reached(7)
	s.enter(carol, "mallory", spool.LogChanged)
	w.announce(s.head())
	w.settle()
	w.alarms(OwnKey)
}

// TestLookUpsApart: when all of a daemon's addresses are to be looked up anew, each
// has a time of its own.
func TestLookUpsApart(t *testing.T) {
	var own []string
	for i := range 5 {
		own = append(own, fmt.Sprintf("own%d@north.test", i))
	}
	w, s := followed(t, own...)
	w.m.random = random
	f := s.fork(4)
	for _, a := range own {
		f.enter(a, a, spool.LogMade)
	}
	f.enter("new@north.test", "crowd", spool.LogMade)
	w.net.service = f
	first := map[string]time.Time{}
	f.refuse = func(r spool.Request) spool.Status {
		l, ok := r.(*spool.Lookup)
		if !ok {
			return spool.StatusOK
		}
		if first[l.Name].IsZero() {
			first[l.Name] = w.now
		}
		return spool.StatusBusy
	}
	w.announce(f.head())
	for end := w.now.Add(12 * time.Hour); w.now.Before(end); w.now = w.now.Add(8 * time.Second) {
		w.settle()
	}
	times := slices.SortedFunc(maps.Values(first), time.Time.Compare)
	if len(times) != len(own) {
		t.Fatalf("%d of %d looked up", len(times), len(own))
	}
	if d := times[len(times)-1].Sub(times[0]); d < time.Minute {
		t.Errorf("all looked up within %v", d)
	}
	w.alarms(Rewritten)
}

// TestNothingNew: a service that cannot read its store announces nothing for some
// epochs, or its old head, while a new user is looked up.
func TestNothingNew(t *testing.T) {
	for what, old := range map[string]bool{"no head": false, "the old head": true} {
		t.Run(what, func(t *testing.T) {
			w, s := followed(t, alice)
			notice := w.net.notice
			s.enter(bob, bob, spool.LogMade)
			if err := w.look(bob); err != nil {
				t.Fatal(err)
			}
			for range covered + patience - 1 {
				w.now = w.now.Add(epoch)
				w.net.notice = mixclient.Notice{Since: w.now}
				if old {
					w.net.notice.Bytes = slices.Clone(notice.Bytes)
				}
				w.settle()
			}
			w.announce(s.head())
			w.settle()
			w.alarms()
			w.reached(len(s.records))
			if n := len(w.state().Pending); n != 0 || w.m.Doubted(bob) {
				t.Errorf("%d records wait; doubted: %v", n, w.m.Doubted(bob))
			}
		})
	}
}
