package proxy

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/mixclient/memory"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/client"
	spoolserver "mailproxy/spool/server"
)

const restoredUser = "ann@north.test"

// A provider is a real spool service that can be put back to a backup, and a daemon
// that has it in a network in memory.
type provider struct {
	t      *testing.T
	daemon *Daemon
	dir    string
	ahead  atomic.Int64 // how far the clock of both is ahead, in ns
	policy spoolserver.Policy

	mu    sync.RWMutex // guards all below
	store *badgerstore.Store
	spool *spoolserver.Server
	count int
}

func (p *provider) now() time.Time { return time.Now().Add(time.Duration(p.ahead.Load())) }

// Answer implements memory.Handler.
func (p *provider) Answer(ctx context.Context, request []byte) []byte {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.spool.Answer(ctx, request)
}

// put starts the service on a new store, made of backup unless that is nil.
func (p *provider) put(backup []byte) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close()
	p.count++
	o := badgerstore.Options{Dir: filepath.Join(p.dir, string(rune('a'+p.count)))}
	var err error
	if backup != nil {
		// Generations are told apart by the second in which a store was restored.
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
		if _, err := badgerstore.Restore(p.t.Context(), o, bytes.NewReader(backup), nil); err != nil {
			p.t.Fatal(err)
		}
	}
	if p.store, err = badgerstore.Open(o); err != nil {
		p.t.Fatal(err)
	}
	if p.spool, err = spoolserver.New(spoolserver.Options{Store: p.store, Provider: "north.test", Policy: &p.policy, Now: p.now}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *provider) close() {
	if p.spool != nil {
		if err := errors.Join(p.spool.Close(), p.store.Close()); err != nil {
			p.t.Error(err)
		}
	}
}

func (p *provider) backup() []byte {
	p.t.Helper()
	var b bytes.Buffer
	if _, err := p.store.Backup(p.t.Context(), &b, nil); err != nil {
		p.t.Fatal(err)
	}
	return b.Bytes()
}

// has reports whether the service has this append key, this version of the bundle
// and this identity.
func (p *provider) has(k keys.AppendKey, bundle *spool.Bundle) bool {
	p.t.Helper()
	p.mu.RLock()
	defer p.mu.RUnlock()
	e, err := p.store.Lookup(p.t.Context(), "ann")
	if errors.Is(err, spoolserver.ErrNoName) {
		return false
	}
	if err != nil {
		p.t.Fatal(err)
	}
	info, err := p.store.Spool(p.t.Context(), bundle.Spool)
	if err != nil {
		p.t.Fatal(err)
	}
	return e.Version == bundle.Version && bytes.Equal(e.Identity, bundle.Identity) &&
		info.AppendVersion == k.Version && k.Key.Public().(ed25519.PublicKey).Equal(info.AppendKey)
}

// upToDate waits until the service has what the daemon has, of these versions at
// least.
func (p *provider) upToDate(a *account, appendKey, bundle uint64) {
	p.t.Helper()
	p.until("the keys published", func() bool {
		k, _ := a.keys.AppendKey()
		b, _ := a.keys.Bundle()
		return k.Version >= appendKey && b.Version >= bundle && p.has(k, b)
	})
}

func (p *provider) until(what string, f func() bool) {
	p.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("waited in vain for %s; status is %+v", what, p.daemon.Status().Accounts)
		}
	}
}

func (p *provider) problem() string { return p.daemon.Status().Accounts[0].Problem }

func newProvider(t *testing.T, policy spoolserver.Policy) *provider {
	t.Helper()
	tend, first, most := tendEvery, registerFirst, registerMost
	tendEvery, registerFirst, registerMost = 20*time.Millisecond, 20*time.Millisecond, 100*time.Millisecond
	policy.Changes = spoolserver.Rate{PerSecond: 1000, Burst: 1000}
	policy.Reads = policy.Changes
	p := &provider{t: t, dir: t.TempDir(), policy: policy}
	p.put(nil)
	network := memory.New(memory.Config{
		Services: map[mixclient.Service]memory.Handler{north: p},
		Limits:   mixclient.Limits{Request: spool.MaxRequestSize, Reply: spool.MaxReplySize},
		Slot:     2 * time.Millisecond, Latency: 2 * time.Millisecond, Pad: true,
	})
	var err error
	p.daemon, err = Open(Options{
		Dir:     t.TempDir(),
		Listen:  ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", AllowPlaintext: true},
		Network: func(string) mixclient.Network { return network },
		Now:     p.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closeDaemon(t, p.daemon)
		if err := network.Close(); err != nil {
			t.Error(err)
		}
		p.close()
		tendEvery, registerFirst, registerMost = tend, first, most
	})
	return p
}

func (p *provider) register(invite string) *account {
	p.t.Helper()
	if _, err := p.daemon.AddAccount(p.t.Context(), NewAccount{Address: restoredUser, Invite: invite}); err != nil {
		p.t.Fatal(err)
	}
	if err := p.daemon.WaitRegistered(p.t.Context(), restoredUser); err != nil {
		p.t.Fatal(err)
	}
	return p.daemon.account(restoredUser)
}

// TestRestoreBringsNoOldKeysBack: whoever was blocked after the backup was made would
// be in the contacts' lane again, and contacts who know the newer bundle would refuse
// the older one. No read is refused: a restored store is above every cursor.
func TestRestoreBringsNoOldKeysBack(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	a := p.register("")
	p.upToDate(a, 1, 1)
	old, _ := a.keys.AppendKey()
	backup := p.backup()

	if err := p.daemon.store.Update(a.keys.RotateAppend); err != nil {
		t.Fatal(err)
	}
	p.ahead.Store(int64(keys.PrekeyLife + keys.PrekeyJitter))
	p.upToDate(a, 2, 2)

	for range 2 { // also the second time
		// A generation is the second in which a backup is restored.
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
		p.put(backup)
		p.upToDate(a, 2, 2)
	}
	block := bytes.Repeat([]byte{7}, spool.BlockSize)
	id := a.keys.Spool()
	proof := spool.SignContact(old.Key, spool.ServiceOf("north.test"), id, spool.BlockIDOf(block))
	if _, err := client.New(a.network, north, client.Signing{}).Append(t.Context(), id, block, proof); !errors.Is(err, client.ErrAppendKey) {
		t.Errorf("append with the old key: %v", err)
	}
	again, err := keys.Load(p.daemon.store, restoredUser, p.now)
	if err != nil {
		t.Fatal(err)
	}
	if again.Generation() == 0 || again.Generation() != a.keys.Generation() {
		t.Errorf("generation %d is kept, %d was seen", again.Generation(), a.keys.Generation())
	}
	p.until("no problem", func() bool { return p.problem() == "" })
}

// TestRestoreFromBeforeTheAccount registers again, with the same keys.
func TestRestoreFromBeforeTheAccount(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	backup := p.backup()
	a := p.register("")
	p.upToDate(a, 1, 1)
	p.put(backup)
	p.upToDate(a, 1, 1)
	p.until("no problem", func() bool { return p.problem() == "" })
}

// TestRestoreWithInvitations: one that was made before the backup is open again, and
// shown again; without it the user is told, and the daemon goes on trying.
func TestRestoreWithInvitations(t *testing.T) {
	policy := spoolserver.OpenPolicy()
	policy.Invite = true
	p := newProvider(t, policy)
	before := p.backup()
	invite := func(code string) spoolserver.Invite {
		return spoolserver.Invite{Hash: sha256.Sum256([]byte(code)), Created: p.now(), Expires: p.now().Add(time.Hour)}
	}
	if err := p.store.AddInvite(t.Context(), invite("code")); err != nil {
		t.Fatal(err)
	}
	invited := p.backup()
	a := p.register("code")
	p.upToDate(a, 1, 1)

	p.put(invited)
	p.upToDate(a, 1, 1)

	p.put(before)
	p.until("the problem", func() bool { return strings.Contains(p.problem(), "without an open invitation; tell the provider") })
	p.mu.RLock()
	open := p.policy
	open.Invite = false
	err := p.spool.SetPolicy(open)
	p.mu.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	p.upToDate(a, 1, 1)
	p.until("no problem", func() bool { return p.problem() == "" })
}

// know makes addr, whose keys it makes, a contact of the account.
func know(t *testing.T, d *Daemon, a *account, addr string) {
	t.Helper()
	if err := keys.CreateIn(d.store, addr, time.Now()); err != nil {
		t.Fatal(err)
	}
	theirs, err := keys.Load(d.store, addr, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, signed := theirs.Bundle()
	if err := d.store.Update(func(tx *store.Tx) error { _, err := a.book.Fetched(tx, addr, signed); return err }); err != nil {
		t.Fatal(err)
	}
}

// TestBlockDuringSealing: a contact who is blocked, or told a key, while a message to
// them is being sealed is given no key that was made or replaced meanwhile.
func TestBlockDuringSealing(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	a := p.register("")
	bob := "bob@north.test"
	know(t, p.daemon, a, bob)
	extensions, told, err := sending{a}.Beside(seal.KindMail, bob)
	if err != nil || len(extensions) != 1 {
		t.Fatalf("Beside = %v, %v", extensions, err)
	}
	if _, err := p.daemon.Block(BlockContact{Address: bob}); err != nil {
		t.Fatal(err)
	}
	if err := p.daemon.store.Update(told); !errors.Is(err, outbox.ErrSuperseded) {
		t.Errorf("the old key may be told: %v", err)
	}
	if extensions, _, err = (sending{a}).Beside(seal.KindMail, bob); err != nil || len(extensions) != 0 {
		t.Errorf("a blocked contact is told %d keys, %v", len(extensions), err)
	}
}
