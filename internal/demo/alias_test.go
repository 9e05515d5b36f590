package demo

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/mixnet/node"
	"mailproxy/proxy"
	"mailproxy/proxy/progress"
)

// An aliasWorld is one whose daemon can be restarted. Its people each have a client.
type aliasWorld struct {
	*testWorld
	dir string
}

// newAliasWorld starts a world with these people registered.
func newAliasWorld(t *testing.T, front func(domain string, s node.Service) node.Service, people ...string) *aliasWorld {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), Parameters: parameters(t), Front: front}
	world, err := StartNetwork(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &aliasWorld{testWorld: &testWorld{World: world}, dir: filepath.Join(cfg.Dir, "user")}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close world: %v", err)
		}
	})
	w.clients = map[string]*builtin.Client{}
	for _, address := range people {
		if w.clients[address], err = builtin.New(builtin.Config{Document: w.Network.Document}); err != nil {
			t.Fatal(err)
		}
	}
	w.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, address := range people {
		password, err := w.Daemon.AddAccount(ctx, proxy.NewAccount{Address: address, DisplayName: "The Name of " + address})
		if err != nil {
			t.Fatal(err)
		}
		w.Accounts = append(w.Accounts, Account{Address: address, Username: address, Password: password})
	}
	for _, address := range people {
		if err := w.Daemon.WaitRegistered(ctx, address); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// open starts the daemon, which Close ends.
func (w *aliasWorld) open(t *testing.T) {
	t.Helper()
	var err error
	w.Daemon, err = proxy.Open(proxy.Options{
		Dir: w.dir, Listen: loopback(), Receipts: true, Times: patientTimes, AliasWait: 200 * time.Millisecond,
		Observe: w.observe,
		Network: func(account string) mixclient.Network {
			if c := w.clients[account]; c != nil {
				return c
			}
			return nil // not a nil *builtin.Client in an interface
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *aliasWorld) restart(t *testing.T) {
	t.Helper()
	if err := w.Daemon.Close(); err != nil {
		t.Fatal(err)
	}
	w.open(t)
}

// newAlias makes an alias of alice's, and waits until its provider has it. What it
// returns sends with alice's login.
func (w *aliasWorld) newAlias(t *testing.T, in proxy.NewAlias) Account {
	t.Helper()
	in.Account = Alice
	made, err := w.Daemon.AddAlias(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "registration of "+made.Address, func() bool { return w.aliasState(t, made.Address) == proxy.AliasRegistered })
	alias := w.account(t, Alice)
	alias.Address = made.Address
	return alias
}

func (w *aliasWorld) aliasState(t *testing.T, address string) string {
	t.Helper()
	list, err := w.Daemon.Aliases(Alice)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.Address == address {
			return s.State
		}
	}
	return ""
}

// refused fails the test unless a mail is refused with that text.
func (w *aliasWorld) refused(t *testing.T, what string, from Account, to string, message string, text string) {
	t.Helper()
	err := w.Submit(from, to, []byte(message))
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: got %v, want a refusal with %q", what, err, text)
	}
}

// TestAlias is the life of an alias: it gets mail, answers under its own address over a
// restart, and is retired.
func TestAlias(t *testing.T) {
	t.Parallel()
	w := newAliasWorld(t, nil, Alice, Bob)
	for _, bad := range []proxy.NewAlias{
		{Account: Alice, Address: "elsewhere.test"}, {Account: Alice, Address: "no name@north.test"},
		{Account: Alice, Address: Bob}, {Account: "nobody@north.test", Address: "south.test"}, {Address: "south.test"},
	} {
		if made, err := w.Daemon.AddAlias(t.Context(), bad); err == nil {
			t.Errorf("%+v became the alias %+v", bad, made)
		}
	}
	alias := w.newAlias(t, proxy.NewAlias{Address: "south.test"})
	if strings.Contains(alias.Address, "alice") || !strings.HasSuffix(alias.Address, "@south.test") {
		t.Errorf("the name that was made is %s", alias.Address)
	}

	w.send(t, Bob, alias.Address, "to whoever this is", "who are you?")
	eventually(t, "delivery to the alias", func() bool { return w.delivered(alias.Address) == 1 })
	eventually(t, "the receipt under the alias", func() bool { return w.count(progress.Confirmed, Bob, alias.Address) == 1 })
	got := w.fetch(t, Alice, "INBOX")
	if len(got) != 1 || field(got[0], "Delivered-To") != alias.Address {
		t.Fatalf("alice's INBOX has %q, want one mail delivered to %s", got, alias.Address)
	}
	asked := field(got[0], "Message-ID")

	w.restart(t)
	// Alice's account knows bob no more than before.
	if list, err := w.Daemon.Contacts(Alice); err != nil || len(list) != 0 {
		t.Errorf("alice's contacts are %+v (%v), want none", list, err)
	}
	if list, err := w.Daemon.Contacts(alias.Address); err != nil || len(list) != 1 || list[0].Address != Bob {
		t.Errorf("the alias's contacts are %+v (%v), want bob", list, err)
	}
	alice := w.account(t, Alice)
	mail := func(from, to, more string) string {
		return "From: " + from + "\r\nTo: " + to + "\r\n" + more + "Subject: an answer\r\n\r\nnobody you know\r\n"
	}
	answering := "In-Reply-To: " + asked + "\r\nReferences: " + asked + "\r\n"
	w.refused(t, "an answer from the account", alice, Bob, mail(Alice, Bob, answering), "Choose the identity "+alias.Address)
	w.refused(t, "a copy to the account", alias, Bob, mail(alias.Address, Bob, "Cc: "+Alice+"\r\n"), "its Cc names "+Alice)
	w.refused(t, "answers to the account", alias, Bob, mail(alias.Address, Bob, "Reply-To: "+Alice+"\r\n"), "its Reply-To names "+Alice)
	w.refused(t, "a copy to the alias", alice, Bob, mail(Alice, Bob, "Cc: "+alias.Address+"\r\n"), "its Cc names "+alias.Address)
	w.refused(t, "the account in From", alias, Bob, mail(Alice, Bob, ""), "This account is "+alias.Address)
	bob := w.account(t, Bob)
	bob.Address = alias.Address
	w.refused(t, "somebody else's alias", bob, Bob, mail(alias.Address, Bob, ""), "may send as "+Bob+" only")
	login := alias
	login.Username = alias.Address
	w.refused(t, "a login as the alias", login, Bob, mail(alias.Address, Bob, ""), "535")

	// The id of a mail that came to the account is not in what the alias sends.
	w.send(t, Bob, Alice, "to alice", "and who are you?")
	eventually(t, "delivery to alice", func() bool { return w.delivered(Alice) == 1 })
	other := ""
	for _, m := range w.fetch(t, Alice, "INBOX") {
		if field(m, "Subject") == "to alice" {
			other = field(m, "Message-ID")
			if field(m, "Delivered-To") != "" {
				t.Error("mail to the account itself has a field Delivered-To")
			}
		}
	}
	w.refused(t, "an answer from the alias", alias, Bob, mail(alias.Address, Bob, "In-Reply-To: "+other+"\r\n"), "Choose the identity "+Alice)

	if err := w.Submit(alias, Bob, []byte(mail(alias.Address, Bob, "In-Reply-To: "+asked+"\r\nReferences: "+other+" "+asked+"\r\n"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "delivery to bob", func() bool { return w.delivered(Bob) == 1 })
	got = w.fetch(t, Bob, "INBOX")
	if len(got) != 1 || field(got[0], "From") != "<"+alias.Address+">" || field(got[0], "In-Reply-To") != asked || field(got[0], "References") != asked ||
		!strings.Contains(field(got[0], "X-Mailproxy-Sender"), "address="+alias.Address+"; from=same") {
		t.Fatalf("bob has %q", got)
	}
	if leak := bytes.ToLower(got[0]); bytes.Contains(leak, []byte("alice")) || bytes.Contains(leak, []byte("the name of")) || bytes.Contains(leak, []byte("north")) {
		t.Errorf("what bob has shows alice: %q", got[0])
	}
	sent := w.fetch(t, Alice, "Sent")
	if len(sent) != 1 || field(sent[0], "From") != "<"+alias.Address+">" {
		t.Errorf("alice's Sent has %q, want the answer", sent)
	}
	eventually(t, "bob's receipt", func() bool { return w.count(progress.Confirmed, alias.Address, Bob) == 1 })

	// Retired: first what must wait for it, and then what is no more.
	if err := w.Daemon.End(t.Context(), proxy.EndAccount{Address: Alice}); err == nil || !strings.Contains(err.Error(), alias.Address) {
		t.Errorf("an account with an alias is revoked: %v", err)
	}
	if err := w.Daemon.End(t.Context(), proxy.EndAccount{Address: alias.Address, Delete: true}); err == nil || !strings.Contains(err.Error(), "alias retire") {
		t.Errorf("an alias is deleted like an account: %v", err)
	}
	if s, err := w.Daemon.RetireAlias(proxy.RetireAlias{Address: alias.Address}); err != nil || s.State != proxy.AliasRetiring {
		t.Fatalf("retire: %+v, %v", s, err)
	}
	w.refused(t, "mail under a retired alias", alias, Bob, mail(alias.Address, Bob, ""), "is retired")
	w.restart(t) // which forgets nothing of it
	eventually(t, "the alias's end", func() bool { return w.aliasState(t, alias.Address) == proxy.AliasRetired })
	w.restart(t)
	if state := w.aliasState(t, alias.Address); state != proxy.AliasRetired {
		t.Errorf("after a restart the alias is %q", state)
	}
	w.refused(t, "an answer from the account, later", alice, Bob, mail(Alice, Bob, answering), "Choose the identity "+alias.Address)
	before := len(w.fetch(t, Bob, "INBOX"))
	w.send(t, Bob, alias.Address, "too late", "are you there?")
	eventually(t, "a report to bob", func() bool { return len(w.fetch(t, Bob, "INBOX")) == before+1 })
	if n := len(w.fetch(t, Alice, "INBOX")); n != 2 {
		t.Errorf("alice's INBOX has %d messages, want the 2 that came", n)
	}
	// Who leaves the network does not wait.
	last := w.newAlias(t, proxy.NewAlias{Address: "north.test"})
	if err := w.Daemon.End(t.Context(), proxy.EndAccount{Address: last.Address, Delete: true, Alias: true}); err != nil {
		t.Errorf("delete an alias at once: %v", err)
	}
	if state := w.aliasState(t, last.Address); state != proxy.AliasRetired {
		t.Errorf("after its end an alias is %q", state)
	}
	if err := w.Daemon.End(t.Context(), proxy.EndAccount{Address: Alice, Delete: true, Mail: true}); err != nil {
		t.Errorf("delete the account: %v", err)
	}
	if list, err := w.Daemon.Aliases(""); err != nil || len(list) != 0 {
		t.Errorf("after the account is gone there are the aliases %+v (%v)", list, err)
	}
}
