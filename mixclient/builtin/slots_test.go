package builtin

import (
	"context"
	"sync"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixclient/conformance"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/local"
)

// TestSlotsAreReported checks that Config.Slots hears of every packet, and of a
// query's with the times that its trace has.
func TestSlotsAreReported(t *testing.T) {
	net := startNetwork(t)
	var mu sync.Mutex // guards slots
	var slots []Slot
	c, err := New(Config{Document: net.Document, Slots: func(s Slot) {
		mu.Lock()
		defer mu.Unlock()
		slots = append(slots, s)
	}})
	if err != nil {
		t.Fatal(err)
	}
	spools, err := c.Services(t.Context(), mixclient.KindSpool)
	if err != nil {
		t.Fatal(err)
	}
	c.SetReads(func() (mixclient.Read, bool) {
		return mixclient.Read{To: spools[0], Request: []byte("read"), Done: func([]byte, mixclient.Timing, error) {}}, true
	})
	var sent mixclient.Timing
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ctx = mixclient.WithTrace(ctx, &mixclient.Trace{Sent: func(t mixclient.Timing) { sent = t }})
	if _, err := c.Query(ctx, spools[0], []byte("query")); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	status := c.Status()
	counts := map[Process]uint64{}
	queries := 0
	for _, s := range slots {
		counts[s.Process]++
		if s.Timing.Sent.IsZero() || s.Timing.Up <= 0 || s.Timing.Down <= 0 {
			t.Errorf("a slot without times: %+v", s)
		}
		switch {
		case s.Process == QueryProcess && !s.Cover:
			queries++
			if s.Timing != sent {
				t.Errorf("the query's slot has %+v, its trace %+v", s.Timing, sent)
			}
		case s.Process == LoopProcess && !s.Cover:
			t.Error("a slot of the loops carried something else")
		}
	}
	if queries != 1 {
		t.Errorf("%d slots carried a query, want 1", queries)
	}
	if counts[QueryProcess] != status.Queries+status.Loops-coverReads(slots) || counts[LoopProcess] != status.LoopsSent {
		t.Errorf("slots %v, but the client counted %+v", counts, status)
	}
}

// coverReads counts the loops in slots of reads, which came before SetReads.
func coverReads(slots []Slot) (n uint64) {
	for _, s := range slots {
		if s.Process == ReadProcess && s.Cover {
			n++
		}
	}
	return n
}

// TestSlotsThatFollowClosely checks that whoever puts a query when the one before
// is taken is in time for the next slot, also if that comes before the packet of
// the first has left: else it would carry cover while mail waits.
func TestSlotsThatFollowClosely(t *testing.T) {
	p := directory.DefaultParameters().Scaled(scale)
	p.QueryRate = 0.001 // the slots are the test's
	net, err := local.Start(local.Config{
		Parameters: p, Providers: []local.Provider{{Domain: conformance.Provider, Spool: service(conformance.Answer)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := net.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := startClient(t, net)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for !c.Status().Connected && ctx.Err() == nil {
		<-c.Events()
	}
	spools, err := c.Services(ctx, mixclient.KindSpool)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	taken := make(chan struct{}, 2)
	put := func() {
		traced := mixclient.WithTrace(ctx, &mixclient.Trace{Taken: func() { taken <- struct{}{} }})
		wg.Go(func() {
			if _, err := c.Query(traced, spools[0], []byte("query")); err != nil {
				t.Error(err)
			}
		})
		for c.Status().Waiting == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	put()
	first := c.querySlot()
	select {
	case <-taken:
	default:
		t.Error("a slot was made, and the query is not told that it has it")
	}
	put()
	second := c.querySlot()
	for _, f := range []*flight{first, second} {
		if f == nil || f.cover {
			t.Fatal("a slot carried no query")
		}
		c.send(f, QueryProcess)
	}
}
