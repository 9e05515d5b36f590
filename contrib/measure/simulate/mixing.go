package main

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"
)

// Streams of random numbers that do not disturb each other.
const (
	streamTraffic = iota + 1
	streamTargets
	streamMails
)

// mean is the mean delay at a mix in seconds.
func (n network) mean() float64 { return time.Duration(n.MixDelay).Seconds() }

// sends is how many queries all clients together send per second.
func (n network) sends() float64 { return float64(n.users) * n.Rate() }

// delay draws a delay at a mix, in seconds, as clients do: at most ten means, in
// whole milliseconds.
func (n network) delay(r *rand.Rand) float64 {
	for {
		d := time.Duration(r.ExpFloat64() * float64(n.MixDelay))
		if d <= n.MaxDelay() {
			return d.Round(time.Millisecond).Seconds()
		}
	}
}

// highLoad is the entropy, in bits, of which of the packets that come at rate per
// second it was that leaves the last layer, where all mixes are full and honest.
// The time that it took is then the sum of as many exponential times as there are
// layers, Gamma distributed, and the entropy is that density's, at rate packets
// per second. For one layer it is log2(e rate mean).
func highLoad(rate, mean float64, layers int) float64 {
	k := float64(layers)
	lnGamma, _ := math.Lgamma(k)
	digamma := -0.57721566490153286 // Euler's constant
	for i := 1; i < layers; i++ {
		digamma += 1 / float64(i)
	}
	return math.Log2(rate*mean) + (k+lnGamma+(1-k)*digamma)*math.Log2E
}

// maxPackets bounds what is simulated: about 100 bytes of memory each.
const maxPackets = 8_000_000

// maxSteps bounds the events that are gone back over for one figure. Where there
// are many, one packet is much like the other, and fewer are looked at.
const maxSteps = 100_000_000

// traffic is what all clients send for a while, and when it crosses the mixes.
type traffic struct {
	n       network
	user    []int32  // of each packet
	mix     []uint16 // of each packet in each layer, numbered through all layers
	stages  int      // events of a packet: sent, and left each layer
	lookup  uint     // bits of an event that number it
	tick    float64  // seconds
	events  []uint64 // time in ticks, packet, stage, in the order of time
	back    uint64   // ticks that it takes to look back
	targets []int    // events: packets leaving the last layer, evenly spread
}

// lookBack is how many mean delays before it left a packet can have been sent:
// with three layers all but 1 in 25,000 were.
func lookBack(layers int) float64 { return float64(layers) + 12 }

// newTraffic draws traffic long enough for the effort. It starts with empty mixes,
// which are as full as ever when the first packet is looked at.
func newTraffic(n network, e effort) (*traffic, error) {
	r := rand.New(rand.NewPCG(e.seed, streamTraffic))
	warm := lookBack(n.layers) * n.mean()
	// Where many packets are under way, one is much like the other.
	span := min(float64(e.packets)*max(n.mean(), 1/n.sends()), max(n.mean()/4, 100_000/n.sends()))
	if want := n.sends() * (warm + span); want > maxPackets {
		return nil, fmt.Errorf("%.0f packets would have to be simulated, %d at most are: take fewer users or a shorter delay; "+
			"at high load each doubling of either adds a bit, up to that of all users", want, maxPackets)
	}
	t := &traffic{n: n, stages: n.layers + 1}
	var times []float64
	for now := r.ExpFloat64() / n.sends(); now < warm+span; now += r.ExpFloat64() / n.sends() {
		t.user = append(t.user, int32(r.IntN(n.users)))
		at := now
		times = append(times, at)
		for l := range n.layers {
			t.mix = append(t.mix, uint16(l*n.width+r.IntN(n.width)))
			at += n.delay(r)
			times = append(times, at)
		}
	}
	t.lookup = uint(bits.Len(uint(len(times))))
	longest := warm + span + float64(n.layers)*n.MaxDelay().Seconds() + 1
	t.tick = longest / float64(uint64(1)<<(63-t.lookup))
	t.events = make([]uint64, len(times))
	for i, at := range times {
		t.events[i] = uint64(at/t.tick)<<t.lookup | uint64(i)
	}
	slices.Sort(t.events)
	t.back = uint64(warm / t.tick)

	first, last := uint64(warm/t.tick), uint64((warm+span)/t.tick)
	var leaving []int
	for i, ev := range t.events {
		if _, stage := t.event(ev); stage == n.layers && ev>>t.lookup >= first && ev>>t.lookup < last {
			leaving = append(leaving, i)
		}
	}
	if len(leaving) == 0 {
		return nil, fmt.Errorf("of %d packets none left in time to be looked at", len(t.user))
	}
	walk := n.sends() * warm * float64(t.stages)
	count := min(e.packets, len(leaving), max(int(maxSteps/walk), 10))
	for i := range count {
		t.targets = append(t.targets, leaving[i*len(leaving)/count])
	}
	return t, nil
}

// event takes an event apart.
func (t *traffic) event(ev uint64) (packet, stage int) {
	i := int(ev & (1<<t.lookup - 1))
	return i / t.stages, i % t.stages
}

// entropies are in bits.
type entropies struct {
	mean, p5 float64 // of the user
	packet   float64 // of which packet it was, mean
}

// entropy looks at the targets, with mixes corrupt with that probability. That a
// target met corrupt mixes only, and has 0 bits, is not left to chance: the share
// of those is known, so each target met an honest one and both are put together.
func (t *traffic) entropy(corrupt float64, e effort) entropies {
	bare := math.Pow(corrupt, float64(t.n.layers))
	if bare > 1-1e-6 {
		return entropies{}
	}
	r := rand.New(rand.NewPCG(e.seed, streamTargets))
	w := newWalk(t)
	var users []float64
	var result entropies
	next := 0
	for i, ev := range t.events {
		packet, stage := t.event(ev)
		if next < len(t.targets) && t.targets[next] == i {
			w.place(r, corrupt, t.mix[packet*t.n.layers:(packet+1)*t.n.layers])
			user, packet := w.from(i)
			users = append(users, user)
			result.packet += (1 - bare) * packet / float64(len(t.targets))
			next++
		}
		if stage > 0 {
			w.filled[t.mix[packet*t.n.layers+stage-1]]--
		}
		if stage < t.n.layers {
			w.filled[t.mix[packet*t.n.layers+stage]]++
		}
	}
	slices.Sort(users)
	for _, h := range users {
		result.mean += (1 - bare) * h / float64(len(users))
	}
	if bare < 0.05 {
		result.p5 = users[int((0.05-bare)/(1-bare)*float64(len(users)))]
	}
	return result
}

// percentile returns the value below which p per cent of sorted values are.
func percentile(sorted []float64, p int) float64 {
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

// A walk goes back in time from a packet that left.
type walk struct {
	t       *traffic
	filled  []int     // packets in each mix, at the time that was reached going forward
	corrupt []bool    // which mixes are
	count   []int     // packets in each mix, going back
	share   []float64 // of each mix: how likely each packet in it is to become the target
	known   []float64 // of a packet in a corrupt mix: the same; zero between walks
	user    []float64 // how likely each user is to have sent it; zero between walks
	senders []int32   // users that are above zero
}

func newWalk(t *traffic) *walk {
	mixes := t.n.layers * t.n.width
	return &walk{
		t: t, filled: make([]int, mixes), count: make([]int, mixes), corrupt: make([]bool, mixes), share: make([]float64, mixes),
		known: make([]float64, len(t.user)), user: make([]float64, t.n.users),
	}
}

// place draws which mixes are corrupt, but not all of those on path.
func (w *walk) place(r *rand.Rand, corrupt float64, path []uint16) {
	for m := range w.corrupt {
		w.corrupt[m] = r.Float64() < corrupt
	}
	for !slices.ContainsFunc(path, func(m uint16) bool { return !w.corrupt[m] }) {
		for _, m := range path {
			w.corrupt[m] = r.Float64() < corrupt
		}
	}
}

// from returns the entropy of who sent the packet that leaves with event target,
// and of which packet it was. w.filled is as just before it.
//
// Going forward, a mix has the sum S of its packets' distributions: one that comes
// with distribution d makes it S+d, one that leaves has S/n, with n packets before
// it left, and makes it S(n-1)/n. The target's distribution is linear in all of
// these; share is its derivative by S.
func (w *walk) from(target int) (user, packet float64) {
	t := w.t
	copy(w.count, w.filled)
	clear(w.share)
	leave := func(p int, m uint16, weight float64) {
		w.count[m]++
		if n := float64(w.count[m]); w.corrupt[m] {
			w.known[p] = weight
		} else {
			w.share[m] += (weight - w.share[m]) / n
		}
	}
	last := t.events[target]
	p, _ := t.event(last)
	m := t.mix[(p+1)*t.n.layers-1]
	w.count[m]-- // leave puts it back: filled still has it
	leave(p, m, 1)
	var total, logs float64 // of the weights w: sum of w, of w log2 w
	visited := target
	for visited--; visited >= 0 && (last-t.events[visited])>>t.lookup <= t.back; visited-- {
		p, stage := t.event(t.events[visited])
		weight := 0.0 // it left for a service node, and was not the target
		if stage < t.n.layers {
			m := t.mix[p*t.n.layers+stage]
			w.count[m]--
			if w.corrupt[m] {
				weight, w.known[p] = w.known[p], 0
			} else {
				weight = w.share[m]
			}
		}
		if stage > 0 {
			leave(p, t.mix[p*t.n.layers+stage-1], weight)
			continue
		}
		if weight > 0 {
			total += weight
			logs += weight * math.Log2(weight)
			u := t.user[p]
			if w.user[u] == 0 {
				w.senders = append(w.senders, u)
			}
			w.user[u] += weight
		}
	}
	packet = math.Log2(total) - logs/total
	for _, u := range w.senders {
		q := w.user[u] / total
		user -= q * math.Log2(q)
		w.user[u] = 0
	}
	w.senders = w.senders[:0]
	for visited++; visited <= target; visited++ { // those that were sent before we looked back
		p, _ := t.event(t.events[visited])
		w.known[p] = 0
	}
	return max(user, 0), max(packet, 0)
}
