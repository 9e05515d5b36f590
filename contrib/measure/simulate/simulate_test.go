package main

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mailproxy/mixclient/builtin"
	"mailproxy/mixnet/directory"
)

// TestOneMixAtHighLoad checks the entropy against the closed form for one Poisson
// mix, log2(e λ/μ), at several loads.
func TestOneMixAtHighLoad(t *testing.T) {
	for _, c := range []struct {
		users int
		delay time.Duration
	}{{200, time.Second}, {2000, 200 * time.Millisecond}, {1500, 400 * time.Millisecond}} {
		n := defaults()
		n.users, n.MixDelay, n.layers, n.width = c.users, directory.Duration(c.delay), 1, 1
		traffic, err := newTraffic(n, effort{seed: 7, packets: 60})
		if err != nil {
			t.Fatal(err)
		}
		got := traffic.entropy(0, effort{seed: 7}).packet
		want := math.Log2(math.E * n.sends() * c.delay.Seconds())
		if math.Abs(got-want) > 0.02 {
			t.Errorf("%d users, mean %v: %.3f bits, want %.3f", c.users, c.delay, got, want)
		}
		if h := highLoad(n.sends(), n.mean(), 1); math.Abs(h-want) > 1e-9 {
			t.Errorf("closed form for one layer: %v, want %v", h, want)
		}
	}
}

// TestLayersAtHighLoad does the same for several layers.
func TestLayersAtHighLoad(t *testing.T) {
	for _, layers := range []int{2, 3, 4} {
		n := defaults()
		n.users, n.layers = 2000, layers
		traffic, err := newTraffic(n, effort{seed: 8, packets: 20})
		if err != nil {
			t.Fatal(err)
		}
		got, want := traffic.entropy(0, effort{seed: 8}).packet, highLoad(n.sends(), n.mean(), layers)
		if math.Abs(got-want) > 0.03 {
			t.Errorf("%d layers: %.3f bits, want %.3f", layers, got, want)
		}
	}
}

// TestWalkAgainstDistributions compares the walk back in time with the method as
// it is published: each mix keeps a distribution, which goes forward in time.
func TestWalkAgainstDistributions(t *testing.T) {
	for _, c := range []struct {
		users, layers, width int
		corrupt              []bool
	}{
		{5, 1, 1, []bool{false}},
		{20, 3, 2, make([]bool, 6)},
		{20, 3, 2, []bool{true, false, false, false, true, false}},
		{20, 3, 2, []bool{false, true, true, true, false, true}},
		{30, 2, 1, []bool{false, true}},
		{30, 2, 1, []bool{true, false}},
		{9, 2, 2, []bool{true, true, true, true}},
	} {
		n := defaults()
		n.users, n.layers, n.width = c.users, c.layers, c.width
		traffic, err := newTraffic(n, effort{seed: 9, packets: 5})
		if err != nil {
			t.Fatal(err)
		}
		traffic.back = math.MaxUint64
		w := newWalk(traffic)
		copy(w.corrupt, c.corrupt)
		sums := make([][]float64, len(c.corrupt)) // over packets
		for i := range sums {
			sums[i] = make([]float64, len(traffic.user))
		}
		flying := map[int][]float64{} // packets in corrupt mixes
		for i, ev := range traffic.events {
			p, stage := traffic.event(ev)
			var d []float64
			if stage == 0 {
				d = make([]float64, len(traffic.user))
				d[p] = 1
			} else {
				m := traffic.mix[p*n.layers+stage-1]
				if d = flying[p]; d == nil {
					held := float64(w.filled[m])
					d = slices.Clone(sums[m])
					for j := range d {
						d[j] /= held
						sums[m][j] -= d[j]
					}
				}
				delete(flying, p)
			}
			if slices.Contains(traffic.targets, i) {
				byUser := make([]float64, n.users)
				for j, q := range d {
					byUser[traffic.user[j]] += q
				}
				user, packet := w.from(i)
				if math.Abs(user-shannon(byUser)) > 1e-6 || math.Abs(packet-shannon(d)) > 1e-6 {
					t.Errorf("%+v: walk says %v and %v, distributions %v and %v", c, user, packet, shannon(byUser), shannon(d))
				}
			}
			if stage > 0 {
				w.filled[traffic.mix[p*n.layers+stage-1]]--
			}
			if stage < n.layers {
				m := traffic.mix[p*n.layers+stage]
				w.filled[m]++
				if c.corrupt[m] {
					flying[p] = d
				} else {
					for j, q := range d {
						sums[m][j] += q
					}
				}
			}
		}
		if slices.ContainsFunc(w.known, func(x float64) bool { return x != 0 }) ||
			slices.ContainsFunc(w.user, func(x float64) bool { return x != 0 }) {
			t.Errorf("%+v: a walk left something for the next", c)
		}
	}
}

func shannon(d []float64) (h float64) {
	for _, q := range d {
		if q > 1e-12 {
			h -= q * math.Log2(q)
		}
	}
	return h
}

// TestEntropyOrder checks what must hold whatever the figures are.
func TestEntropyOrder(t *testing.T) {
	n := defaults()
	n.users = 100
	e := effort{seed: 3, packets: 100}
	traffic, err := newTraffic(n, e)
	if err != nil {
		t.Fatal(err)
	}
	last := math.Log2(float64(n.users))
	for _, corrupt := range []float64{0, 0.2, 0.5, 0.8} {
		h := traffic.entropy(corrupt, e)
		if h.mean >= last || h.p5 > h.mean || h.packet < h.mean {
			t.Errorf("%v corrupt: %+v, and with fewer %v", corrupt, h, last)
		}
		last = h.mean
	}
	if h := traffic.entropy(1, e); h.mean != 0 || h.packet != 0 {
		t.Errorf("with corrupt mixes only: %+v", h)
	}
}

// TestMeasuredLatency compares with what contrib/measure/latency measured in the
// running network (README.md): 200 mails to a known contact and 20 first ones. The
// tolerance is two standard errors of the measured median and the 0.1 s that the
// programs themselves take.
func TestMeasuredLatency(t *testing.T) {
	l := latencies(defaults(), effort{seed: 1, mails: 20000})
	for what, c := range map[string]struct{ got, measured, tolerance float64 }{
		"known": {l.known.p50, 4.68, 0.5},
		"first": {l.first.p50, 8.65, 1.7},
	} {
		if math.Abs(c.got-c.measured) > c.tolerance {
			t.Errorf("%s contact: median %.2f s, measured %.2f s", what, c.got, c.measured)
		}
	}
}

// TestLatencyParts leaves one part of the latency at a time, of which the median is
// known.
func TestLatencyParts(t *testing.T) {
	const fixed = 0.005 + 0.020 // the packet is made before its slot, the answer waits
	for what, c := range map[string]struct {
		change func(*network)
		want   float64
	}{
		"slots":  {func(n *network) { n.QueryRate = 0.1 }, math.Ln2/0.1 + fixed},
		"reads":  {func(n *network) { n.ReadRate = 0.1 }, math.Ln2/0.1 + fixed},
		"delays": {func(n *network) { n.MixDelay = directory.Duration(10 * time.Second) }, 10 * math.Ln2},
	} {
		n := defaults()
		n.layers, n.MixDelay, n.QueryRate, n.ReadRate = 1, directory.Duration(time.Millisecond), 1000, 1000
		c.change(&n)
		got := latencies(n, effort{seed: 2, mails: 5000}).known.p50
		// With a read every millisecond the way back, of many delays the least, is short.
		if math.Abs(got-c.want) > 0.06*c.want {
			t.Errorf("%s: median %.3f s, want %.3f", what, got, c.want)
		}
	}
}

// TestLoad checks the arithmetic on figures that can be done in the head, and the
// bytes against what a client tells its user.
func TestLoad(t *testing.T) {
	n := defaults()
	n.users, n.width, n.gateways, n.services = 1000, 3, 5, 4
	n.QueryRate, n.ReadRate, n.LoopRate = 1, 0.5, 0.5
	c := n.load()
	if c.gateway != 800 || math.Abs(c.mix-4000.0/3) > 1e-9 || c.service != 500 {
		t.Errorf("load %+v", c)
	}
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := builtin.New(builtin.Config{Document: &directory.Document{
		Parameters: n.Parameters,
		Nodes:      []directory.Node{{Name: "g", Operator: "o", Role: directory.RoleGateway, Address: "127.0.0.1:1", Identity: directory.Key(pub)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if told := client.Status().BytesPerDay; math.Abs(float64(told)-c.clientDay) > 1 {
		t.Errorf("%.0f bytes a day, the client says %d", c.clientDay, told)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

// TestSameSeed checks that figures depend on flags and seed alone.
func TestSameSeed(t *testing.T) {
	run := func(seed uint64) string {
		var b bytes.Buffer
		n := defaults()
		n.users, n.corrupt = 30, 0.3
		if err := one(&b, n, effort{seed: seed, packets: 50, mails: 1000}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if a, b := run(5), run(5); a != b {
		t.Errorf("one seed, two results:\n%s%s", a, b)
	}
	if run(5) == run(6) {
		t.Error("another seed, the same result")
	}
}

// TestDocumentedTable makes some rows of the table anew and looks for them in the
// documentation.
func TestDocumentedTable(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/parameters.md")
	if err != nil {
		t.Fatal(err)
	}
	small := slices.DeleteFunc(tableRows(), func(n network) bool { return n.sends()*n.mean() > 100 })
	if len(small) < 3 {
		t.Fatalf("only %d rows are small", len(small))
	}
	var b bytes.Buffer
	if err := table(&b, small, effort{seed: 1, packets: 300, mails: 100000}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "|") && !strings.Contains(string(doc), line) {
			t.Errorf("docs/parameters.md does not have %s", line)
		}
	}
	for _, n := range tableRows() {
		start := fmt.Sprintf("| %d | %v | %.3g, %.3g, %.3g | %d × %d |", n.users, time.Duration(n.MixDelay), n.QueryRate, n.ReadRate, n.LoopRate, n.layers, n.width)
		if !strings.Contains(string(doc), start) {
			t.Errorf("docs/parameters.md has no row %s", start)
		}
	}
}

func TestRefused(t *testing.T) {
	good := effort{seed: 1, packets: 1, mails: 1}
	for what, change := range map[string]func(*network, *effort){
		"no users":         func(n *network, _ *effort) { n.users = 0 },
		"no delay":         func(n *network, _ *effort) { n.MixDelay = 0 },
		"no queries":       func(n *network, _ *effort) { n.QueryRate = 0 },
		"a rate of NaN":    func(n *network, _ *effort) { n.LoopRate = math.NaN() },
		"no layer":         func(n *network, _ *effort) { n.layers = 0 },
		"no mix":           func(n *network, _ *effort) { n.width = 0 },
		"no gateway":       func(n *network, _ *effort) { n.gateways = 0 },
		"too many corrupt": func(n *network, _ *effort) { n.corrupt = 1.1 },
		"no packets":       func(_ *network, e *effort) { e.packets = 0 },
		"no mails":         func(_ *network, e *effort) { e.mails = 0 },
		"too much traffic": func(n *network, _ *effort) { n.users = 10_000_000 },
	} {
		n, e := defaults(), good
		change(&n, &e)
		var b bytes.Buffer
		if err := one(&b, n, e); err == nil || b.Len() > 0 {
			t.Errorf("%s: %v, and it printed %q", what, err, b.String())
		}
	}
}
