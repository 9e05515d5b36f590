package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/proxy"
	"mailproxy/proxy/progress"
)

// TestCopyOfADaemon runs two daemons on copies of one directory, as after moving
// to another computer with the old one still on. Of each account one daemon is
// refused and says why, for as long as both run; the other misses nothing.
func TestCopyOfADaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { // four clients, where the others have two
		c.Parameters = c.Parameters.Scaled(0.5)
	})
	if err := w.Daemon.Close(); err != nil {
		t.Fatal(err)
	}
	here, there := filepath.Join(w.cfg.Dir, "user"), filepath.Join(w.cfg.Dir, "copy")
	if err := os.CopyFS(there, os.DirFS(here)); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"store.key", "tls/ca.key", "tls/leaf.key"} { // which CopyFS opens to all
		if err := os.Chmod(filepath.Join(there, key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var daemons []*testWorld
	for _, dir := range []string{here, there} {
		clients := map[string]*builtin.Client{}
		for _, address := range []string{Alice, Bob} {
			c, err := builtin.New(builtin.Config{Document: w.Network.Document})
			if err != nil {
				t.Fatal(err)
			}
			clients[address] = c
		}
		d := &testWorld{World: &World{Network: w.Network, Accounts: w.Accounts, clients: clients}}
		var err error
		d.Daemon, err = proxy.Open(proxy.Options{
			Dir: dir, Listen: loopback(), Times: patientTimes, Observe: d.observe,
			Network: func(account string) mixclient.Network { return clients[account] },
		})
		if err != nil {
			t.Fatal(err)
		}
		daemons = append(daemons, d)
	}
	defer func() {
		for _, d := range daemons {
			if err := d.Daemon.Close(); err != nil {
				t.Error(err)
			}
			for _, c := range d.clients {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		w.Daemon = nil // closed before
	}()
	problem := func(d *testWorld) string {
		for _, a := range d.Daemon.Status().Accounts {
			if a.Address == Bob {
				return a.Problem
			}
		}
		t.Fatal("the daemon has lost an account")
		return ""
	}
	var winner, loser *testWorld
	eventually(t, "one daemon is refused", func() bool {
		for i, d := range daemons {
			if p := problem(d); p != "" {
				loser, winner = d, daemons[1-i]
				if !strings.HasPrefix(p, "the account is in use elsewhere: on another computer, or as a copy of this data") {
					t.Errorf("the problem is %q", p)
				}
				return true
			}
		}
		return false
	})
	const mails = 10
	for range mails {
		daemons[0].send(t, Alice, Bob, "to one of two", "which of you is it?")
	}
	eventually(t, "delivery", func() bool { return winner.delivered(Bob) == mails })
	if n := loser.delivered(Bob) + loser.count(progress.Read, Bob, ""); n != 0 {
		t.Errorf("the daemon that is refused has got %d", n)
	}
	if p := problem(winner); p != "" {
		t.Errorf("the other has the problem %q", p)
	}
	if p := problem(loser); p == "" {
		t.Error("the daemon that is refused does not say so any more")
	}
}
