// Package proxy is the core of the user's daemon: it opens the store, runs the
// accounts on their engines, and puts the mail front ends in front of them.
//
// It is wiring and supervision: what a message goes through is in the packages
// beneath it, what leaves the machine in the engine that it is given. cmd and
// internal/demo import it.
package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/cert"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/monitor"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/ports"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/storekey"
	"mailproxy/proxy/web"
	"mailproxy/spool"
)

// Options say what a daemon works with. Dir and Network are needed.
type Options struct {
	Dir string
	// StoreKey is what storekey.Open returned for Dir. Without it Open asks there, and
	// has no passphrase to give.
	StoreKey []byte
	Listen   ListenConfig
	// FreePorts takes another port where one is taken, and tells Taken.
	FreePorts bool
	Taken     func(taken *ports.TakenError, instead string)
	// Network returns the engine that carries an account's mail. Accounts may
	// share one; the daemon closes none.
	Network func(account string) mixclient.Network
	// AliasWait is the mean of the random times after which an alias is registered and
	// taken back; zero means half an hour.
	AliasWait time.Duration
	// Receipts says whether senders are told that their mail arrived.
	Receipts bool
	// KeepAutocrypt leaves the Autocrypt and OpenPGP fields in the mail of accounts. In
	// that of aliases they would tell whose alias it is.
	KeepAutocrypt bool
	// Checks looks at what the daemon does not see of itself, for the status page. It
	// may take some seconds, and sends nothing. Nil looks at nothing.
	Checks func(ctx context.Context, s Status) []web.Check
	// Autoconfig is the command that tells Thunderbird the servers, for the status page.
	Autoconfig string
	Times      outbox.Times // zero means outbox.DefaultTimes
	Observe    progress.Func
	Logger     *slog.Logger
	Now        func() time.Time
}

// A Daemon runs from Open to Close.
type Daemon struct {
	opt    Options
	log    *slog.Logger
	store  *store.Store
	mail   *mailbox.Store
	outbox *outbox.Outbox
	logs   *monitor.Monitor
	cert   *cert.Local
	words  *passwords
	page   *web.Server
	delays delays
	looked looked

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // all goroutines but those of front ends and outbox

	servers   []server
	logins    []logins            // of servers, those with passwords
	addresses map[string]net.Addr // of the listeners, by protocol

	ending   sync.Mutex // lets one account be taken back at a time; taken before starting
	starting sync.Mutex // guards engines, and lets one account be added at a time
	engines  []*engine

	mu       sync.Mutex // guards accounts; nothing is called while it is held
	accounts map[string]*account
}

// CertDir is the folder of Options.Dir with the certificates of the listeners.
const CertDir = "tls"

// reserve is how much of the disk is left alone, in bytes: room for the files that
// the store makes ahead of writing them.
const reserve = 256 << 20

// DiskReserve is that, for who says how full the disk is.
const DiskReserve = reserve

// Open opens the store in opt.Dir, starts what is in it, and returns once the
// listeners are up; it does not wait for the network.
func Open(opt Options) (*Daemon, error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Times == (outbox.Times{}) {
		opt.Times = outbox.DefaultTimes()
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	d := &Daemon{
		opt: opt, log: opt.Logger, words: newPasswords(),
		accounts: map[string]*account{}, addresses: map[string]net.Addr{},
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Daemon) open() error {
	var err error
	key := d.opt.StoreKey
	if key == nil {
		if key, err = storekey.Open(d.opt.Dir, storekey.Sources{}); err != nil {
			return err
		}
	}
	d.store, err = store.Open(store.Options{Dir: filepath.Join(d.opt.Dir, storekey.StoreDir), Key: key, Reserve: reserve, Logger: d.log})
	switch {
	case errors.Is(err, store.ErrLocked):
		return fmt.Errorf("%w: mailproxy runs already with %s%s", err, d.opt.Dir, holderWords(d.opt.Dir))
	case errors.Is(err, store.ErrWrongKey):
		return fmt.Errorf("%w: store.key in %s is not the one that the mail was written with; restore it from a backup", err, d.opt.Dir)
	case err != nil:
		return err
	}
	if err := checkMoved(d.opt.Dir, d.store); err != nil {
		return err
	}
	if d.cert, err = cert.Ensure(filepath.Join(d.opt.Dir, CertDir), key, d.opt.Now); err != nil {
		return err
	}
	if d.mail, err = mailbox.Open(d.store, mailbox.Options{Now: d.opt.Now, Logger: d.log}); err != nil {
		return err
	}
	// Accounts first: the outbox asks for them as soon as it runs.
	records, err := listAccounts(d.store)
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := d.load(r); err != nil {
			return err
		}
	}
	if d.logs, err = d.openLogs(); err != nil {
		return err
	}
	d.outbox, err = outbox.Open(outbox.Config{
		Store: d.store, Mailbox: d.mail, Account: d.outboxAccount, As: d.sendsAs, Home: d.homeOf, Times: d.opt.Times,
		Now: d.opt.Now, Observe: d.opt.Observe, Logger: d.log,
	})
	if err != nil {
		return err
	}
	if err := d.listen(); err != nil {
		return err
	}
	d.starting.Lock()
	defer d.starting.Unlock()
	for _, a := range d.list() {
		if a.ending() == Deleted {
			// Should its end have been interrupted.
			if err := d.eraseRest(a.record.Address); err != nil {
				return err
			}
			continue
		}
		if err := d.start(a); err != nil {
			return err
		}
	}
	d.wg.Go(func() { d.outbox.Tend(d.ctx) })
	d.wg.Go(func() { d.outbox.Work(d.ctx) })
	return nil
}

// CAFile returns the file with the certificate by which mail clients know the
// daemon.
func (d *Daemon) CAFile() string { return d.cert.CAFile() }

// TLS returns the configuration of the daemon's own listeners.
func (d *Daemon) TLS() *tls.Config { return d.cert.TLS() }

// Mailbox returns the folders of an account.
func (d *Daemon) Mailbox(addr string) (*mailbox.Account, error) { return d.mail.Account(addr) }

// Close stops everything and waits for it. What was accepted is on disk already.
func (d *Daemon) Close() error {
	d.cancel()
	d.starting.Lock()
	for _, e := range d.engines {
		e.network.SetReads(func() (mixclient.Read, bool) { return mixclient.Read{}, false })
	}
	d.starting.Unlock()
	var err error
	for _, s := range d.servers {
		err = errors.Join(err, s.Close())
	}
	d.wg.Wait()
	if d.outbox != nil {
		d.outbox.Close()
	}
	if d.store != nil {
		err = errors.Join(err, d.store.Close())
	}
	if err != nil {
		return fmt.Errorf("close daemon: %w", err)
	}
	return nil
}

// authenticate checks a login for the front ends. The user name is the address.
func (d *Daemon) authenticate(_ context.Context, username, password string) (string, error) {
	var r *accountRecord
	if canonical, err := address.Canonical(username); err == nil {
		if a := d.account(canonical); a != nil && a.owner == "" {
			a.mu.Lock()
			r = a.record
			a.mu.Unlock()
		}
	}
	if err := d.words.check(r, password); err != nil {
		return "", err
	}
	return r.Address, nil
}

// newAddress returns the canonical form of an address that somebody chose for an account.
func newAddress(typed string) (string, error) {
	canonical, err := address.Canonical(typed)
	if err != nil {
		return "", fmt.Errorf("add account %s: %w; write NAME@PROVIDER, such as carol@north.test", typed, err)
	}
	return canonical, nil
}

// AddAccount makes an account: keys, folders, and a password, which is made if none
// is given. It returns the password once all is on disk; the account registers
// itself at its provider from then on: see WaitRegistered.
func (d *Daemon) AddAccount(ctx context.Context, in NewAccount) (password string, err error) {
	canonical, err := newAddress(in.Address)
	if err != nil {
		return "", err
	}
	invite := strings.TrimSpace(in.Invite)
	if len(invite) > spool.MaxInviteSize {
		return "", fmt.Errorf("add account %s: the code has %d characters, and no invitation has more than %d", canonical, len(invite), spool.MaxInviteSize)
	}
	_, domain := address.Split(canonical)
	if err := d.checkProvider(ctx, canonical, domain); err != nil {
		return "", fmt.Errorf("add account %s: %w", canonical, err)
	}
	if password = in.Password; password == "" {
		password = NewPassword()
	}
	r := &accountRecord{Address: canonical, DisplayName: in.DisplayName, Invite: []byte(invite)}
	if err := r.setPassword(password); err != nil {
		return "", fmt.Errorf("add account %s: %w", canonical, err)
	}
	d.starting.Lock()
	defer d.starting.Unlock()
	if have := d.account(canonical); have != nil {
		if have.ending() != Active {
			return "", fmt.Errorf("add account %s: it was deleted or its keys were revoked, and that is for good; choose another name", canonical)
		}
		return "", fmt.Errorf("add account %s: %w", canonical, ErrAccountExists)
	}
	if _, err := d.mail.CreateAccount(canonical); err != nil && !errors.Is(err, mailbox.ErrExists) {
		return "", fmt.Errorf("add account %s: %w", canonical, err)
	}
	err = d.store.Update(func(tx *store.Tx) error {
		if err := keys.Create(tx, canonical, d.opt.Now()); err != nil {
			return err
		}
		return r.put(tx)
	})
	if err != nil {
		return "", fmt.Errorf("add account %s: %w", canonical, err)
	}
	if err := d.load(r); err != nil {
		return "", err
	}
	a := d.account(canonical)
	a.awaited = true
	return password, d.start(a)
}

// account returns the account with that canonical address, or nil.
func (d *Daemon) account(addr string) *account {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.accounts[addr]
}

// list returns all accounts in the order of their addresses.
func (d *Daemon) list() []*account {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*account
	for _, addr := range slices.Sorted(maps.Keys(d.accounts)) {
		all = append(all, d.accounts[addr])
	}
	return all
}

// checkProvider says whether the network has a provider for domain.
func (d *Daemon) checkProvider(ctx context.Context, addr, domain string) error {
	network := d.opt.Network(addr)
	if network == nil {
		return errors.New("there is no network for this account")
	}
	list, err := network.Services(ctx, mixclient.KindSpool)
	if err != nil {
		return err
	}
	var names []string
	for _, s := range list {
		if s.Provider == domain {
			return nil
		}
		names = append(names, s.Provider)
	}
	slices.Sort(names)
	return fmt.Errorf("%s is no provider of this network; it has %s", domain, strings.Join(names, ", "))
}

// load takes up an account that is in the store.
func (d *Daemon) load(r *accountRecord) error {
	a, err := d.loadAccount(r)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accounts[r.Address] = a
	return nil
}
