package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/proxy"
	"mailproxy/proxy/progress"
)

// well checks that nothing is told to the user that is not so.
func (w *testWorld) well(t *testing.T) {
	t.Helper()
	s := w.Daemon.Status()
	if len(s.Alarms) > 0 {
		t.Errorf("there are alarms: %v", s.Alarms)
	}
	for _, a := range s.Accounts {
		if a.Problem != "" || a.Network.LoopAlarm {
			t.Errorf("%s has the problem %q; %.2f of its loops count as lost, which is an alarm: %v", a.Address, a.Problem, a.Network.LoopsLost, a.Network.LoopAlarm)
		}
	}
}

// TestSleep has the machine sleep with mail on its way, for longer than any mix keeps
// a key. The wall clock jumps when it wakes, the connections are dead and nobody has
// closed them. Everything arrives, once, and no alarm is given. That the processes do not
// catch up on what they missed is tested in mixclient/builtin, with a clock of its own.
func TestSleep(t *testing.T) {
	t.Parallel()
	network, clock := newForwarder(t), new(sleepyClock)
	w := newWorld(t, func(c *Config) {
		c.Parameters.Epoch = epochOf(c.Parameters, 4*time.Second)
		c.Client = func(_ string, c *builtin.Config) { c.Open, c.Now = network.open, clock.now }
		c.Now = clock.now
	})
	sent := 0
	send := func(n int) {
		for range n {
			sent++
			w.send(t, Alice, Bob, fmt.Sprintf("mail %d", sent), "good night")
		}
	}
	send(1)
	eventually(t, "delivery", func() bool { return w.delivered(Bob) == sent })
	send(4) // on their way when the lid closes
	dialled := network.dialled()
	clock.sleep()
	network.set(false, true, true)
	at := w.Network.Document.Parameters.EpochAt(clock.now())
	eventually(t, "keys of another time", func() bool {
		return w.Network.Document.Parameters.EpochAt(time.Now()) >= at+4
	})
	network.set(false, false, true)
	clock.wake()
	eventually(t, "new connections", func() bool {
		return network.dialled() >= dialled+2 && w.reason(Alice) == "" && w.reason(Bob) == ""
	})
	eventually(t, "what was on its way", func() bool { return w.delivered(Bob) >= sent })
	send(2)
	eventually(t, "mail after waking", func() bool { return w.delivered(Bob) >= sent })
	if n := w.inInbox(t, Bob); n != sent || w.delivered(Bob) != sent {
		t.Errorf("%d mails are there of %d", n, sent)
	}
	if n := w.count(progress.Failed, Alice, Bob); n != 0 {
		t.Errorf("%d reports of failure", n)
	}
	w.well(t)
}

// TestChangingNetworks has the way to the gateways swallow everything, as after a change
// from one network to another: nobody closes the connections. The client gives them up
// and makes new ones.
func TestChangingNetworks(t *testing.T) {
	t.Parallel()
	network := newForwarder(t)
	w := newWorld(t, func(c *Config) {
		c.Client = func(_ string, c *builtin.Config) { c.Open = network.open }
	})
	w.send(t, Alice, Bob, "first", "at home")
	eventually(t, "delivery", func() bool { return w.delivered(Bob) == 1 })
	dialled := network.dialled()
	network.set(false, false, true)
	w.send(t, Alice, Bob, "second", "on the train")
	eventually(t, "new connections", func() bool { return network.dialled() >= dialled+2 })
	eventually(t, "delivery", func() bool { return w.delivered(Bob) >= 2 })
	if n := w.inInbox(t, Bob); n != 2 {
		t.Errorf("%d mails are there", n)
	}
	w.well(t)
}

// TestOfflineAtBoot is a trap of others: quitting when the network is down at boot,
// staying "offline" after it is back. The daemon starts, takes mail and says why it is
// offline; when the network comes it sends the mail, and registers an account that was
// added meanwhile, and nobody has to do anything.
func TestOfflineAtBoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if err := w.Daemon.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range w.clients {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	network := newForwarder(t)
	network.set(true, false, false)
	const carol = "carol@north.test"
	for _, address := range []string{Alice, Bob, carol} {
		c, err := builtin.New(builtin.Config{Document: w.Network.Document, Open: network.open})
		if err != nil {
			t.Fatal(err)
		}
		w.clients[address] = c
	}
	began := time.Now()
	var err error
	w.Daemon, err = proxy.Open(proxy.Options{
		Dir: filepath.Join(w.cfg.Dir, "user"), Listen: loopback(), Times: patientTimes, Observe: w.observe,
		Network: func(account string) mixclient.Network { return w.clients[account] },
	})
	if err != nil {
		t.Fatalf("no start without a network: %v", err)
	}
	t.Logf("up after %v", time.Since(began))
	for _, address := range []string{Alice, Bob} {
		eventually(t, "why "+address+" is offline", func() bool {
			return strings.HasPrefix(w.reason(address), "the gateway cannot be reached")
		})
	}
	w.send(t, Alice, Bob, "written offline", "for later")
	added := Account{Address: carol, Username: carol, Password: proxy.NewPassword()}
	if _, err := w.Daemon.AddAccount(t.Context(), proxy.NewAccount{Address: carol, Password: added.Password}); err != nil {
		t.Fatalf("add an account without a network: %v", err)
	}
	w.Accounts = append(w.Accounts, added)
	w.send(t, carol, Bob, "from somebody new", "also for later")
	if n := w.delivered(Bob); n != 0 {
		t.Errorf("%d mails are delivered without a network", n)
	}

	network.set(false, false, false)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.Daemon.WaitRegistered(ctx, carol); err != nil {
		t.Errorf("the account that was added offline: %v", err)
	}
	eventually(t, "delivery of what was written offline", func() bool { return w.delivered(Bob) >= 2 })
	for _, address := range []string{Alice, Bob, carol} {
		if r := w.reason(address); r != "" {
			t.Errorf("%s is offline still: %s", address, r)
		}
	}
	if n := w.inInbox(t, Bob); n != 2 {
		t.Errorf("%d mails are there", n)
	}
	w.well(t)
}
