package builtin

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailproxy/mixclient/conformance"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/local"
)

// scale is how much faster than a real network the tests' network runs: as fast
// as two cores carry it under the race detector too.
const scale = 25

type service func([]byte) []byte

func (s service) Answer(_ context.Context, request []byte) []byte { return s(request) }

func startNetwork(t *testing.T) *local.Network {
	t.Helper()
	net, err := local.Start(local.Config{
		Parameters: directory.DefaultParameters().Scaled(scale),
		Providers:  []local.Provider{{Domain: conformance.Provider, Spool: service(conformance.Answer), Notice: conformance.Announced}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := net.Close(); err != nil {
			t.Errorf("close network: %v", err)
		}
	})
	return net
}

func startClient(t *testing.T, net *local.Network) *Client {
	t.Helper()
	c, err := New(Config{Document: net.Document})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return c
}

func TestConformance(t *testing.T) {
	// Registered first, so that it runs after all networks are closed.
	t.Cleanup(func() { goleak.VerifyNone(t) })
	conformance.Run(t, func(t *testing.T) conformance.Setup {
		net := startNetwork(t)
		layer := []string{"mix2a", "mix2b"}
		return conformance.Setup{
			Network: startClient(t, net), Patience: 2 * time.Minute,
			Break: func() {
				for _, name := range layer {
					if err := net.Stop(name); err != nil {
						t.Error(err)
					}
				}
			},
			Mend: func() {
				for _, name := range layer {
					if err := net.Restart(name); err != nil {
						t.Error(err)
					}
				}
			},
		}
	})
}

// TestSlotsDoNotDependOnQueries checks that a client to which queries are put
// sends as many packets as one that is idle beside it.
func TestSlotsDoNotDependOnQueries(t *testing.T) {
	net := startNetwork(t)
	idle, busy := startClient(t, net), startClient(t, net)
	spools, err := busy.Services(t.Context(), "spool")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	count := func(c *Client) float64 {
		s := c.Status()
		return float64(s.Queries + s.Reads + s.Loops + s.LoopsSent)
	}
	until := func(done func() bool) {
		for !done() && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	until(func() bool { return idle.Status().Connected && busy.Status().Connected })
	idleBefore, busyBefore := count(idle), count(busy)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				// Errors are those of the end of the test.
				_, _ = busy.Query(ctx, spools[0], []byte("busy"))
			}
		})
	}
	const enough = 150 // so that the ratio deviates by 0.11
	until(func() bool { return count(idle)-idleBefore >= enough && idle.Status().LoopsBack > 0 })
	if ratio := (count(busy) - busyBefore) / (count(idle) - idleBefore); ratio < 0.6 || ratio > 1.6 {
		t.Errorf("the busy client sent %v packets, the idle one %v", count(busy)-busyBefore, count(idle)-idleBefore)
	}
	cancel()
	wg.Wait()
	if s := busy.Status(); s.Queries == 0 {
		t.Errorf("the busy client's slots carried no queries: %+v", s)
	}
	if s := idle.Status(); s.Queries != 0 || s.LoopsBack == 0 {
		t.Errorf("idle client: %+v", s)
	}
}
