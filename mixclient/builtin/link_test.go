package builtin

import (
	"math"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixnet/sphinx"
)

// TestSlotsGoOnThroughReconnects checks that the processes keep their rates over
// many ends of the connection, with no burst after any, and that while there is
// none, nothing piles up.
func TestSlotsGoOnThroughReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLinkBench(t)
		start := time.Now()
		b.run()
		b.talk()
		for range 60 {
			time.Sleep(time.Minute)
			l, _ := b.newest()
			_ = l.Close() // the gateway, or the way there
		}
		b.set(func() { b.refuse = true })
		l, _ := b.newest()
		_ = l.Close()
		time.Sleep(10 * time.Minute)
		b.set(func() { b.refuse = false })
		time.Sleep(time.Minute) // more than the longest wait between two attempts
		back := time.Now()
		time.Sleep(time.Hour)
		b.cancel()
		b.wg.Wait()
		for process, rate := range map[Process]float64{QueryProcess: 0.6, ReadProcess: 0.8, LoopProcess: 0.1} {
			for _, part := range []time.Time{start, back} {
				n, most := b.between(process, part, part.Add(time.Hour))
				want := 3600 * rate
				if math.Abs(float64(n)-want) > 5*math.Sqrt(want)+60*0.4*rate {
					t.Errorf("%s process: %d packets in an hour, want about %.0f", process, n, want)
				}
				if most > 9 { // of 0.8 a second: one hour in 300,000
					t.Errorf("%s process: %d packets in one second", process, most)
				}
			}
		}
		if _, n := b.newest(); n < 61 {
			t.Errorf("%d connections, want one after each end", n)
		}
	})
}

// TestSleepOfTheMachine lets the wall clock go on by hours at once while all timers
// stand still, as Linux has it when a machine is suspended: the dead connection is
// given up at once, though nobody has closed it, and the processes go on as if
// nothing had been.
func TestSleepOfTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLinkBench(t)
		b.run()
		b.talk()
		time.Sleep(10 * time.Minute)
		_, before := b.newest()
		b.set(func() { b.jump += 5 * time.Hour })
		woke := time.Now()
		time.Sleep(3 * time.Second)
		if _, n := b.newest(); n != before+1 {
			t.Errorf("%d connections %v after the machine woke, want a new one", n-before, time.Since(woke))
		}
		time.Sleep(10*time.Minute - 3*time.Second)
		if _, n := b.newest(); n != before+1 {
			t.Errorf("%d connections since the machine woke, want one", n-before)
		}
		for process, rate := range map[Process]float64{QueryProcess: 0.6, ReadProcess: 0.8} {
			n, most := b.between(process, woke, woke.Add(10*time.Minute))
			if want := 600 * rate; math.Abs(float64(n)-want) > 5*math.Sqrt(want) || most > 9 {
				t.Errorf("%s process: %d packets in ten minutes, %d in one second; want about %.0f", process, n, most, want)
			}
		}

		// A clock that was set back is nothing.
		b.set(func() { b.jump -= 20 * time.Hour })
		time.Sleep(time.Minute)
		if _, n := b.newest(); n != before+1 {
			t.Errorf("%d connections after the clock was set back", n-before-1)
		}
	})
}

// TestSleepWhileOffline checks that the wait for the next attempt, which may have
// grown long, ends when the machine wakes.
func TestSleepWhileOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLinkBench(t)
		synctest.Wait()
		b.set(func() { b.refuse = true })
		l, _ := b.newest()
		_ = l.Close()
		time.Sleep(10 * time.Minute) // each wait is 15 to 30 s now
		b.set(func() { b.jump += time.Hour; b.refuse = false })
		time.Sleep(1100 * time.Millisecond)
		if _, n := b.newest(); n != 2 {
			t.Errorf("%d connections a second after the machine woke", n)
		}
	})
}

// TestChangeOfNetworks takes the machine's address away, as when a laptop is carried to
// another network: the connection that was made from it is given up at once, and another
// made. One that was made from an address that stays, or over loopback, is left alone.
func TestChangeOfNetworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLinkBench(t)
		synctest.Wait()
		b.set(func() { b.here = net.IPv4(192, 0, 2, 1) })
		l, _ := b.newest()
		_ = l.Close() // made before there was an address
		b.run()
		b.talk()
		time.Sleep(10 * time.Minute)
		if _, n := b.newest(); n != 2 {
			t.Fatalf("%d connections, want the second", n)
		}
		b.set(func() { b.here = net.IPv4(198, 51, 100, 1) })
		changed := time.Now()
		time.Sleep(1500 * time.Millisecond)
		if _, n := b.newest(); n != 3 {
			t.Errorf("%d connections %v after the address is gone, want the third", n, time.Since(changed))
		}
		time.Sleep(10 * time.Minute)
		if _, n := b.newest(); n != 3 {
			t.Errorf("%d connections from an address that stays", n-2)
		}
		b.set(func() { b.here = net.IPv4(127, 0, 0, 1) })
		time.Sleep(2 * time.Second)
		b.set(func() { b.here = nil })
		time.Sleep(10 * time.Minute)
		if _, n := b.newest(); n != 4 {
			t.Errorf("%d connections over loopback, want one", n-3)
		}
		for process, rate := range map[Process]float64{QueryProcess: 0.6, ReadProcess: 0.8} {
			n, most := b.between(process, changed, changed.Add(10*time.Minute))
			if want := 600 * rate; math.Abs(float64(n)-want) > 5*math.Sqrt(want)+2 || most > 9 {
				t.Errorf("%s process: %d packets in ten minutes, %d in one second; want about %.0f", process, n, most, want)
			}
		}
	})
}

// TestBackoff checks that attempts become rare while there is no network, and that
// the first after a connection that was good comes soon.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLinkBench(t)
		synctest.Wait()
		b.set(func() { b.refuse = true })
		l, _ := b.newest()
		ended := time.Now()
		_ = l.Close()
		time.Sleep(time.Hour)
		b.mu.Lock()
		defer b.mu.Unlock()
		if first := b.dials[1].Sub(ended); first > 250*time.Millisecond {
			t.Errorf("first attempt after %v", first)
		}
		if n := len(b.dials); n < 110 || n > 260 {
			t.Errorf("%d attempts in an hour, want one in 15 to 30 s", n)
		}
	})
}

// TestSilentGateway checks that a connection over which nothing comes is given up,
// and one over which replies come is not.
func TestSilentGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLinkBench(t)
		b.run()
		time.Sleep(45 * time.Second)
		if _, n := b.newest(); n != 2 {
			t.Errorf("%d connections in 45 s of silence, want the second", n)
		}
		b.talk()
		time.Sleep(10 * time.Minute)
		if _, n := b.newest(); n > 3 {
			t.Errorf("%d connections to a gateway that replies", n)
		}
	})
}

// TestLoopsOverASleep checks which loops that do not come back count as lost: those
// that no sleep and no end of the connection explains.
func TestLoopsOverASleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLinkBench(t)
		b.talk()
		time.Sleep(2 * time.Second) // until it is connected
		id := byte(0)
		send := func(n int) {
			for range n {
				id++
				f := &flight{id: sphinx.SURBID{id}, sent: func(mixclient.Timing) { b.loops.Sent() }, done: b.loopDone}
				b.send(f, LoopProcess)
			}
		}
		expect := func(what string, sent uint64, lost float64, interrupted uint64) {
			t.Helper()
			synctest.Wait()
			if r := b.loops.Report(); r.Sent != sent || r.Lost != lost {
				t.Errorf("%s: %+v, want %d sent and %.2f lost", what, r, sent, lost)
			}
			// The figure of all packets goes by the same rule.
			if s := b.Status(); s.Lost != 5 || s.Interrupted != interrupted {
				t.Errorf("%s: %d packets lost and %d interrupted, want 5 and %d", what, s.Lost, s.Interrupted, interrupted)
			}
		}
		send(5)
		time.Sleep(time.Minute)
		expect("five that nothing explains", 5, 1, 0)

		b.set(func() { b.mute = true })
		time.Sleep(2 * time.Second)
		send(5)
		time.Sleep(15 * time.Second)
		expect("five over a connection that has gone dead", 5, 1, 5)
		b.set(func() { b.mute = false })
		time.Sleep(2 * time.Second)

		send(5)
		time.Sleep(time.Second)
		b.set(func() { b.jump += 8 * time.Hour })
		time.Sleep(time.Minute)
		expect("five that were under way in a sleep", 5, 1, 10)

		send(5)
		time.Sleep(time.Second)
		l, _ := b.newest()
		_ = l.Close()
		time.Sleep(time.Minute)
		expect("five that were under way when the connection ended", 5, 1, 15)

		b.set(func() { b.refuse = true })
		l, _ = b.newest()
		_ = l.Close()
		synctest.Wait()
		send(5)
		time.Sleep(time.Minute)
		expect("five that never left", 5, 1, 15)
	})
}

// TestWakingLate holds a process up for hours, as a sleep does where timers go on
// meanwhile: it sends nothing of what it missed.
func TestWakingLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLinkBench(t)
		b.talk()
		synctest.Wait()
		held := false
		id := byte(0)
		b.wg.Go(func() {
			b.process(b.ctx, QueryProcess, 0.6, func() *flight {
				if !held {
					held = true
					time.Sleep(5 * time.Hour)
				}
				id++
				return &flight{id: sphinx.SURBID{id}, done: func([]byte, mixclient.Timing, error) {}}
			})
		})
		start := time.Now()
		time.Sleep(5*time.Hour + 10*time.Minute)
		b.cancel()
		b.wg.Wait()
		n, most := b.between(QueryProcess, start, time.Now())
		if want := 600 * 0.6; math.Abs(float64(n)-want) > 5*math.Sqrt(want) || most > 9 {
			t.Errorf("%d packets in ten minutes after a sleep, %d in one second; want about %.0f", n, most, want)
		}
	})
}
