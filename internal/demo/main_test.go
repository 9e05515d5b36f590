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
	speed = measureSpeed()
	os.Exit(m.Run())
}

// speed is how much faster than a real one the networks of the tests are. Cover
// traffic gets no slower where its machine does: a network that is too fast for a
// machine loses all it carries, for ever. So machines that have less to give, or
// give it to others, get a slower one.
var speed float64

// A packet is unwrapped by this many nodes a second on two idle cores of the machines
// that fastest was chosen on.
const idleUnwraps = 10_000

// measureSpeed takes half a second to see what the machine has to give now.
func measureSpeed() float64 {
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
	given := float64(n.Load()) / time.Since(start).Seconds() / idleUnwraps
	return fastest * min(1, max(0.2, given))
}
