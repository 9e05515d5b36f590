package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
	"mailproxy/spool"
	spoolserver "mailproxy/spool/server"
)

// versions is a network whose spool has an append key of a certain version, and says
// no to whatever else it is asked.
type versions struct {
	have  uint64
	asked []uint64
}

var north = mixclient.Service{Kind: mixclient.KindSpool, Provider: "north.test", Node: "n"}

func (v *versions) Query(ctx context.Context, _ mixclient.Service, request []byte) ([]byte, error) {
	r, _, _ := spool.DecodeRequest(request)
	a, ok := r.(*spool.Access)
	if !ok {
		return spool.EncodeRefused(spool.Refused{Status: spool.StatusTemporary, Time: time.Now()})
	}
	v.asked = append(v.asked, a.Version)
	if a.Version <= v.have {
		return spool.EncodeRefused(spool.Refused{Status: spool.StatusStale, Time: time.Now()})
	}
	v.have = a.Version
	return spool.EncodeReply(spool.StatusOK, spool.Empty{})
}

func (v *versions) Services(context.Context, string) ([]mixclient.Service, error) {
	return []mixclient.Service{north}, nil
}

func (v *versions) Notice(mixclient.Service) (n mixclient.Notice, ok bool) { return n, false }
func (v *versions) SetReads(func() (mixclient.Read, bool))                 {}
func (v *versions) Limits() mixclient.Limits                               { return mixclient.Limits{} }
func (v *versions) Status() mixclient.Status                               { return mixclient.Status{} }
func (v *versions) Events() <-chan mixclient.Event                         { return nil }
func (v *versions) Close() error                                           { return nil }

// TestAppendKeyOfARestoredAccount publishes the first append key to a spool that has
// a later one, from before a backup was restored.
func TestAppendKeyOfARestoredAccount(t *testing.T) {
	const me = "me@north.test"
	d := openDaemon(t, t.TempDir(), &versions{})
	defer closeDaemon(t, d)
	if err := d.store.Update(func(tx *store.Tx) error { return keys.Create(tx, me, time.Now()) }); err != nil {
		t.Fatal(err)
	}
	v := &versions{have: 5}
	a := &account{d: d, network: v, service: north, record: &accountRecord{Address: me}}
	var err error
	if a.keys, err = keys.Load(d.store, me, time.Now); err != nil {
		t.Fatal(err)
	}
	a.publishAppendKey(t.Context())
	if k, published := a.keys.AppendKey(); !published || k.Version != 8 || v.have != 8 || len(v.asked) != 4 {
		t.Errorf("version %d, published %v; the spool has %d after %v", k.Version, published, v.have, v.asked)
	}
	a.publishAppendKey(t.Context())
	if len(v.asked) != 4 {
		t.Error("what is published was published again")
	}
}

func openDaemon(t *testing.T, dir string, n mixclient.Network) *Daemon {
	t.Helper()
	d, err := Open(Options{
		Dir:     dir,
		Listen:  ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", AllowPlaintext: true},
		Network: func(string) mixclient.Network { return n },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func closeDaemon(t *testing.T, d *Daemon) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestDeletedAccount: after a restart its mail is there under its password, and
// nothing else is.
func TestDeletedAccount(t *testing.T) {
	const me, password = "me@north.test", "kangaroo-paw-42"
	dir := t.TempDir()
	d := openDaemon(t, dir, &versions{})
	if _, err := d.AddAccount(t.Context(), NewAccount{Address: me, Password: password, Invite: "code"}); err != nil {
		t.Fatal(err)
	}
	closeDaemon(t, d)

	d = openDaemon(t, dir, &versions{}) // the invitation is kept until it has served
	a := d.account(me)
	if string(a.record.Invite) != "code" {
		t.Errorf("the invitation is %q after a restart", a.record.Invite)
	}
	if err := d.End(t.Context(), EndAccount{Address: me, Delete: true}); err == nil || !strings.Contains(err.Error(), "nothing is erased here") {
		t.Errorf("End at a provider that says no: %v", err)
	}
	if err := d.eraseAccount(a, false); err != nil { // as if it had said yes
		t.Fatal(err)
	}
	closeDaemon(t, d)

	d = openDaemon(t, dir, &versions{})
	defer func() { closeDaemon(t, d) }()
	if s := d.Status().Accounts; len(s) != 1 || s[0].Ending != "deleted" {
		t.Errorf("accounts are %+v", s)
	}
	if who, err := d.authenticate(t.Context(), me, password); who != me || err != nil {
		t.Errorf("log in: %q, %v", who, err)
	}
	if _, ok := d.outboxAccount(me); ok {
		t.Error("it can send")
	}
	if _, err := d.Contacts(""); err == nil || !strings.Contains(err.Error(), "there is no account here") {
		t.Errorf("contacts: %v", err)
	}
	if _, err := keys.Load(d.store, me, time.Now); !errors.Is(err, keys.ErrNoAccount) {
		t.Errorf("its keys: %v", err)
	}
	if err := d.End(t.Context(), EndAccount{Address: me, Delete: true}); err == nil || !strings.Contains(err.Error(), "--mail") {
		t.Errorf("delete it twice: %v", err)
	}
	if err := d.End(t.Context(), EndAccount{Address: me, Delete: true, Mail: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Mailbox(me); !errors.Is(err, mailbox.ErrNoAccount) {
		t.Errorf("its mail: %v", err)
	}
	if s := d.Status().Accounts; len(s) != 0 {
		t.Errorf("accounts are %+v", s)
	}
}

// TestAccountOfVersion1 reads the record of a program that knew no endings.
func TestAccountOfVersion1(t *testing.T) {
	d := openDaemon(t, t.TempDir(), &versions{})
	defer closeDaemon(t, d)
	put := func(version int) {
		t.Helper()
		raw, err := codec.Marshal(map[int]any{1: version, 2: "old@north.test", 4: []byte{1}, 5: []byte{2}, 6: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.store.Update(func(tx *store.Tx) error { return tx.Set(accountKey("old@north.test"), raw) }); err != nil {
			t.Fatal(err)
		}
	}
	put(1)
	list, err := listAccounts(d.store)
	if err != nil || len(list) != 1 || !list[0].Registered || list[0].Ending != Active {
		t.Errorf("read %+v, %v", list, err)
	}
	put(accountVersion + 1)
	if _, err := listAccounts(d.store); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("this program reads up to %d", accountVersion)) {
		t.Errorf("an account of a later version: %v", err)
	}
}

// A shop answers that it has no time: to all while it is closed, to who registers while
// it is full.
type shop struct {
	*provider
	closed, full atomic.Bool
}

// Answer implements memory.Handler.
func (s *shop) Answer(ctx context.Context, request []byte) []byte {
	asked, _, _ := spool.DecodeRequest(request)
	_, registers := asked.(*spool.Register)
	if s.closed.Load() || registers && s.full.Load() {
		b, _ := spool.EncodeRefused(spool.Refused{Status: spool.StatusTemporary, Time: time.Now()})
		return b
	}
	return s.provider.Answer(ctx, request)
}

// waiting returns a computer with an account that the shop has not registered yet.
func (s *shop) waiting() *computer {
	t := s.provider.t
	t.Helper()
	c := s.provider.computer(t.TempDir())
	c.handler = s
	c.run()
	waiting, leave := context.WithCancel(t.Context())
	go func() { // whoever added it waits no longer, once it is there
		for waiting.Err() == nil && c.daemon.account(mover) == nil {
			time.Sleep(time.Millisecond)
		}
		leave()
	}()
	if added, err := c.daemon.addAndRegister(waiting, NewAccount{Address: mover, Password: password}); err != nil || added.Problem != "its provider has not answered yet" {
		t.Fatalf("added %+v, %v", added, err)
	}
	return c
}

// TestEndThatFailsBeforeRegistration: an account that could not be deleted goes on
// registering.
func TestEndThatFailsBeforeRegistration(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	s := &shop{provider: p}
	s.closed.Store(true)
	c := s.waiting()
	end := func(ctx context.Context) error {
		return c.daemon.End(ctx, EndAccount{Address: mover, Delete: true})
	}
	for range 2 {
		if err := end(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing is erased here") {
			t.Fatalf("delete it at a provider that has no time: %v", err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := end(ended); err == nil || !errors.Is(err, context.Canceled) ||
		err.Error() != "delete account "+mover+": its provider has not answered yet. Nothing is erased here; try again later" {
		t.Errorf("delete it without an answer: %v", err)
	}
	s.closed.Store(false)
	if err := c.daemon.WaitRegistered(t.Context(), mover); err != nil {
		t.Fatal(err)
	}
	if err := end(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRevokedBeforeRegistration: an account that was revoked before its provider had it
// does not register, though it could not be deleted then.
func TestRevokedBeforeRegistration(t *testing.T) {
	s := &shop{provider: newProvider(t, spoolserver.OpenPolicy())}
	s.full.Store(true)
	c := s.waiting()
	if err := c.daemon.End(t.Context(), EndAccount{Address: mover}); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"at once", "after a restart"} {
		s.closed.Store(true)
		if err := c.daemon.End(t.Context(), EndAccount{Address: mover, Delete: true}); err == nil || !strings.Contains(err.Error(), "nothing is erased here") {
			t.Fatalf("%s, delete it at a provider that has no time: %v", when, err)
		}
		c.daemon.starting.Lock()
		stopped := c.daemon.account(mover).stopped
		c.daemon.starting.Unlock()
		select {
		case <-stopped:
		default:
			t.Errorf("%s: it runs again", when)
		}
		s.closed.Store(false)
		c.end()
		c.run()
	}
	if err := c.daemon.End(t.Context(), EndAccount{Address: mover, Delete: true}); err != nil {
		t.Error(err)
	}
}
