package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/command/scripts"
	"mailproxy/internal/demo"
	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/local"
	"mailproxy/proxy"
	"mailproxy/proxy/outbox"
)

// speed is how much faster than a real one the network of TestProvider is.
const speed = 6

// A provider of TestProvider: the program's own commands, on a network in this
// process.
type provider struct {
	t       *testing.T
	dir     string
	network *local.Network
	stop    func()
}

// newProvider does what an operator does: init, the entry into the network's document,
// the signed document into place, run.
func newProvider(t *testing.T) *provider {
	address := freeAddress(t)
	p := &provider{t: t, dir: filepath.Join(t.TempDir(), "provider")}
	err := (&initCmd{
		Dir: p.dir, Provider: "north.test", Operator: "north", Address: address, Listen: address, Registration: byInvitation,
		Document: "network.note", JSON: true,
	}).Run()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(p.dir, "node.toml"))
	if err != nil {
		t.Fatal(err)
	}
	entry, err := directory.ParseEntries(text)
	if err != nil {
		t.Fatal(err)
	}
	p.network, err = local.Start(local.Config{Parameters: directory.DefaultParameters().Scaled(speed), Outside: entry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.network.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(p.dir, "network.note"), p.network.Note, 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.dir, configName)
	cfg, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	trust := fmt.Sprintf("keys = ['%s']\n", strings.Join(p.network.Trust.Keys, "', '"))
	changed := strings.NewReplacer("keys = []\n", trust, "threshold = 0\n", fmt.Sprintf("threshold = %d\n", p.network.Trust.Threshold)).Replace(string(cfg))
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	p.run()
	t.Cleanup(func() { p.stop() })
	return p
}

// freeAddress is below those that systems give to outgoing connections, and beside
// those that package local uses: a service that is stopped must find it free again.
func freeAddress(t *testing.T) string {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.N(8000)))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// run runs the service until stop.
func (p *provider) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- (&runCmd{Config: filepath.Join(p.dir, configName)}).Run(ctx, new(cli)) }()
	p.stop = func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("the service ended with %v", err)
		}
		p.stop = func() {}
	}
	eventually(p.t, "the service answers", func() bool {
		select {
		case err := <-done:
			p.t.Fatalf("the service ended with %v", err)
		default:
		}
		return socket(p.dir).Client().Do(p.t.Context(), "GET", pathWork, nil, new(price)) == nil
	})
}

// ask asks the service as the command line does.
func ask[Out any](p *provider, method, path string, in any) (out Out) {
	p.t.Helper()
	if err := socket(p.dir).Client().Do(p.t.Context(), method, path, in, &out); err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *provider) invite() string {
	return ask[madeInvites](p, "POST", pathInvites, makeInvites{Count: 1}).Invites[0].Code
}

// A person has a daemon of their own, and one account.
type person struct {
	demo.World
	account demo.Account
	client  *builtin.Client
	close   func()
}

// open starts a person's daemon.
func (p *provider) open(dir string) *person {
	w := &person{}
	var err error
	if w.client, err = builtin.New(builtin.Config{Document: p.network.Document}); err != nil {
		p.t.Fatal(err)
	}
	w.Daemon, err = proxy.Open(proxy.Options{
		Dir: dir, Listen: proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", AllowPlaintext: true},
		Times: outbox.Times{
			Expire: time.Hour, Confirm: time.Hour, TellDelay: time.Hour,
			RetryFirst: 100 * time.Millisecond, RetryMost: time.Second, Receipt: 200 * time.Millisecond,
		},
		Network: func(string) mixclient.Network { return w.client },
	})
	if err != nil {
		p.t.Fatal(err)
	}
	w.close = func() {
		w.close = func() {}
		if err := w.Daemon.Close(); err != nil {
			p.t.Error(err)
		}
		if err := w.client.Close(); err != nil {
			p.t.Error(err)
		}
	}
	p.t.Cleanup(func() { w.close() })
	return w
}

// register registers with an invitation, as "mailproxy account add" does.
func (p *provider) register(dir, address, code string) (*person, error) {
	w := p.open(dir)
	ctx, cancel := context.WithTimeout(p.t.Context(), 3*scripts.Patience)
	defer cancel()
	password, err := w.Daemon.AddAccount(ctx, proxy.NewAccount{Address: address, Invite: code})
	if err == nil {
		err = w.Daemon.WaitRegistered(ctx, address)
	}
	if err != nil {
		w.close()
	}
	w.account = demo.Account{Address: address, Username: address, Password: password}
	return w, err
}

func (w *person) send(t *testing.T, to, subject string) {
	t.Helper()
	text := "From: " + w.account.Address + "\r\nTo: " + to + "\r\nSubject: " + subject + "\r\n\r\nhello\r\n"
	if err := w.Submit(w.account, to, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// inbox returns how many messages have come.
func (w *person) inbox(t *testing.T) int {
	t.Helper()
	a, err := w.Daemon.Mailbox(w.account.Address)
	if err != nil {
		t.Fatal(err)
	}
	f, err := a.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.Messages()
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func (w *person) problem() string { return w.Daemon.Status().Accounts[0].Problem }

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * scripts.Patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in %v", what, 3*scripts.Patience)
		}
	}
}

// TestProvider sets up a provider, and has users meet all that their provider can do
// with them, over the whole way.
func TestProvider(t *testing.T) {
	p := newProvider(t)
	homes := t.TempDir()
	if _, err := p.register(filepath.Join(homes, "stranger"), "stranger@north.test", "NOSUCHCODE"); err == nil || !strings.Contains(err.Error(), "by invitation only") {
		t.Fatalf("without an invitation: %v", err)
	}
	code := p.invite()
	alice, err := p.register(filepath.Join(homes, "alice"), "alice@north.test", code)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.register(filepath.Join(homes, "second"), "second@north.test", code); err == nil || !strings.Contains(err.Error(), "used up") {
		t.Fatalf("with an invitation that was used: %v", err)
	}
	bobs := filepath.Join(homes, "bob")
	bob, err := p.register(bobs, "bob@north.test", p.invite())
	if err != nil {
		t.Fatal(err)
	}
	account := bob.account
	if u := ask[user](p, "GET", pathUser+"?name=bob", nil); u.State != active {
		t.Errorf("bob is %+v", u)
	}
	for _, i := range ask[[]invite](p, "GET", pathInvites, nil) {
		if i.State != "used" || i.UsedBy != "alice" && i.UsedBy != "bob" {
			t.Errorf("an invitation is %+v", i)
		}
	}
	alice.send(t, account.Address, "one")
	bob.send(t, alice.account.Address, "one back")
	eventually(t, "mail both ways", func() bool { return bob.inbox(t) == 1 && alice.inbox(t) == 1 })

	// Suspended, bob is told so by his own program, and mail waits for him.
	ask[user](p, "POST", pathSuspend, suspendUser{"bob", true})
	eventually(t, "bob learns of it", func() bool {
		return strings.Contains(bob.problem(), "north.test has suspended bob@north.test; ask the provider why")
	})
	alice.send(t, account.Address, "two")
	ask[user](p, "POST", pathSuspend, suspendUser{"bob", false})
	eventually(t, "mail after it", func() bool { return bob.inbox(t) == 2 && bob.problem() == "" })

	// While bob is away, mail comes; the service is backed up as it runs, and moves.
	bob.close()
	alice.send(t, account.Address, "three")
	eventually(t, "mail waits", func() bool {
		return ask[stats](p, "GET", pathStats, nil).Blocks > 0 && alice.Daemon.Status().Waiting == 0
	})
	file := filepath.Join(homes, "spool.backup")
	saved, err := intoFile(file, func(w io.Writer) (saved, error) {
		return serviceStore{socket(p.dir).Client()}.backup(t.Context(), w)
	})
	if err != nil || saved.Blocks == 0 {
		t.Fatalf("backup: %+v, %v", saved, err)
	}
	p.stop()
	old := p.dir
	p.dir = filepath.Join(homes, "elsewhere")
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// Moved, not copied: nobody else has keys of this hour.
	for _, name := range []string{"identity.key", storeKey, configName, "node.toml", "network.note", "keys"} {
		if err := os.Rename(filepath.Join(old, name), filepath.Join(p.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	restore := &restoreCmd{at: at{Config: filepath.Join(p.dir, configName), JSON: true}, File: file}
	if err := restore.Run(t.Context(), new(cli)); err != nil {
		t.Fatal(err)
	}
	p.run()
	bob = p.open(bobs)
	bob.account = account
	eventually(t, "mail that was in the backup", func() bool { return bob.inbox(t) == 3 })
	alice.send(t, account.Address, "four")
	eventually(t, "mail after the backup", func() bool { return bob.inbox(t) == 4 })
	for _, w := range []*person{alice, bob} {
		if alarms := w.Daemon.Status().Alarms; len(alarms) > 0 {
			t.Errorf("%s has alarms: %+v", w.account.Address, alarms)
		}
	}
	if r := ask[verified](p, "POST", pathVerify, verifyStore{}); r.Wrong > 0 {
		t.Errorf("the restored store: %+v", r)
	}

	// Deleted, bob is so for good: over a restart, and for whoever would have the name.
	ask[user](p, "POST", pathDelete, deleteUser{"bob"})
	p.stop()
	p.run()
	eventually(t, "bob learns of it", func() bool { return strings.Contains(bob.problem(), "bob@north.test was deleted at north.test") })
	if u := ask[user](p, "GET", pathUser+"?name=bob", nil); u.State != revoked || u.Blocks != 0 {
		t.Errorf("bob is %+v", u)
	}
	if _, err := p.register(filepath.Join(homes, "again"), "bob@north.test", p.invite()); err == nil || !strings.Contains(err.Error(), "was deleted at north.test") {
		t.Errorf("bob's name again: %v", err)
	}
}
