package proxy

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/keys"
	"mailproxy/spool"
	"mailproxy/spool/client"
)

// The law by which a network with the default parameters carries reads.
const (
	readRate = 0.8 // reads a second, of all addresses together
	mixDelay = 0.4 // seconds, the mean at each of three mixes
)

// delay draws how long a packet takes.
func delay() (d float64) {
	for range 3 {
		d += rand.ExpFloat64() * mixDelay
	}
	return d
}

// readers makes an engine that reads these addresses' spools.
func readers(t *testing.T, now func() time.Time, addresses ...string) *engine {
	t.Helper()
	st, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	e := &engine{} // without a channel for replies, what is lost is told at once
	d := &Daemon{opt: Options{Now: now}}
	for _, addr := range addresses {
		if err := keys.CreateIn(st, addr, now()); err != nil {
			t.Fatal(err)
		}
		a := &account{d: d}
		if a.keys, err = keys.Load(st, addr, now); err != nil {
			t.Fatal(err)
		}
		a.shift = clockShift(a.keys)
		a.reader, err = client.NewReader(client.ReaderOptions{
			Key: a.keys.ReadKey(), Signing: a.signing(), Deliver: func(uint64, []byte) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		e.accounts = append(e.accounts, a)
	}
	return e
}

// readsOf has slots come for so many seconds, and returns when the reads of each of the
// engine's accounts come to a provider that holds them all.
func readsOf(t *testing.T, e *engine, seconds float64) [][]float64 {
	t.Helper()
	at := make([][]float64, len(e.accounts))
	for now := 0.0; now < seconds; {
		now += rand.ExpFloat64() / readRate
		r, ok := e.next()
		if !ok {
			continue
		}
		request, _, status := spool.DecodeRequest(r.Request)
		read, isRead := request.(*spool.Read)
		if status != spool.StatusOK || !isRead {
			t.Fatalf("a read slot has %T (%v)", request, status)
		}
		r.Done(nil, mixclient.Timing{}, mixclient.ErrLost)
		i := slices.IndexFunc(e.accounts, func(a *account) bool {
			return a.keys.Spool() == spool.IDOf(read.ReadKey)
		})
		at[i] = append(at[i], now+delay())
	}
	for _, times := range at {
		slices.Sort(times)
	}
	return at
}

// waits returns, of each reading of one spool that is the first since one of the other,
// how long it takes until the other is read again. If the two are read independently,
// by Poisson processes, these are independent and exponential at the other's rate.
func waits(one, other []float64) (w []float64) {
	i := 0
	for k := range len(other) - 1 {
		for i < len(one) && one[i] <= other[k] {
			i++
		}
		if i < len(one) && one[i] < other[k+1] {
			w = append(w, other[k+1]-one[i])
		}
	}
	return w
}

// distance is that of Kolmogorov and Smirnov between waits and an exponential law, times
// the root of their number. Where the law is right it is above 2.5 once in 100,000 times.
func distance(w []float64, rate float64) float64 {
	slices.Sort(w)
	worst := 0.0
	for i, x := range w {
		p := 1 - math.Exp(-rate*x)
		worst = max(worst, math.Abs(p-float64(i)/float64(len(w))), math.Abs(p-float64(i+1)/float64(len(w))))
	}
	return worst * math.Sqrt(float64(len(w)))
}

const distant = 2.5

// TestAliasReadsAreIndependent is a provider that holds an account and an alias and
// tries to link them by when it is asked for their blocks.
func TestAliasReadsAreIndependent(t *testing.T) {
	e := readers(t, time.Now, "me@north.test", "alias@north.test")
	e.reserve(2)
	at := readsOf(t, e, 20_000)
	for _, pair := range [][2]int{{0, 1}, {1, 0}} {
		w := waits(at[pair[0]], at[pair[1]])
		if len(w) < 2000 {
			t.Fatalf("there are %d waits", len(w))
		}
		if d := distance(w, readRate/2); d > distant {
			t.Errorf("from the reads of address %d those of address %d can be foretold: distance %.1f", pair[0], pair[1], d)
		}
	}
	for i, times := range at {
		var gaps []float64
		for k := range len(times) - 1 {
			gaps = append(gaps, times[k+1]-times[k])
		}
		if d := distance(gaps, readRate/2); d > distant {
			t.Errorf("the reads of address %d are no Poisson process: distance %.1f", i, d)
		}
	}

	// The same eyes see what a worse daemon does.
	var together, turns [2][]float64
	for now, n := 0.0, 0; now < 20_000; n++ {
		now += rand.ExpFloat64() / readRate
		if n%2 == 0 { // both in one slot, at the same rates as above
			together[0], together[1] = append(together[0], now+delay()), append(together[1], now+delay())
		}
		turns[n%2] = append(turns[n%2], now+delay())
	}
	for name, worse := range map[string][2][]float64{"both in one slot": together, "in turns": turns} {
		slices.Sort(worse[0])
		slices.Sort(worse[1])
		if d := distance(waits(worse[0], worse[1]), readRate/2); d < distant {
			t.Errorf("%s: the distance is %.1f, and nothing was noticed", name, d)
		}
	}
}

// TestAliasPlaces: how often an account's spool is read does not change when its alias
// begins to be read, nor when that ends.
func TestAliasPlaces(t *testing.T) {
	const seconds = 10_000
	e := readers(t, time.Now, "me@north.test", "alias@north.test")
	both := e.accounts
	share := func(what string, want float64) {
		t.Helper()
		n := float64(len(readsOf(t, e, seconds)[0]))
		// A Poisson number; five deviations.
		if mean := want * readRate * seconds; math.Abs(n-mean) > 5*math.Sqrt(mean) {
			t.Errorf("%s: the account was read %.0f times, want about %.0f", what, n, mean)
		}
	}
	e.accounts = both[:1]
	share("alone", 1)
	e.reserve(2)
	share("once the alias is made", 0.5)
	e.accounts = both
	share("once it is registered", 0.5)
	e.remove(both[1])
	share("once it is retired", 0.5)

	for _, c := range []struct{ accounts, aliases, want int }{
		{1, 0, 0}, {3, 0, 0}, {1, 1, 2}, {1, 2, 4}, {1, 3, 4}, {2, 1, 4}, {1, 4, 8},
	} {
		d := &Daemon{accounts: map[string]*account{}}
		for i := range c.accounts + c.aliases {
			a := &account{d: d, record: &accountRecord{}}
			if i >= c.accounts {
				a.owner = "me@north.test"
			}
			d.accounts[string(rune('a'+i))] = a
		}
		gone := &account{d: d, owner: "me@north.test", record: &accountRecord{Ending: Deleted}}
		d.accounts["gone"] = gone
		if got := d.places(nil); got != c.want {
			t.Errorf("%d accounts and %d aliases have %d places, want %d", c.accounts, c.aliases, got, c.want)
		}
	}
}

// TestClockShift: each address's clock is moved by an amount of its own, the same each
// time.
func TestClockShift(t *testing.T) {
	var addresses []string
	for i := range 12 {
		addresses = append(addresses, string(rune('a'+i))+"@north.test")
	}
	now := time.Now()
	e := readers(t, func() time.Time { return now }, addresses...)
	var shifts []time.Duration
	for _, a := range e.accounts {
		s := clockShift(a.keys)
		if s < -clockRange || s >= clockRange || s != clockShift(a.keys) || !a.clock().Equal(now.Add(s)) {
			t.Errorf("the clock of an address is moved by %v", s)
		}
		shifts = append(shifts, s)
	}
	slices.Sort(shifts)
	if shifts[len(shifts)-1]-shifts[0] < clockRange/2 { // once in some 10 million times
		t.Errorf("the clocks of twelve addresses are moved by %v, which are too much alike", shifts)
	}
}

func TestRandomName(t *testing.T) {
	seen := map[string]bool{}
	for range 500 {
		name := randomName()
		if canonical, err := address.Canonical(name + "@north.test"); err != nil || canonical != name+"@north.test" {
			t.Errorf("%s is no name for an address (%v)", name, err)
		}
		seen[name] = true
	}
	if len(seen) < 480 {
		t.Errorf("of 500 names %d are different", len(seen))
	}
}
