package proxy

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/pause"
	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/refusal"
	"mailproxy/spool"
)

// An alias is an account without a login and without folders: it has keys, contacts, a
// spool, an inbox and a place in the outbox of its own, and its mail is in the mailbox
// of its owner. What would show a provider that two addresses are one user's is kept
// apart here: the times of what a user's click brings about (aliasWait), how often a
// spool is read (places), what the computer's clock shows (clock). Threads and what
// stands in headers are in aliasthread.go. docs/threat-model.md says what remains.

// defaultAliasWait is the mean of a random wait: see Options.AliasWait.
const defaultAliasWait = 30 * time.Minute

// aliasWait draws how long something waits that an alias has done at its provider and
// that must not be seen to come of what its owner does, or of the daemon's start. The
// waits have no memory: it does no harm that they begin anew with the daemon.
func (d *Daemon) aliasWait() time.Duration {
	mean := d.opt.AliasWait
	if mean == 0 {
		mean = defaultAliasWait
	}
	return time.Duration(mathrand.ExpFloat64() * float64(mean))
}

// apart keeps an alias's doings apart from the start of the daemon, and from the moment
// it was made. It waits before a registration, and returns from when keys may be
// published: after days off, those of several addresses are due at once. It returns
// false when ctx ends.
func (a *account) apart(ctx context.Context) (publishFrom time.Time, ok bool) {
	if a.owner == "" {
		return time.Time{}, true
	}
	wait := a.d.aliasWait()
	select {
	case <-a.registered:
		return time.Now().Add(wait), true
	default:
	}
	return time.Time{}, pause.For(ctx, wait) == nil
}

// places returns among how many places an engine's read slots are split at least, if it
// carries aliases: the next power of two. A place that is nobody's yet, or no more,
// carries a loop. So a provider does not see by the rate at which the account's spool
// is read when an alias of it is registered: the rate changes before, when the user
// makes it, and mostly not at all; and that one is retired changes it at the next start.
func (d *Daemon) places(network mixclient.Network) int {
	spools, aliases := 0, 0
	for _, a := range d.list() {
		if a.network != network || a.ending() == Deleted {
			continue
		}
		spools++
		if a.owner != "" {
			aliases++
		}
	}
	if aliases == 0 {
		return 0
	}
	n := 1
	for n < spools {
		n *= 2
	}
	return n
}

// reserve has the read slots split among so many places from now on, or more.
func (e *engine) reserve(places int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.places = max(e.places, places)
}

// clockRange is how far, either way, the clock of one address's requests is moved.
const clockRange = time.Minute

// clockShift returns how far the clock of an address's requests is moved: their expiry
// would show how much this computer's clock is wrong, which is the same for all its
// addresses. It is always the same for one address, so that no average brings it out,
// and only the read key tells it (HMAC, RFC 2104, as a pseudo-random function).
func clockShift(k *keys.Account) time.Duration {
	mac := hmac.New(sha256.New, k.ReadKey().Seed())
	mac.Write([]byte("mailproxy clock of an address"))
	n := binary.BigEndian.Uint64(mac.Sum(nil))
	return time.Duration(n%uint64(2*clockRange)) - clockRange
}

// clock is the time by which the account's requests expire.
func (a *account) clock() time.Time { return a.d.opt.Now().Add(a.shift) }

// home returns the account in whose mailbox a's mail is.
func (a *account) home() string {
	if a.owner != "" {
		return a.owner
	}
	return a.keys.Address()
}

// homeOf is home for an address.
func (d *Daemon) homeOf(addr string) string {
	if a := d.account(addr); a != nil && a.owner != "" {
		return a.owner
	}
	return addr
}

// NewAlias is the body of a request to make an alias.
type NewAlias struct {
	Account string `json:"account,omitempty"` // whose mailbox it gets; empty: the only one there is
	// Address is NAME@PROVIDER, or a provider's domain alone: then a name is made.
	Address     string `json:"address"`
	DisplayName string `json:"display_name,omitempty"` // shown beside the alias; the account's is not
	Invite      string `json:"invite,omitempty"`       // code of an invitation
}

// The states of an alias.
const (
	AliasWaiting    = "waiting"    // to be registered, at a random time
	AliasRegistered = "registered" // it has mail
	AliasRetiring   = "retiring"   // to be taken back, at a random time
	AliasRetired    = "retired"    // for good
)

// AliasStatus describes an alias.
type AliasStatus struct {
	Address     string `json:"address"`
	Account     string `json:"account"` // in whose mailbox its mail is
	DisplayName string `json:"display_name,omitempty"`
	State       string `json:"state"`
	Problem     string `json:"problem,omitempty"` // why it is not registered, or not read
}

// RetireAlias is the body of a request to take an alias back.
type RetireAlias struct {
	Address string `json:"address"`
	// Check says to do nothing, and only to refuse an address that is no alias: before
	// the user is asked.
	Check bool `json:"check,omitempty"`
}

// AddAlias makes an alias: when it returns, its keys are on disk. It is registered at a
// random later time, so that what is made together is not seen to belong together.
func (d *Daemon) AddAlias(ctx context.Context, in NewAlias) (out AliasStatus, err error) {
	fail := func(err error) (AliasStatus, error) {
		return AliasStatus{}, fmt.Errorf("make alias %s: %w", in.Address, err)
	}
	invite := strings.TrimSpace(in.Invite)
	if len(invite) > spool.MaxInviteSize {
		return fail(fmt.Errorf("the code has %d characters, and no invitation has more than %d", len(invite), spool.MaxInviteSize))
	}
	owner, err := d.theAccount(in.Account)
	switch {
	case err != nil:
		return fail(err)
	case owner.owner != "":
		return fail(fmt.Errorf("%s is an alias itself; name the account whose mailbox it shares: %s", in.Account, owner.owner))
	case owner.ending() != Active:
		return fail(fmt.Errorf("the keys of %s are revoked", owner.home()))
	}
	addr, made := strings.TrimSpace(in.Address), !strings.Contains(in.Address, "@")
	if made {
		addr = randomName() + "@" + addr
	}
	canonical, err := address.Canonical(addr)
	if err != nil {
		return fail(err)
	}
	_, domain := address.Split(canonical)
	if err := d.checkProvider(ctx, owner.home(), domain); err != nil {
		return fail(err)
	}
	d.starting.Lock()
	defer d.starting.Unlock()
	for made && d.account(canonical) != nil {
		canonical = randomName() + "@" + domain
	}
	if d.account(canonical) != nil {
		return fail(errAddressTaken)
	}
	r := &accountRecord{Address: canonical, Owner: owner.home(), DisplayName: in.DisplayName, Invite: []byte(invite)}
	err = d.store.Update(func(tx *store.Tx) error {
		if err := keys.Create(tx, canonical, d.opt.Now()); err != nil {
			return err
		}
		return r.put(tx)
	})
	if err == nil {
		err = d.load(r)
	}
	if err != nil {
		return fail(err)
	}
	a := d.account(canonical)
	if err := d.start(a); err != nil {
		return fail(err)
	}
	return a.aliasStatus(), nil
}

// aliases returns the aliases of an account, those that are retired too; of all
// accounts for an empty one.
func (d *Daemon) aliases(owner string) (list []*account) {
	for _, a := range d.list() {
		if a.owner != "" && (owner == "" || a.owner == owner) {
			list = append(list, a)
		}
	}
	return list
}

// liveAliases returns the addresses of the aliases of an account that are not retired.
func (d *Daemon) liveAliases(owner string) (list []string) {
	for _, a := range d.aliases(owner) {
		if a.ending() != Deleted {
			list = append(list, a.keys.Address())
		}
	}
	return list
}

// Aliases lists the aliases of an account, or of all for an empty one.
func (d *Daemon) Aliases(account string) ([]AliasStatus, error) {
	if account != "" {
		a, err := d.theAccount(account)
		if err != nil {
			return nil, fmt.Errorf("list aliases: %w", err)
		}
		account = a.home()
	}
	list := []AliasStatus{}
	for _, a := range d.aliases(account) {
		list = append(list, a.aliasStatus())
	}
	return list, nil
}

func (a *account) aliasStatus() AliasStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := AliasStatus{Address: a.record.Address, Account: a.owner, DisplayName: a.record.DisplayName}
	switch {
	case a.record.Ending == Deleted:
		s.State = AliasRetired
		return s
	case a.record.Retiring:
		s.State = AliasRetiring
	case a.record.Registered:
		s.State = AliasRegistered
	default:
		s.State = AliasWaiting
	}
	if a.problem != nil {
		s.Problem = a.problem.Error()
	}
	return s
}

// RetireAlias takes an alias back, for good. From when it returns nothing new is sent
// under it; at a random later time its provider is asked to erase it, until when mail
// still comes in, and mail that is on its way goes on. Then its keys are erased. The
// mail that has come stays.
func (d *Daemon) RetireAlias(in RetireAlias) (AliasStatus, error) {
	fail := func(err error) (AliasStatus, error) {
		return AliasStatus{}, fmt.Errorf("retire alias %s: %w", in.Address, err)
	}
	canonical, err := address.Canonical(in.Address)
	if err != nil {
		return fail(err)
	}
	d.starting.Lock()
	defer d.starting.Unlock()
	a := d.account(canonical)
	if a == nil || a.owner == "" {
		return fail(errors.New(`there is no such alias here; "mailproxy alias list" shows them`))
	}
	if s := a.aliasStatus(); in.Check || s.State == AliasRetiring || s.State == AliasRetired {
		return s, nil
	}
	if err := a.changeRecord(func(r *accountRecord) { r.Retiring = true }); err != nil {
		return fail(err)
	}
	d.wg.Go(func() { d.retireLater(a) })
	return a.aliasStatus(), nil
}

// retireLater takes an alias back at a random time, and tries again until it is done or
// the daemon ends.
func (d *Daemon) retireLater(a *account) {
	for pause.For(d.ctx, d.aliasWait()) == nil {
		d.ending.Lock()
		err := d.endAtProvider(d.ctx, a, true)
		if err == nil {
			err = d.eraseAccount(a, false)
		}
		d.ending.Unlock()
		if err == nil {
			return
		}
		if d.ctx.Err() == nil {
			d.log.Warn("proxy: an alias could not be retired yet; trying again later", "err", unexplained(err))
			a.setProblem(err)
		}
	}
}

// forgetAliases removes the records of an account's aliases, which are all retired, and
// what is kept of threads: the account and its mail are removed.
func (d *Daemon) forgetAliases(owner string) error {
	gone := []string{owner}
	for _, a := range d.aliases(owner) {
		gone = append(gone, a.record.Address)
	}
	for _, addr := range gone {
		if err := erasePrefix(d.store, threadPrefix(addr)); err != nil {
			return err
		}
		if addr == owner {
			continue // its record is the last to go
		}
		if err := d.store.Update(func(tx *store.Tx) error { return tx.Delete(accountKey(addr)) }); err != nil {
			return fmt.Errorf("erase an alias: %w", err)
		}
		d.mu.Lock()
		delete(d.accounts, addr)
		d.mu.Unlock()
	}
	return nil
}

// sendsAs finds the alias that an account may send as: see outbox.Config.
func (d *Daemon) sendsAs(login, from string) (outbox.Account, error) {
	canonical, err := address.Canonical(from)
	if err != nil {
		return nil, nil // no address of anybody here
	}
	a := d.account(canonical)
	if a == nil || a.owner != login {
		return nil, nil
	}
	switch s := a.aliasStatus(); s.State {
	case AliasRetiring, AliasRetired:
		return nil, refusal.New(553, [3]int{5, 7, 1}, "the alias %s is retired; choose another identity in your mail program", canonical)
	case AliasWaiting:
		return nil, refusal.New(450, [3]int{4, 7, 1}, "the alias %s is not registered at its provider yet, and could not be answered; \"mailproxy alias list\" says when it is", canonical)
	}
	return sending{a}, nil
}

// family returns the addresses that share a mailbox: the account's, and those of its
// aliases, also of the retired ones.
func (d *Daemon) family(home string) []string {
	all := []string{home}
	for _, a := range d.aliases(home) {
		a.mu.Lock()
		all = append(all, a.record.Address)
		a.mu.Unlock()
	}
	return all
}

// isOneOf returns which of addresses addr is, or "".
func isOneOf(addr string, addresses []string) string {
	if i := slices.IndexFunc(addresses, func(a string) bool { return address.Same(a, addr) }); i >= 0 {
		return addresses[i]
	}
	return ""
}
