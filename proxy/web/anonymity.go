package web

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"

	"mailproxy/mixclient"
)

// A crowd is what a network amounts to with so many people online.
type crowd struct {
	Users int
	Bits  float64 // entropy of who sent a packet
	As    float64 // 2^Bits: as good as a choice among so many
}

// Words says it as a person understands it.
func (c crowd) Words() string {
	return fmt.Sprintf("one in %.0f", math.Max(1, math.Round(c.As)))
}

// crowdSizes are the numbers of people that the page gives figures for.
var crowdSizes = []int{2, 10, 100, 1000}

type mixing struct {
	rate, mean float64
	mixes      int
}

var known struct {
	sync.Mutex // guards crowds
	crowds     map[mixing][]crowd
}

// crowds returns what the network's rates and delays amount to, for some numbers of
// users; nothing for a network that tells no delays.
func crowds(n mixclient.Status) []crowd {
	p := mixing{n.QueryRate + n.ReadRate + n.LoopRate, n.MixDelay.Seconds(), n.Mixes}
	if p.rate <= 0 || p.mean <= 0 || p.mixes <= 0 {
		return nil
	}
	known.Lock()
	defer known.Unlock()
	if list, ok := known.crowds[p]; ok {
		return list
	}
	var list []crowd
	for _, users := range crowdSizes {
		bits := entropy(users, p)
		list = append(list, crowd{users, bits, math.Exp2(bits)})
	}
	if known.crowds == nil || len(known.crowds) > 16 {
		known.crowds = map[mixing][]crowd{}
	}
	known.crowds[p] = list
	return list
}

// entropy estimates, in bits, how uncertain somebody who sees all links is of who sent
// a packet that leaves the last mix, for that moment: the method of
// docs/parameters.md, with the mixes of a layer taken together, all of them honest. A
// packet that was sent t ago leaves now with the density of the sum of as many
// exponential delays as there are mixes (the Erlang distribution), and each user's
// share is the sum over the packets that he sent.
func entropy(users int, p mixing) float64 {
	r := rand.New(rand.NewPCG(1, 2)) // the same figure each time
	window := (float64(p.mixes) + 12) * p.mean
	rounds := max(40, 4000/users)
	norm := 1.0 // of the density, with time in mean delays
	for i := 1; i < p.mixes; i++ {
		norm *= float64(i)
	}
	density := func(t float64) float64 { return math.Pow(t, float64(p.mixes-1)) * math.Exp(-t) / norm }
	total := 0.0
	shares := make([]float64, users)
	for range rounds {
		clear(shares)
		t := 0.0
		for range p.mixes {
			t += r.ExpFloat64()
		}
		shares[0] = density(t) // the packet itself
		sum := shares[0]
		for u := range users {
			for t := r.ExpFloat64() / p.rate; t < window; t += r.ExpFloat64() / p.rate {
				d := density(t / p.mean)
				shares[u] += d
				sum += d
			}
		}
		for _, w := range shares {
			if w > 0 {
				total -= w / sum * math.Log2(w/sum)
			}
		}
	}
	return total / float64(rounds)
}
