package monitor

import (
	"errors"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/spool"
)

// TestHonestProvider raises no alarm, over new users, restarts, and look-ups of keys
// that are older and newer than the head.
func TestHonestProvider(t *testing.T) {
	s := newService(t, 13)
	s.enter(alice, alice, spool.LogMade)
	w := newWorld(t, s, alice)
	if err := w.look(bob); !errors.Is(err, spool.StatusNoUser) {
		t.Errorf("nobody: %v", err)
	}
	w.settle() // nothing is announced yet
	w.announce(s.head())
	w.settle()
	w.reached(14)
	if err := w.look(alice); err != nil {
		t.Error(err)
	}
	s.enter(bob, bob, spool.LogMade)
	if err := w.look(bob); err != nil {
		t.Error(err)
	}
	if n := len(w.m.providers["north.test"].rec.Pending); n != 1 {
		t.Errorf("%d records wait for a head", n)
	}
	// The head of the next epoch was taken before bob came, and the one after that
	// finds the daemon started anew.
	w.announce(s.fork(14).head())
	w.settle()
	w.open()
	for i := range 17 {
		s.enter(string(rune('a'+i))+"@north.test", "crowd", spool.LogMade)
	}
	w.announce(s.head())
	w.settle()
	w.reached(len(s.records))
	if n := len(w.m.providers["north.test"].rec.Pending); n != 0 {
		t.Errorf("%d records wait for a head", n)
	}
	if err := w.look(bob); err != nil {
		t.Error(err)
	}
	// Bob changes his identity: for contacts to tell, and no matter of the log.
	s.enter(bob, "bob's new computer", spool.LogChanged)
	if err := w.look(bob); err != nil {
		t.Error(err)
	}
	w.announce(s.head())
	w.settle()
	if err := w.look(bob); err != nil {
		t.Error(err)
	}
	before := s.asked
	w.settle()
	if s.asked != before {
		t.Error("the log is asked for though nothing was announced")
	}
	w.alarms()
	old, now := public(bob), public("bob's new computer")
	if w.m.Doubted(bob) || !w.m.Superseded(bob, old[:]) || w.m.Superseded(bob, now[:]) {
		t.Error("bob's new keys are not used")
	}
}

// TestLogWithoutOwnUsers is followed from its first known head on: what was before
// is not read.
func TestLogWithoutOwnUsers(t *testing.T) {
	s := newService(t, 400)
	s.enter(bob, bob, spool.LogMade)
	w := newWorld(t, s)
	w.announce(s.head())
	if err := w.look(bob); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.reached(401)
	if s.asked != 2 { // the look-up, and the edge
		t.Errorf("%d requests", s.asked)
	}
	w.alarms()
}

// TestLookUpOfFalseKeys shows a client keys that are not in the announced log, in
// all ways that a provider has; none is taken.
func TestLookUpOfFalseKeys(t *testing.T) {
	for what, lie := range map[string]func(s *service, r *spool.LookupReply){
		"another identity under the true proof": func(s *service, r *spool.LookupReply) { r.Bundle = bundle(t, bob, "mallory") },
		"no proof":                              func(s *service, r *spool.LookupReply) { r.Proof = nil },
		"a truncated proof":                     func(s *service, r *spool.LookupReply) { r.Proof = r.Proof[:len(r.Proof)-32] },
		"a proof cut within a hash":             func(s *service, r *spool.LookupReply) { r.Proof = r.Proof[:len(r.Proof)-1] },
		"an altered proof":                      func(s *service, r *spool.LookupReply) { r.Proof = alter(r.Proof) },
		"a proof with more":                     func(s *service, r *spool.LookupReply) { r.Proof = append(r.Proof, make([]byte, 32)...) },
		"another place":                         func(s *service, r *spool.LookupReply) { r.Index-- },
		"another version":                       func(s *service, r *spool.LookupReply) { r.Version++ },
		"another kind":                          func(s *service, r *spool.LookupReply) { r.Kind = spool.LogChanged },
		"a proof from a log of its own": func(s *service, r *spool.LookupReply) {
			f := s.fork(len(s.records) - 1)
			f.enter(bob, "mallory", spool.LogMade)
			r.Bundle, r.Proof = bundle(t, bob, "mallory"), f.prove(uint64(len(f.records)), r.Index)
		},
		"a head that was never announced": func(s *service, r *spool.LookupReply) {
			s.enter(bob, "mallory", spool.LogChanged)
			size := uint64(len(s.records))
			r.Bundle, r.Index, r.Proof = bundle(t, bob, "mallory"), 9, s.prove(size, size-1)
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newService(t, 9)
			s.enter(bob, bob, spool.LogMade)
			w := newWorld(t, s)
			w.announce(s.head())
			w.settle()
			s.lookup = func(_ string, r *spool.LookupReply) { lie(s, r) }
			for range 2 {
				if err := w.look(bob); !errors.Is(err, ErrFalse) {
					t.Fatalf("look-up: %v", err)
				}
			}
			w.alarms(NotLogged)
			if !w.m.Doubted(bob) {
				t.Error("bob's keys are used on")
			}
			w.open() // it is kept
			w.alarms(NotLogged)
			w.settle()
			w.now = w.now.Add(retryFailed)
			before := s.asked
			w.settle() // it is tried again, in vain
			if !w.m.Doubted(bob) || s.asked == before || len(w.cleared) != 0 {
				t.Errorf("after an hour: doubted %v, %d requests, cleared %q", w.m.Doubted(bob), s.asked-before, w.cleared)
			}
			s.lookup = nil
			s.enter(bob, bob, spool.LogChanged) // whatever the lie left in the log
			w.announce(s.head())
			w.settle()
			if w.m.Doubted(bob) || len(w.cleared) != 1 || w.cleared[0] != reader+" "+bob {
				t.Errorf("after the truth: doubted %v, cleared %q", w.m.Doubted(bob), w.cleared)
			}
			if err := w.look(bob); err != nil {
				t.Errorf("the truth: %v", err)
			}
			who, mallory := public(bob), public("mallory")
			if w.m.Superseded(bob, who[:]) || !w.m.Superseded(bob, mallory[:]) {
				t.Error("the wrong identity is in use")
			}
			w.alarms(NotLogged) // until the user dismisses it
			if err := w.m.Dismiss(w.m.Alarms()[0].ID); err != nil {
				t.Error(err)
			}
			if err := w.m.Dismiss("0"); !errors.Is(err, ErrNoAlarm) {
				t.Error(err)
			}
			w.open()
			if n := len(w.m.Alarms()); n != 0 {
				t.Errorf("%d alarms after all were dismissed", n)
			}
		})
	}
}

// TestFalseKeysAheadOfTheHead are taken, for they could be true, until a head covers
// their place, or should have.
func TestFalseKeysAheadOfTheHead(t *testing.T) {
	for what, c := range map[string]struct {
		index     uint64
		announced int // until it shows
		restart   bool
	}{
		"another record comes there": {index: 10, announced: 1},
		"the same, over a restart":   {index: 10, announced: 1, restart: true},
		"no record ever comes there": {index: 1 << 30, announced: 2},
	} {
		t.Run(what, func(t *testing.T) {
			s := newService(t, 9)
			s.enter(bob, bob, spool.LogMade)
			w := newWorld(t, s)
			w.announce(s.head())
			w.settle()
			s.lookup = func(_ string, r *spool.LookupReply) {
				r.Bundle, r.Index, r.Proof, r.Kind = bundle(t, bob, "mallory"), c.index, nil, spool.LogChanged
			}
			if err := w.look(bob); err != nil {
				t.Fatal(err)
			}
			if c.restart {
				w.open()
			}
			for i := range c.announced {
				if w.m.Doubted(bob) || len(w.m.Alarms()) != 0 {
					t.Fatalf("alarm after %d announcements", i)
				}
				s.enter("someone"+string(rune('a'+i))+"@north.test", "crowd", spool.LogMade)
				w.announce(s.head())
				w.settle()
			}
			w.alarms(NotLogged)
			if !w.m.Doubted(bob) {
				t.Error("the false key is used on")
			}
		})
	}
}

// TestOlderKeysAgain shows keys again that were replaced: they are in the log, and
// not the newest there.
func TestOlderKeysAgain(t *testing.T) {
	s := newService(t, 3)
	s.enter(bob, bob, spool.LogMade)
	w := newWorld(t, s)
	w.announce(s.head())
	w.settle()
	if err := w.look(bob); err != nil {
		t.Fatal(err)
	}
	old := s.place[bob]
	s.enter(bob, "bob's new computer", spool.LogChanged) // he says that the old one was stolen
	w.announce(s.head())
	w.settle()
	s.place[bob], s.key[bob] = old, bob
	if err := w.look(bob); !errors.Is(err, ErrFalse) {
		t.Errorf("look-up: %v", err)
	}
	w.alarms(NotLogged)
}

// TestNoLog: a provider that announces none is found out when it should have.
func TestNoLog(t *testing.T) {
	s := newService(t, 3)
	s.enter(bob, bob, spool.LogMade)
	w := newWorld(t, s)
	if err := w.look(bob); err != nil {
		t.Fatal(err)
	}
	for range covered + patience {
		w.alarms()
		w.now = w.now.Add(epoch)
		w.net.notice = mixclient.Notice{Bytes: []byte("not a head"), Since: w.now}
		w.settle()
	}
	w.alarms(NotLogged)
}

// TestTwoAnnouncementsForOneTime: two clients of a daemon see different snapshots.
func TestTwoAnnouncementsForOneTime(t *testing.T) {
	s := newService(t, 5)
	s.enter(alice, alice, spool.LogMade)
	w := newWorld(t, s, alice)
	w.announce(s.head())
	w.settle()
	other := &net{service: s, notice: w.net.notice}
	f := s.fork(5)
	f.enter(alice, "mallory", spool.LogMade)
	other.notice.Bytes = f.head().Notice()
	for range 3 {
		if err := w.m.watch(other, north, 0); err != nil {
			t.Fatal(err)
		}
	}
	w.alarms(Rewritten)
	if n := w.m.Alarms()[0].Count; n != 1 {
		t.Errorf("raised %d times", n)
	}
}

// TestOlderAnnouncement comes late, with the snapshots of the hours before, and says
// nothing.
func TestOlderAnnouncement(t *testing.T) {
	s := newService(t, 5)
	w := newWorld(t, s)
	s.enter(alice, alice, spool.LogMade)
	w.announce(s.head())
	if err := w.look(alice); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.net.notice = mixclient.Notice{Bytes: s.fork(3).head().Notice(), Since: w.now.Add(-time.Minute)}
	w.settle()
	w.reached(6)
	w.alarms()
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte{0xa1, 0x01, 0x01}, []byte("notice"))
	f.Add([]byte{0xa1, 0x01, 0x01}, spool.LogHead{Size: 3}.Notice())
	f.Fuzz(func(t *testing.T, raw, notice []byte) {
		for _, err := range []error{
			second(decodeProvider(raw)), second(decodeName(raw)), second(decodeAlarm(raw)),
		} {
			if err != nil && !errors.Is(err, ErrRecord) {
				t.Fatal(err)
			}
		}
		p := newProvider("north.test")
		c := p.change(start, nil)
		c.announced(mixclient.Notice{Bytes: notice, Since: start})
		if _, ok := c.next(nil); ok != c.rec.Announced {
			t.Fatal("what was announced is not followed")
		}
	})
}

func second[T any](_ T, err error) error { return err }
