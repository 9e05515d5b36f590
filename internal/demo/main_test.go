package demo

import (
	"crypto/rand"
	"flag"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
)

// TestMain lets more tests run at a time than there are processors: all they do
// is wait for delays and slots.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("4"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// parameters returns those of a network for a test, which is as much faster than a
// real one as the machine can have now: at most by fastest. Cover traffic gets no
// slower where its machine does: a network that is too fast for a machine loses all
// it carries, for ever. So where the machine has less to give, or gives it to others,
// the networks of tests that run beside this one among them, it is a slower one.
func parameters(t *testing.T) directory.Parameters {
	t.Helper()
	measuring.Lock()
	defer measuring.Unlock()
	// Less than is left now: other tests that start later want some of it too.
	speed := fastest * min(1, max(0.1, 0.8*given()))
	t.Logf("a network that is %.1f times as fast as a real one", speed)
	return directory.DefaultParameters().Scaled(speed)
}

var measuring sync.Mutex // held by who asks what the machine has to give

// slower says how many times as long something takes in a network with these parameters
// as in the fastest.
func slower(p directory.Parameters) float64 {
	return max(1, fastest*directory.DefaultParameters().QueryRate/p.QueryRate)
}

// A packet is unwrapped by this many nodes a second on two idle cores of the machines
// that fastest was chosen on.
const idleUnwraps = 10_000

// given takes half a second to see how much of idleUnwraps the machine has to give now.
func given() float64 {
	key, err := sphinx.NewPrivateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	made, err := sphinx.NewPacket(rand.Reader, []sphinx.Hop{
		{Key: key.Public()}, {Key: key.Public(), Recipient: new(sphinx.Recipient)},
	}, make([]byte, 10<<10))
	if err != nil {
		panic(err)
	}
	var n atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			packet := make([]byte, len(made))
			for time.Since(start) < 500*time.Millisecond {
				copy(packet, made)
				if _, err := key.Unwrap(packet); err != nil {
					panic(err)
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(start).Seconds() / idleUnwraps
}
