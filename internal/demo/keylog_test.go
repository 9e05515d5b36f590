package demo

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixnet/node"
	"mailproxy/proxy"
	"mailproxy/proxy/progress"
	"mailproxy/spool"
)

// liar answers for a provider, and shows others a key of its own for bob.
type liar struct {
	node.Service
	lies   atomic.Bool
	bundle *spool.SignedBundle
	told   atomic.Int32 // lies
}

func newLiar(s node.Service) (*liar, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	b := spool.Bundle{
		Format: spool.BundleFormat, Address: Bob, Version: 9, Identity: key.Public().(ed25519.PublicKey),
		Static: make([]byte, spool.StaticSize),
		Prekey: spool.Prekey{ID: make([]byte, spool.PrekeyIDSize), Public: make([]byte, spool.PrekeySize)},
	}
	signed, err := b.Sign(key)
	return &liar{Service: s, bundle: signed}, err
}

// Answer implements node.Service.
func (l *liar) Answer(ctx context.Context, request []byte) []byte {
	reply := l.Service.Answer(ctx, request)
	r, _, _ := spool.DecodeRequest(request)
	if ask, ok := r.(*spool.Lookup); !ok || ask.Name != "bob" || !l.lies.Load() {
		return reply
	}
	var found spool.LookupReply
	if _, err := spool.DecodeReply(reply, &found); err != nil {
		return reply
	}
	found.Bundle = *l.bundle // with the place and the proof of the true one
	lie, err := spool.EncodeReply(spool.StatusOK, found)
	if err != nil {
		return reply
	}
	l.told.Add(1)
	return lie
}

// TestProviderThatLies runs a provider that first shows alice a false key for bob,
// and then takes bob's away, over the whole network: alice's daemon sends nothing
// to the false key and says so, and bob's learns of what was done to him from the
// log that the network's snapshot vouches for.
func TestProviderThatLies(t *testing.T) {
	t.Parallel()
	var south *liar
	w := newWorld(t, func(c *Config) {
		c.Parameters.Epoch = epochOf(c.Parameters, 3*time.Second)
		c.Front = func(domain string, s node.Service) node.Service {
			if domain != "south.test" {
				return s
			}
			var err error
			if south, err = newLiar(s); err != nil {
				t.Fatal(err)
			}
			return south
		}
	})
	services, err := w.Client(Alice).Services(t.Context(), mixclient.KindSpool)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(services, func(s mixclient.Service) bool { return s.Provider == "south.test" })
	eventually(t, "bob in the head that all see", func() bool {
		notice, _ := w.Client(Alice).Notice(services[at])
		head, err := spool.ParseNotice(notice.Bytes)
		return err == nil && head.Size == 1
	})
	// Bob's daemon looks itself up once, when it sees the log first.
	eventually(t, "bob's own look-up", func() bool { return w.Spools["south.test"].Answers(spool.TypeLookup, spool.StatusOK) == 1 })
	eventually(t, "the log to be followed", func() bool { return w.Spools["south.test"].Answers(spool.TypeLog, spool.StatusOK) >= 1 })
	if alarms := w.Daemon.Status().Alarms; len(alarms) != 0 {
		t.Fatalf("alarm before the first lie: %+v", alarms)
	}
	south.lies.Store(true)
	w.send(t, Alice, Bob, "to a false key", "not for mallory")
	eventually(t, "alarm", func() bool { return len(w.Daemon.Status().Alarms) == 1 })
	alarm := w.Daemon.Status().Alarms[0]
	if alarm.Provider != "south.test" || alarm.Address != Bob || !slices.Equal(alarm.Accounts, []string{Alice, Bob}) {
		t.Errorf("alarm: %+v", alarm)
	}
	if south.told.Load() == 0 {
		t.Error("there was no lie")
	}
	var inbox [][]byte
	eventually(t, "a warning and a report", func() bool {
		inbox = w.fetch(t, Alice, "INBOX")
		return len(inbox) == 2
	})
	all := string(bytes.Join(inbox, nil))
	for _, want := range []string{"Warning: south.test has shown a false key for " + Bob, "Your message is delayed", "safety"} {
		if !strings.Contains(all, want) {
			t.Errorf("the INBOX does not say %q:\n%s", want, all)
		}
	}
	if w.Daemon.Status().Waiting != 1 || w.count(progress.Sent, Alice, Bob) != 0 {
		t.Error("something was sent to the false key")
	}
	// What comes under bob's name waits too: it could be mallory's.
	w.send(t, Bob, Alice, "the other way", "is this bob?")
	eventually(t, "mail that is held", func() bool {
		return slices.ContainsFunc(w.Daemon.Status().Accounts, func(a proxy.AccountStatus) bool { return a.Address == Alice && a.Held == 1 })
	})
	if n := w.delivered(Alice); n != 0 {
		t.Errorf("%d mails delivered from somebody who is in doubt", n)
	}

	if err := w.Store("south.test").Revoke(t.Context(), "bob", false, time.Now()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "bob's alarm", func() bool { return len(w.Daemon.Status().Alarms) == 2 })
	alarm = w.Daemon.Status().Alarms[0]
	if alarm.Kind != "your address revoked" || alarm.Address != Bob || !slices.Equal(alarm.Accounts, []string{Bob}) {
		t.Errorf("alarm: %+v", alarm)
	}
	if n := w.inInbox(t, Bob); n != 2 { // who has been looked up under his own name before
		t.Errorf("%d messages in bob's INBOX, want two warnings", n)
	}
}
