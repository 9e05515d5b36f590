// Simulate says what a network would amount to before anybody runs it: how well it
// hides who sent a packet, how long mail takes, and what it costs clients and
// nodes. docs/parameters.md holds its table.
//
//	go run ./contrib/measure/simulate -users 1000 -delay 400ms -width 2
//	go run ./contrib/measure/simulate -table
//
// It runs no network: it draws the times that clients and mixes would draw, and
// calculates. The same flags and seed give the same figures.
//
// # Entropy
//
// The adversary sees every link all the time, knows when each packet left which
// client, and looks at one packet that leaves the last layer for a service node:
// who sent it? The figure is the Shannon entropy, in bits, of the probabilities
// that this adversary can at best assign to the users, averaged over packets:
// k bits are as good as a choice among 2^k users without any clue. entropy_p5 is
// the least fortunate twentieth of packets.
//
// Delays are exponential, so whatever is in a mix is as likely to leave next, no
// matter when it came (Danezis, "The Traffic Analysis of Continuous-Time Mixes",
// PET 2004). Hence the rule of Loopix (Piotrowska et al., USENIX Security 2017,
// the security of Poisson mixing): what leaves a mix that holds n packets is each
// of them with probability 1/n. Loopix writes it as a recursion of the entropy of
// one mix, H(t) from H(t-1). Here it is kept as what it is derived from, the
// distribution itself, so that it carries over layers: a mix has the sum of the
// distributions of the packets in it, a packet that comes adds its own, one that
// leaves takes the n-th part and goes on to the next layer with it. As all of that
// is linear, the distribution of one packet that left is found by going back in
// time from it with one number for each mix; at each sending of a client that is
// come upon, that number is the probability that it was this packet. Summed by
// user they are the distribution whose entropy is taken. (mixing.go)
//
// Corrupt mixes tell the adversary which packet became which: their packets keep
// their own distribution and are not mixed; they hide nobody and still delay. Each
// mix is corrupt with the given probability by itself, drawn anew for each packet
// looked at; packets that met only corrupt mixes (share^layers of all) count with
// 0 bits.
//
// Replies cross the same mixes as queries, and neither can be told from the other.
// The adversary is told all the same, as if they went another way: that errs on
// the safe side, and at high load it makes no difference. Gateways and service
// nodes add no delay and mix nothing.
//
// # Latency
//
// A small mail is one block. Its query waits for a λ_P slot, has its delays at the
// mixes, and is in the spool; reads reach the spool at λ_R, each of them that comes
// after the block brings it back after delays of its own, and the first one back
// counts. The first mail to a contact has a query for the keys, there and back,
// before that. No packet is lost, nobody works or sends anything else. (latency.go)
//
// # Cost
//
// A day of a client's link each way, with TLS records and without TCP and IP (about
// 4 % more), and packets that a node takes in per second, each of which it unwraps:
// queries and replies at gateways and mixes, queries at service nodes. (load.go)
//
// The last line has the figures, in -table those of the network's defaults for
// 1,000 users.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"mailproxy/mixnet/directory"
)

func main() {
	n := defaults()
	flag.IntVar(&n.users, "users", n.users, "users that are online")
	flag.DurationVar((*time.Duration)(&n.MixDelay), "delay", time.Duration(n.MixDelay), "mean delay at a mix")
	flag.Float64Var(&n.QueryRate, "query-rate", n.QueryRate, "λ_P, per second")
	flag.Float64Var(&n.ReadRate, "read-rate", n.ReadRate, "λ_R, per second")
	flag.Float64Var(&n.LoopRate, "loop-rate", n.LoopRate, "λ_L, per second")
	flag.IntVar(&n.Request, "request", n.Request, "bytes that a query carries for its service")
	flag.IntVar(&n.layers, "layers", n.layers, "mix layers")
	flag.IntVar(&n.width, "width", n.width, "mixes in each layer")
	flag.Float64Var(&n.corrupt, "corrupt", n.corrupt, "share of mixes that work for the adversary")
	flag.IntVar(&n.gateways, "gateways", n.gateways, "gateways")
	flag.IntVar(&n.services, "services", n.services, "service nodes")
	e := effort{}
	flag.Uint64Var(&e.seed, "seed", 1, "of everything that is drawn")
	flag.IntVar(&e.packets, "packets", 300, "how many packets to find the senders of; where very many are under way, fewer")
	flag.IntVar(&e.mails, "mails", 100000, "how many mails to draw")
	asTable := flag.Bool("table", false, "print the table of docs/parameters.md; of the flags only seed, packets and mails count")
	flag.Parse()
	var err error
	switch {
	case flag.NArg() > 0:
		err = fmt.Errorf("what is %q? It takes flags only", flag.Arg(0))
	case *asTable:
		err = table(os.Stdout, tableRows(), e)
	default:
		err = one(os.Stdout, n, e)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

// A network is what is simulated.
type network struct {
	directory.Parameters
	users              int
	layers, width      int
	gateways, services int
	corrupt            float64 // share of mixes
}

// defaults returns a network with the parameters that everybody gets, as wide as
// the demo's.
func defaults() network {
	return network{
		Parameters: directory.DefaultParameters(),
		users:      1000, layers: directory.Layers, width: 2, gateways: 2, services: 2,
	}
}

func (n network) check() error {
	rate := func(r float64) bool { return r >= 0 && r <= 1000 } // false for NaN
	switch {
	case n.users < 1 || n.users > 10_000_000:
		return errors.New("users must be between 1 and ten million")
	case n.MixDelay < directory.Duration(time.Millisecond) || n.MixDelay > directory.Duration(time.Hour):
		return errors.New("the mean delay must be between 1ms and 1h")
	case !rate(n.QueryRate) || !rate(n.ReadRate) || !rate(n.LoopRate) || n.QueryRate == 0 || n.ReadRate == 0:
		return errors.New("rates must be between 0 and 1000 a second, those of queries and reads above 0")
	case n.layers < 1 || n.layers > 20 || n.width < 1 || n.width > 1000:
		return errors.New("there must be 1 to 20 layers of 1 to 1000 mixes")
	case n.gateways < 1 || n.services < 1:
		return errors.New("there must be a gateway and a service node")
	case !(n.corrupt >= 0 && n.corrupt <= 1):
		return errors.New("the share of corrupt mixes must be between 0 and 1")
	case n.Request < 0 || n.Request > 1<<20:
		return errors.New("a request must have between 0 and 1 MiB")
	}
	return nil
}

// An effort says how much is drawn.
type effort struct {
	seed           uint64
	packets, mails int
}

func (e effort) check() error {
	if e.packets < 1 || e.packets > 100_000 || e.mails < 1 || e.mails > 10_000_000 {
		return errors.New("packets must be between 1 and 100,000, mails between 1 and ten million")
	}
	return nil
}

// one prints what there is to say of a network.
func one(w io.Writer, n network, e effort) error {
	if err := errors.Join(n.check(), e.check()); err != nil {
		return err
	}
	traffic, err := newTraffic(n, e)
	if err != nil {
		return err
	}
	h := traffic.entropy(n.corrupt, e)
	l := latencies(n, e)
	c := n.load()
	rows := []struct{ what, figure string }{
		{"users; mixes", fmt.Sprintf("%d; %d layers of %d, %.0f %% corrupt", n.users, n.layers, n.width, 100*n.corrupt)},
		{"mean delay; λ_P, λ_R, λ_L", fmt.Sprintf("%v; %g, %g, %g per s", time.Duration(n.MixDelay), n.QueryRate, n.ReadRate, n.LoopRate)},
		{"queries in a mix, on average", fmt.Sprintf("%.1f", n.sends()*n.mean()/float64(n.width))},
		{"sender entropy", fmt.Sprintf("%.2f bits, as among %.0f users; all users alike would be %.2f", h.mean, math.Exp2(h.mean), math.Log2(float64(n.users)))},
		{"the same, least twentieth", fmt.Sprintf("%.2f bits", h.p5)},
		{"which packet it was", fmt.Sprintf("%.2f bits; at high load with all mixes honest %.2f", h.packet, highLoad(n.sends(), n.mean(), n.layers))},
		{"paths of corrupt mixes only", fmt.Sprintf("%.3g %%", 100*math.Pow(n.corrupt, float64(n.layers)))},
		{"small mail, known contact", fmt.Sprintf("p50 %.2f s, p95 %.2f s", l.known.p50, l.known.p95)},
		{"small mail, first contact", fmt.Sprintf("p50 %.2f s, p95 %.2f s", l.first.p50, l.first.p95)},
		{"a client's day each way", fmt.Sprintf("%.2f GB in packets of %d bytes", c.clientDay/1e9, n.frame())},
		{"packets/s: gateway, mix, service", fmt.Sprintf("%.0f, %.0f, %.0f", c.gateway, c.mix, c.service)},
	}
	for _, r := range rows {
		if _, err := fmt.Fprintf(w, "%-34s%s\n", r.what, r.figure); err != nil {
			return err
		}
	}
	return figures(w, n, h, l, c)
}

// figures prints the last line.
func figures(w io.Writer, n network, h entropies, l latency, c load) error {
	_, err := fmt.Fprintf(w, "\nusers=%d entropy_bits=%.2f entropy_p5_bits=%.2f known_p50_s=%.2f known_p95_s=%.2f first_p50_s=%.2f first_p95_s=%.2f "+
		"client_bytes_per_day=%.0f gateway_per_s=%.0f mix_per_s=%.0f service_per_s=%.0f\n",
		n.users, h.mean, h.p5, l.known.p50, l.known.p95, l.first.p50, l.first.p95, c.clientDay, c.gateway, c.mix, c.service)
	return err
}
