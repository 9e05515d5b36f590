package local

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailproxy/mixnet/directory"
)

type echo struct{}

func (echo) Answer(_ context.Context, request []byte) []byte { return request }

// TestLoopsOfNodes: each node's own loops come back, and when a layer is gone each
// node notices by itself.
func TestLoopsOfNodes(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	p := directory.DefaultParameters().Scaled(100)
	p.NodeLoopRate = 10
	n, err := Start(Config{Parameters: p, Providers: []Provider{{Domain: "north.test", Spool: echo{}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				for name, nd := range n.Nodes() {
					t.Logf("%s: %+v", name, nd.Loops())
				}
				t.Fatal(what)
			}
		}
	}
	all := func(ok func(sent, back uint64, alarm bool) bool) func() bool {
		return func() bool {
			for _, nd := range n.Nodes() {
				if r := nd.Loops(); !ok(r.Sent, r.Back, r.Alarm) {
					return false
				}
			}
			return true
		}
	}
	eventually("loops do not come back", all(func(_, back uint64, alarm bool) bool { return back >= 25 && !alarm }))
	for _, mix := range []string{"mix2a", "mix2b"} {
		if err := n.Stop(mix); err != nil {
			t.Fatal(err)
		}
	}
	eventually("a missing layer is not noticed", all(func(_, _ uint64, alarm bool) bool { return alarm }))
	for _, mix := range []string{"mix2a", "mix2b"} {
		if err := n.Restart(mix); err != nil {
			t.Fatal(err)
		}
	}
	eventually("the alarm does not end", all(func(_, _ uint64, alarm bool) bool { return !alarm }))
}
