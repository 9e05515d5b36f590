package main

import (
	"slices"
	"sync"
	"time"

	"mailproxy/internal/demo"
	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/seal"
)

// A recorder keeps the slots of both clients and what they carried.
type recorder struct {
	log demo.Log

	mu        sync.Mutex // guards all below
	slots     map[string][]builtin.Slot
	sent      map[int64]seal.ID // by Timing.Sent of alice's slot: whose block it carried
	brought   map[int64]seal.ID // by Timing.Sent of bob's read: whose block it brought
	submitted []string          // outbox ids of alice's mail, in order
}

func newRecorder() *recorder {
	return &recorder{slots: map[string][]builtin.Slot{}, sent: map[int64]seal.ID{}, brought: map[int64]seal.ID{}}
}

func (r *recorder) slot(account string, s builtin.Slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots[account] = append(r.slots[account], s)
}

func (r *recorder) event(e progress.Event) {
	r.log.Observe(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case e.Kind == progress.Submitted && e.Account == demo.Alice:
		r.submitted = append(r.submitted, e.Outbox)
	case e.Kind == progress.Sent && e.Account == demo.Alice:
		r.sent[e.Timing.Sent.UnixNano()] = e.Message
	case e.Kind == progress.Read && e.Account == demo.Bob:
		r.brought[e.Timing.Sent.UnixNano()] = e.Message
	}
}

// journey returns that of the mail that was submitted as the i-th.
func (r *recorder) journey(i int) *demo.Journey {
	r.mu.Lock()
	outbox := r.submitted[i]
	r.mu.Unlock()
	for _, j := range r.log.Journeys() {
		if j.Account == demo.Alice && j.Outbox == outbox {
			return &j
		}
	}
	return nil
}

// between returns the slots of an account's process from one time to another.
func (r *recorder) between(account string, p builtin.Process, from, to time.Time) []builtin.Slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.slots[account]), func(s builtin.Slot) bool {
		return s.Process != p || s.Timing.Sent.Before(from) || !s.Timing.Sent.Before(to)
	})
}

// carried says whose block alice's slot carried: of the message id, of another
// (or a look-up), or of none.
func (r *recorder) carried(s builtin.Slot, id seal.ID) (ours, others bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	whose, block := r.sent[s.Timing.Sent.UnixNano()]
	return block && whose == id, !s.Cover && !(block && whose == id)
}

// got says whose block bob's read brought; both are false if it brought none that
// was new.
func (r *recorder) got(t mixclient.Timing, id seal.ID) (ours, others bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	whose, block := r.brought[t.Sent.UnixNano()]
	return block && whose == id, block && whose != id
}
