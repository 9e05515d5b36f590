package monitor

import (
	"context"
	"testing"
	"time"

	"mailproxy/spool"
)

// reached checks that the log was followed to the newest head, and no further.
func (w *world) reached(size int) {
	w.t.Helper()
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	r := w.m.providers["north.test"].rec
	if !r.Started || len(r.Queue) != 0 || r.Size != uint64(size) || r.Newest.Size != uint64(size) {
		w.t.Errorf("followed to %d of %d records, want %d; %d heads wait", r.Size, r.Newest.Size, size, len(r.Queue))
	}
}

// TestRewrittenLog changes the log that alice's daemon has followed, in all ways that
// a provider has, or that follow from a backup put back.
func TestRewrittenLog(t *testing.T) {
	for what, lie := range map[string]func(w *world, s *service){
		"it shrinks": func(w *world, s *service) {
			w.net.service = s.fork(12)
			w.announce(w.net.service.head())
		},
		"it shrinks and grows again": func(w *world, s *service) {
			f := s.fork(12)
			for range 5 {
				f.enter("new@north.test", "crowd", spool.LogMade)
			}
			w.net.service = f
			w.announce(f.head())
		},
		"its newest record is another": func(w *world, s *service) {
			f := s.fork(len(s.records) - 1)
			f.enter("new@north.test", "crowd", spool.LogMade)
			w.net.service = f
			w.announce(f.head())
		},
		"its first record is another": func(w *world, s *service) {
			f := newService(s.t, 0)
			f.enter("new@north.test", "crowd", spool.LogMade)
			f.records = append(f.records, s.records[1:]...)
			again := f.fork(len(f.records))
			again.place, again.key = s.place, s.key
			again.enter("newer@north.test", "crowd", spool.LogMade)
			w.net.service = again
			w.announce(again.head())
		},
		"its records are not those of its head": func(w *world, s *service) {
			s.enter("new@north.test", "crowd", spool.LogMade)
			s.log = func(_ uint64, r *spool.LogReply) {
				copy(r.Records[len(r.Records)-spool.LogRecordSize:], spool.LogRecord{Kind: spool.LogMade, Version: 1}.Encode())
				s.log = nil
			}
			w.announce(s.head())
		},
		"what it announced is not there": func(w *world, s *service) {
			f := s.fork(len(s.records))
			f.enter("new@north.test", "crowd", spool.LogMade)
			w.announce(f.head())
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newService(t, 11)
			s.enter(alice, alice, spool.LogMade)
			s.enter(bob, bob, spool.LogMade)
			w := newWorld(t, s, alice)
			w.announce(s.head())
			if err := w.look(bob); err != nil {
				t.Fatal(err)
			}
			w.settle()
			w.alarms()
			lie(w, s)
			w.settle()
			w.alarms(Rewritten)
			for _, account := range []string{alice, reader} {
				if len(w.inbox(account)) != 1 {
					t.Errorf("%s was not warned", account)
				}
			}
			// From then on it is watched again.
			w.net.service.enter("later@north.test", "crowd", spool.LogMade)
			w.announce(w.net.service.head())
			w.now = w.now.Add(2 * after)
			w.settle()
			w.open()
			w.settle()
			w.alarms(Rewritten)
			w.reached(len(w.net.service.records))
			w.net.service.enter(alice, "mallory", spool.LogChanged)
			w.announce(w.net.service.head())
			w.settle()
			w.alarms(Rewritten, OwnKey)
		})
	}
}

// TestFalseEdge gives a daemon that begins a beginning that is not the log's.
func TestFalseEdge(t *testing.T) {
	s := newService(t, 21)
	w := newWorld(t, s)
	s.log = func(_ uint64, r *spool.LogReply) { r.Edge = alter(r.Edge); s.log = nil }
	s.enter(bob, bob, spool.LogMade)
	w.announce(s.head())
	if err := w.look(bob); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.alarms(Rewritten)
	w.announce(s.head())
	w.settle()
	w.alarms(Rewritten)
	w.reached(22)
}

// TestOwnAddress: alice's daemon learns of every key that her provider has for her.
func TestOwnAddress(t *testing.T) {
	for what, c := range map[string]struct {
		before, later func(s *service)
		want          Kind
	}{
		"changed while she is watching":   {later: func(s *service) { s.enter(alice, "mallory", spool.LogChanged) }, want: OwnKey},
		"made again while she watches":    {later: func(s *service) { s.enter(alice, "mallory", spool.LogMade) }, want: OwnKey},
		"revoked while she is watching":   {later: func(s *service) { s.enter(alice, alice, spool.LogRevoked) }, want: OwnRevoked},
		"changed before she first looked": {before: func(s *service) { s.enter(alice, "mallory", spool.LogChanged) }, want: OwnKey},
		"changed and put back before": {before: func(s *service) {
			place := s.place[alice]
			s.enter(alice, "mallory", spool.LogChanged)
			s.place[alice], s.key[alice] = place, alice
		}, want: OwnKey},
		"gone": {before: func(s *service) { delete(s.place, alice) }, want: OwnMissing},
	} {
		t.Run(what, func(t *testing.T) {
			s := newService(t, 7)
			s.enter(alice, alice, spool.LogMade)
			for range 8 {
				s.enter("new@north.test", "crowd", spool.LogMade)
			}
			if c.before != nil {
				c.before(s)
			}
			w := newWorld(t, s, alice)
			w.announce(s.head())
			w.settle()
			if c.later != nil {
				w.alarms()
				c.later(s)
				w.announce(s.head())
				w.settle()
			}
			w.alarms(c.want)
			if len(w.inbox(alice)) != 1 || len(w.inbox(reader)) != 0 {
				t.Error("the warning went to another account")
			}
		})
	}
}

// TestTwoLogsBehindOneHead: what the announced head is of, the other log is found out
// against, by whoever is given that.
func TestTwoLogsBehindOneHead(t *testing.T) {
	truth := newService(t, 6)
	lie := truth.fork(6)
	truth.enter(alice, alice, spool.LogMade)
	lie.enter(alice, "mallory", spool.LogMade)
	for what, c := range map[string]struct {
		announced, toAlice, toReader *service
		alices, readers              []Kind
	}{
		"the true head, and a false log for the reader":  {truth, truth, lie, nil, []Kind{NotLogged}},
		"a false head, and the true log for alice":       {lie, truth, lie, []Kind{NotLogged, Rewritten}, nil},
		"a false head, and the false log for everybody":  {lie, lie, lie, []Kind{OwnKey}, nil},
		"the true head, and the true log for everybody":  {truth, truth, truth, nil, nil},
		"a false head, and the true log for the reader":  {lie, lie, truth, []Kind{OwnKey}, []Kind{NotLogged}},
		"the true head, and the false log for everybody": {truth, lie, lie, []Kind{NotLogged, Rewritten}, []Kind{NotLogged}},
	} {
		t.Run(what, func(t *testing.T) {
			a, r := newWorld(t, c.toAlice, alice), newWorld(t, c.toReader)
			for _, w := range []*world{a, r} {
				w.announce(c.announced.head())
				w.t = t
			}
			err := r.look(alice)
			if (err != nil) != (len(c.readers) > 0) {
				t.Errorf("the reader's look-up: %v", err)
			}
			for range 3 {
				a.settle()
				a.now = a.now.Add(2 * after)
			}
			a.alarms(c.alices...)
			r.alarms(c.readers...)
		})
	}
}

// TestRun follows by itself, in the slots of a network.
func TestRun(t *testing.T) {
	s := newService(t, 40)
	s.enter(alice, alice, spool.LogMade)
	for range 30 {
		s.enter("new@north.test", "crowd", spool.LogMade)
	}
	w := newWorld(t, s, alice)
	w.announce(s.head())
	w.m.cfg.Now = time.Now
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		w.m.Run(ctx, w.net, func() []string { return []string{"north.test"} })
		close(done)
	}()
	reached := func() bool {
		w.m.mu.Lock()
		defer w.m.mu.Unlock()
		p := w.m.providers["north.test"]
		return p != nil && p.rec.Started && p.rec.Size == 71
	}
	for end := time.Now().Add(2 * time.Minute); !reached() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
	w.reached(71)
	w.alarms()
}
