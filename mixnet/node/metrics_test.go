package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mailproxy/mixnet/directory"
)

// figures returns what the node's collectors show, a line each.
func figures(t *testing.T, n *Node, detail bool) (map[string]float64, []prometheus.Collector) {
	t.Helper()
	list := n.Collectors(detail)
	return gather(t, list), list
}

func gather(t *testing.T, list []prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	for _, c := range list {
		if err := r.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]float64{}
	for _, f := range families {
		if problems, err := testutil.GatherAndLint(r, f.GetName()); err != nil || len(problems) > 0 {
			t.Errorf("%s: %v, %v", f.GetName(), problems, err)
		}
		for _, m := range f.GetMetric() {
			line := f.GetName()
			for _, l := range m.GetLabel() {
				line += fmt.Sprintf(" %s=%s", l.GetName(), l.GetValue())
			}
			switch {
			case m.Counter != nil:
				lines[line] = m.Counter.GetValue()
			case m.Gauge != nil:
				lines[line] = m.Gauge.GetValue()
			case m.Histogram != nil:
				lines[line] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return lines
}

func TestFigures(t *testing.T) {
	b := newBench(t)
	b.read()
	b.freeze()
	arrived := b.accept("mix2")
	n := b.run("mix1", nil)
	c := b.dial("gateway", "mix1")
	send(t, c, b.packet(b.hop("mix1", 10*time.Millisecond), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0)))
	get(t, "a packet", arrived)
	bad := b.packet(b.hop("mix1", 0), b.hop("mix2", 0), b.hop("mix3", 0), b.hop("service", 0))
	bad[100] ^= 1
	send(t, c, bad)
	eventually(t, "altered", &n.Counters.BadMAC, 1)
	b.agree(n, b.doc, b.doc.Parameters.EpochAt(b.now()))

	plain, held := figures(t, n, false)
	for line, want := range map[string]float64{
		"mixnet_node_info name=mix1 role=mix": 1, "mixnet_link_up peer=mix2": 1, "mixnet_link_queue_ratio peer=mix2": 0,
		"mixnet_delay_queue_ratio": 0, "mixnet_loop_alarm": 0, "mixnet_snapshot_known epoch=present": 1,
		"mixnet_snapshot_known epoch=next": 0, "mixnet_takes_part": 1, "mixnet_documents": 1,
	} {
		if got, ok := plain[line]; !ok || got != want {
			t.Errorf("%s is %v, %v, want %v", line, got, ok, want)
		}
	}
	if late := plain["mixnet_delay_error_seconds share=1"]; late <= 0 {
		t.Errorf("the most that a packet was late is %v s", late)
	}
	exact, _ := figures(t, n, true)
	for line, want := range map[string]float64{
		"mixnet_detail_packets_total outcome=received": 2, "mixnet_detail_packets_total outcome=forwarded": 1,
		"mixnet_detail_packets_total outcome=dropped_mac": 1, "mixnet_detail_delay_error_seconds": 1,
		"mixnet_detail_replay_tags": 1, "mixnet_detail_clients": 0, "mixnet_detail_delay_queue": 0,
	} {
		if got, ok := exact[line]; !ok || got != want {
			t.Errorf("%s is %v, %v, want %v", line, got, ok, want)
		}
	}

	// What is not held at its moment helps to follow packets.
	n.Counters.BadPayload.Add(100 * faultStep)
	if again, ok := gather(t, held)["mixnet_packets_dropped_total reason=payload"]; !ok || again != 0 {
		t.Errorf("what anybody may get is %v, %v within the period, want what it was, 0", again, ok)
	}
}

// TestNoFigureHelpsAnAdversary: nothing that anybody may get shows one packet, one
// client, or anything by client, user or service.
func TestNoFigureHelpsAnAdversary(t *testing.T) {
	b := newBench(t)
	b.read()
	b.freeze()
	n := b.run("gateway", nil)
	before, _ := figures(t, n, false)
	b.dialNew("gateway")
	for deadline := time.Now().Add(2 * time.Minute); n.Counters.Clients.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no client")
		}
	}
	k := &n.Counters
	k.NoClient.Add(1)
	k.Delivered.Add(1)
	after, _ := figures(t, n, false)
	for line, got := range after {
		if strings.HasPrefix(line, prefix+"detail_") {
			t.Errorf("%s is there without being asked for", line)
		}
		for _, name := range []string{"client=", "service=", "user=", "address="} {
			if strings.Contains(line, name) {
				t.Errorf("%s tells too much", line)
			}
		}
		if was, ok := before[line]; !ok || was != got {
			t.Errorf("a client that comes changes %s from %v to %v", line, was, got)
		}
	}
	// Of a fault that is made once, the chance to see it is one in a hundred.
	seen := 0
	const nodes = 400
	for range nodes {
		list := n.Collectors(false)
		lines := gather(t, list)
		if lines["mixnet_packets_dropped_total reason=no_service"] != 0 {
			t.Fatal("a fault that was never made is shown")
		}
	}
	k.NoService.Add(1)
	for range nodes {
		if gather(t, n.Collectors(false))["mixnet_packets_dropped_total reason=no_service"] != 0 {
			seen++
		}
	}
	if seen > nodes/20 {
		t.Errorf("a packet that was dropped shows at %d of %d nodes", seen, nodes)
	}
	if n.self.Role != directory.RoleGateway {
		t.Fatal("not a gateway")
	}
}
