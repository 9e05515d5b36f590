package demo

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/local"
	"mailproxy/proxy"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
)

// newHousehold starts a world in which three accounts of one daemon share one
// client: alice and carol at north.test, bob at south.test.
func newHousehold(t *testing.T, p directory.Parameters, policy *server.Policy) (*testWorld, *builtin.Client) {
	t.Helper()
	dir := t.TempDir()
	w := &testWorld{World: &World{Spools: map[string]*server.Server{}, clients: map[string]*builtin.Client{}}}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	var providers []local.Provider
	for _, domain := range Providers {
		st, err := badgerstore.Open(badgerstore.Options{Dir: filepath.Join(dir, domain)})
		if err != nil {
			t.Fatal(err)
		}
		w.stores = append(w.stores, st)
		if w.Spools[domain], err = server.New(server.Options{Store: st, Provider: domain, Policy: policy}); err != nil {
			t.Fatal(err)
		}
		providers = append(providers, local.Provider{Domain: domain, Spool: w.Spools[domain], Notice: w.Spools[domain].Notice})
	}
	var err error
	w.Network, err = local.Start(local.Config{Parameters: p, Providers: providers})
	if err != nil {
		t.Fatal(err)
	}
	client, err := builtin.New(builtin.Config{Document: w.Network.Document})
	if err != nil {
		t.Fatal(err)
	}
	w.clients["all"] = client
	w.Daemon, err = proxy.Open(proxy.Options{
		Dir: filepath.Join(dir, "user"), Listen: loopback(), Receipts: true,
		Times: patientTimes, Observe: w.observe,
		Network: func(string) mixclient.Network { return client },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, address := range []string{Alice, Bob, carol} {
		password, err := w.Daemon.AddAccount(ctx, proxy.NewAccount{Address: address})
		if err != nil {
			t.Fatal(err)
		}
		w.Accounts = append(w.Accounts, Account{Address: address, Username: address, Password: password})
		if err := w.Daemon.WaitRegistered(ctx, address); err != nil {
			t.Fatal(err)
		}
	}
	return w, client
}

const carol = "carol@north.test"

// TestSeveralAccounts sends between accounts that share a client, and to oneself.
func TestSeveralAccounts(t *testing.T) {
	t.Parallel()
	w, client := newHousehold(t, parameters(t), nil)
	people := []string{Alice, Bob, carol}
	before := client.Status()
	reads := func(domain string) uint64 { return w.Spools[domain].Answers(spool.TypeRead, spool.StatusOK) }
	north, south := reads("north.test"), reads("south.test")

	var want []string
	for _, to := range people {
		for _, from := range people {
			w.send(t, from, to, "from "+from, "dear "+to)
		}
		want = append(want, "from "+to)
	}
	slices.Sort(want)
	for _, to := range people {
		eventually(t, "all mail to "+to, func() bool { return w.delivered(to) == len(people) })
		got := w.fetch(t, to, "INBOX")
		if !slices.Equal(subjects(got), want) {
			t.Errorf("%s has %q, want %q", to, subjects(got), want)
		}
		for _, m := range got {
			if _, body := headerAndBody(m); string(body) != "dear "+to+"\r\n" {
				t.Errorf("%s has mail that says %q", to, body)
			}
		}
	}

	// Each read slot picks one of the three accounts: two thirds of the reads are
	// north.test's. With 150 reads the share has a deviation of 0.04.
	eventually(t, "150 reads", func() bool { return reads("north.test")+reads("south.test")-north-south >= 150 })
	n, s := float64(reads("north.test")-north), float64(reads("south.test")-south)
	if share := n / (n + s); share < 0.5 || share > 0.83 {
		t.Errorf("%.0f of %.0f reads went to north.test, want two thirds", n, n+s)
	}
	// And there is one read process, not three.
	now := client.Status()
	r := float64(now.Reads - before.Reads)
	others := float64(now.Queries + now.Loops + now.LoopsSent - before.Queries - before.Loops - before.LoopsSent)
	if ratio, want := r/others, now.ReadRate/(now.QueryRate+now.LoopRate); ratio < 0.6*want || ratio > 1.6*want {
		t.Errorf("%.0f reads and %.0f other packets, want %.2f as many", r, others, want)
	}
	// Passwords open their own account only.
	wrong := w.Accounts[0]
	wrong.Password = w.Accounts[1].Password
	if err := w.Submit(wrong, Bob, mailOf(Alice, Bob, "x", "x")); err == nil || !strings.Contains(err.Error(), "535") {
		t.Errorf("alice with bob's password: %v", err)
	}
	if err := w.Submit(w.Accounts[0], Bob, mailOf(Bob, Bob, "x", "x")); err == nil || !strings.Contains(err.Error(), "550 5.7.1 This account is "+Alice) {
		t.Errorf("alice as bob: %v", err)
	}
}

// TestSeveralRecipients sends one mail to three, of whom one is not to be seen by
// the others, and one is named twice.
func TestSeveralRecipients(t *testing.T) {
	t.Parallel()
	w, _ := newHousehold(t, parameters(t), nil)
	m := []byte("From: " + Alice + "\r\nTo: Bob <" + Bob + ">\r\nCc: " + Alice + "\r\nBcc: " + carol + "\r\n" +
		"Subject: to three\r\n\r\nhello\r\n")
	w.submit(t, Alice, []string{Bob, Alice, carol, strings.ToUpper(Bob)}, nil, m)
	for _, to := range []string{Bob, Alice, carol} {
		eventually(t, "delivery to "+to, func() bool { return w.delivered(to) == 1 })
		got := w.fetch(t, to, "INBOX")
		if len(got) != 1 {
			t.Fatalf("%s has %d messages", to, len(got))
		}
		if bytes.Contains(got[0], []byte("carol")) || field(got[0], "To") != Bob || field(got[0], "Cc") != Alice {
			t.Errorf("%s has a mail with a wrong header:\n%s", to, got[0])
		}
	}
	ids := map[seal.ID]string{}
	w.mu.Lock()
	mail := "" // the outbox's name for it; receipts have others
	for _, e := range w.events {
		switch {
		case e.Kind == progress.Submitted:
			mail = e.Outbox
		case e.Kind == progress.Sealed && e.Outbox == mail:
			ids[e.Message] = e.Recipient
		}
	}
	w.mu.Unlock()
	if len(ids) != 3 {
		t.Errorf("the mail was sealed under %d ids, want one for each recipient: %v", len(ids), ids)
	}
	eventually(t, "the end of the outbox", func() bool {
		s := w.Daemon.Status()
		return s.Waiting+s.Receipts == 0
	})
}
