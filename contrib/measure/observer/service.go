package main

import (
	"context"
	"sync"
	"time"

	"mailproxy/mixnet/node"
	"mailproxy/spool"
)

// A watched is a provider's spool whose requests are counted, so that a scenario can
// be seen to have taken place. With hold it is broken on purpose: it holds a read
// that finds nothing until mail comes, or hold is over.
type watched struct {
	node.Service
	hold time.Duration

	mu     sync.Mutex // guards all below
	spools map[spool.ID]*use
}

// A use is what became of one spool.
type use struct {
	address        string
	appended       int
	reads, brought int           // reads, and those that brought a block
	last           uint64        // newest sequence number
	came           chan struct{} // closed with the next block
}

func newWatched(s node.Service, hold time.Duration) *watched {
	return &watched{Service: s, hold: hold, spools: map[spool.ID]*use{}}
}

// of returns the use of a spool. w.mu is held.
func (w *watched) of(id spool.ID) *use {
	u := w.spools[id]
	if u == nil {
		u = &use{came: make(chan struct{})}
		w.spools[id] = u
	}
	return u
}

// Answer implements node.Service.
func (w *watched) Answer(ctx context.Context, request []byte) []byte {
	req, _, status := spool.DecodeRequest(request)
	if status != spool.StatusOK {
		return w.Service.Answer(ctx, request)
	}
	if read, ok := req.(*spool.Read); ok && w.hold > 0 {
		w.wait(ctx, read)
	}
	reply := w.Service.Answer(ctx, request)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch r := req.(type) {
	case *spool.Register:
		if bundle, err := r.Bundle.Open(); err == nil { // else the spool has refused it
			w.of(spool.IDOf(r.ReadKey)).address = bundle.Address
		}
	case *spool.Append:
		if _, err := spool.DecodeReply(reply, &spool.Empty{}); err == nil {
			u := w.of(r.Spool)
			u.appended++
			u.last++
			close(u.came)
			u.came = make(chan struct{})
		}
	case *spool.Read:
		u := w.of(spool.IDOf(r.ReadKey))
		u.reads++
		var answer spool.ReadReply
		if _, err := spool.DecodeReply(reply, &answer); err == nil && answer.Seq != 0 {
			u.brought++
		}
	}
	return reply
}

// wait holds a read of a spool in which there is nothing for it.
func (w *watched) wait(ctx context.Context, r *spool.Read) {
	w.mu.Lock()
	u := w.of(spool.IDOf(r.ReadKey))
	empty, came := r.Cursor >= u.last, u.came
	w.mu.Unlock()
	if !empty {
		return
	}
	select {
	case <-came:
	case <-time.After(w.hold):
	case <-ctx.Done():
	}
}

// usage returns what became of the spool of an address up to now.
func (w *watched) usage(address string) use {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.spools {
		if u.address == address {
			return *u
		}
	}
	return use{}
}
