package monitor

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/report"
)

// A Kind says what an alarm is about.
type Kind string

// The kinds of alarms.
const (
	// Rewritten: the log does not continue what was announced before.
	Rewritten Kind = "log rewritten"
	// NotLogged: the provider showed keys for a contact that its log does not hold.
	NotLogged Kind = "keys not in the log"
	// NotShown: the provider does not give the records of the log that it announces.
	NotShown Kind = "log not shown"
	// OwnKey: the log, or a look-up, has a key for an own address that is not its.
	OwnKey Kind = "false key for your address"
	// OwnRevoked: the log says that an own address was revoked.
	OwnRevoked Kind = "your address revoked"
	// OwnMissing: the provider does not know an own address.
	OwnMissing Kind = "your address missing"
)

// An Alarm is something that an honest provider with its store in order does not do.
// It stays until the user dismisses it.
type Alarm struct {
	Format   uint8    `cbor:"1,keyasint" json:"-"`
	ID       string   `cbor:"2,keyasint" json:"id"`
	Kind     Kind     `cbor:"3,keyasint" json:"kind"`
	Provider string   `cbor:"4,keyasint" json:"provider"`
	Address  string   `cbor:"5,keyasint,omitempty" json:"address,omitempty"` // whose keys; empty: the log as a whole
	Accounts []string `cbor:"6,keyasint,omitempty" json:"accounts"`          // of this daemon that have to do with it
	First    int64    `cbor:"7,keyasint" json:"first"`                       // Unix seconds
	Last     int64    `cbor:"8,keyasint" json:"last"`
	Count    int      `cbor:"9,keyasint" json:"count"`
	Detail   string   `cbor:"10,keyasint,omitempty" json:"detail"` // for experts, of the last time; it is logged, and names no address
}

func decodeAlarm(b []byte) (a Alarm, err error) {
	if err := codec.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if a.Format != recordFormat {
		return a, fmt.Errorf("%w: it has format %d, this program reads %d", ErrRecord, a.Format, recordFormat)
	}
	return a, nil
}

// alarm notes an alarm about an address, or the log as a whole.
func (c *change) alarm(kind Kind, address, detail string) {
	a := Alarm{Format: recordFormat, Kind: kind, Provider: c.domain, Address: address, Detail: detail, First: c.now.Unix(), Last: c.now.Unix(), Count: 1}
	sum := sha256.Sum256([]byte(string(kind) + "\x00" + c.domain + "\x00" + address))
	a.ID = hex.EncodeToString(sum[:4])
	_, mine := c.own[address]
	switch {
	case mine && kind != NotLogged:
		a.Accounts = []string{address}
	case address != "":
		a.Accounts = slices.Clone(c.names[address].Accounts)
		if mine {
			a.Accounts = append(a.Accounts, address)
		}
	default:
		for own := range c.own {
			a.Accounts = append(a.Accounts, own)
		}
		for _, n := range c.names {
			a.Accounts = append(a.Accounts, n.Accounts...)
		}
	}
	slices.Sort(a.Accounts)
	a.Accounts = slices.Compact(a.Accounts)
	for i := range c.alarms {
		if c.alarms[i].ID == a.ID {
			return
		}
	}
	c.alarms = append(c.alarms, a)
}

const backupOrLie = "There are two explanations. The provider may have put an old backup of its data back after a " +
	"failure, and has lost what happened since; or somebody at the provider tries to give you or others false keys, to " +
	"read mail. mailproxy cannot tell which. "

const compare = "Ask the people whom you write to at {provider}, by another way than this network, whether their safety " +
	"number is the one that mailproxy shows. Where it is, nobody stands between you. "

// texts are what the user is told: a subject, and what it means and what to do.
var texts = map[Kind][2]string{
	Rewritten: {"Warning: the list of keys at {provider} was changed afterwards",
		"The provider {provider} keeps a public log of all its users' keys, to which it can only add. What it announces now " +
			"does not continue what it announced before. " + backupOrLie +
			"Ask the provider whether a backup was restored. " + compare +
			"Keys that you had before stay as they are; trust no new key at {provider} until you know."},
	NotLogged: {"Warning: {provider} has shown a false key for {address}",
		"The provider {provider} has shown keys for {address} that are not in its public log of keys, which all users see " +
			"alike. mailproxy sends no mail to {address} while that is so; it asks again from time to time. " + backupOrLie +
			"Ask {address} by another way whether their safety number is the one that mailproxy shows, and tell them and " +
			"the provider of this message."},
	NotShown: {"Warning: {provider} does not show its list of keys",
		"The provider {provider} keeps a public log of all its users' keys. It has announced new entries for a day or longer, and " +
			"mailproxy was connected and asked for them, but was not given them. So mailproxy cannot see whether there is a " +
			"false key in it for you. The provider may be overloaded, or its service broken; or " +
			"somebody holds the entries back to hide a false key. mailproxy cannot tell which. Ask the provider. " +
			compare + "Until mailproxy can read the log, trust no new key at {provider}, and tell the people who " +
			"write to you there to compare safety numbers with you. mailproxy goes on asking."},
	OwnKey: {"Warning: {provider} gives others a false key for your address {address}",
		"The provider {provider} has entered a key for your own address {address} that is not yours. Others who write to you " +
			"may have been given it, and what they write could be read by whoever made it. " + backupOrLie +
			"Tell the people who write to you, by another way, to compare safety numbers with you before they write again, and " +
			"ask the provider for an explanation."},
	OwnRevoked: {"Warning: {provider} says that your address {address} was given up",
		"The public log of keys at {provider} says that the keys of your address {address} were revoked, for good. If " +
			"you have done that yourself, on another computer perhaps, all is well. If not, the provider has done it, and " +
			"nobody can write to you at this address any more: ask the provider, and tell the people who write to you."},
	OwnMissing: {"Warning: {provider} does not know your address {address} any more",
		"The provider {provider} had taken your address {address}, and now says that there is no such user. " + backupOrLie +
			"Nobody new can write to you at this address. Ask the provider whether a backup was restored."},
}

func (a *Alarm) fill(text string) string {
	return strings.NewReplacer("{provider}", a.Provider, "{address}", a.Address).Replace(text)
}

// Subject returns what has happened, in a line.
func (a *Alarm) Subject() string { return a.fill(texts[a.Kind][0]) }

// Text returns what it means and what to do, in sentences.
func (a *Alarm) Text() string { return a.fill(texts[a.Kind][1]) }

// Alarms returns those that stand, the newest first.
func (m *Monitor) Alarms() []Alarm {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Alarm
	for _, a := range m.alarms {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Alarm) int { return cmp.Or(cmp.Compare(b.First, a.First), cmp.Compare(a.ID, b.ID)) })
	return list
}

// ErrNoAlarm is returned for an alarm that does not stand.
var ErrNoAlarm = errors.New("no such alarm")

// Dismiss ends an alarm. If its cause comes again, so does the alarm.
func (m *Monitor) Dismiss(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.alarms[id]; !ok {
		return ErrNoAlarm
	}
	if err := m.cfg.Store.Update(func(tx *store.Tx) error { return tx.Delete(key(kindAlarm, id)) }); err != nil {
		return fmt.Errorf("dismiss alarm: %w", err)
	}
	delete(m.alarms, id)
	return nil
}

// A letter is a warning on its way into an INBOX.
type letter struct {
	account *mailbox.Account
	staged  *mailbox.Staged
}

// commit writes c and its alarms, with a message in the INBOX of each account for
// each alarm that is new: all of it or nothing. m.mu is held.
func (m *Monitor) commit(c *change) error {
	var letters []letter
	for i := range c.alarms {
		a := &c.alarms[i]
		if old, ok := m.alarms[a.ID]; ok {
			a.First, a.Count = old.First, old.Count+1
			continue
		}
		m.log.Error("monitor: a provider's log of keys is not as it must be", "kind", a.Kind, "provider", a.Provider, "detail", a.Detail)
		more, err := m.write(a)
		letters = append(letters, more...)
		if err != nil {
			return errors.Join(err, m.discard(letters))
		}
	}
	err := m.cfg.Store.Update(func(tx *store.Tx) error {
		for _, a := range c.alarms {
			if err := put(tx, key(kindAlarm, a.ID), a); err != nil {
				return err
			}
		}
		for _, l := range letters {
			if _, err := l.account.DeliverTx(tx, "INBOX", l.staged, []string{mailbox.KeywordNotice}, m.cfg.Now()); err != nil {
				return err
			}
		}
		return c.put(tx)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("keep the state of a key log: %w", err), m.discard(letters))
	}
	for _, a := range c.alarms {
		m.alarms[a.ID] = a
	}
	m.providers[c.domain] = c.provider
	return nil
}

func (m *Monitor) discard(letters []letter) (err error) {
	for _, l := range letters {
		err = errors.Join(err, m.cfg.Mailbox.Discard(l.staged))
	}
	return err
}

// write stages the messages about an alarm.
func (m *Monitor) write(a *Alarm) (letters []letter, err error) {
	for _, address := range a.Accounts {
		account, err := m.cfg.Mailbox.Account(m.cfg.Home(address))
		if errors.Is(err, mailbox.ErrNoAccount) {
			continue // it was removed
		}
		if err != nil {
			return letters, fmt.Errorf("warn of a key log: %w", err)
		}
		text, err := report.BuildWarning(report.Warning{
			To: address, Subject: a.Subject(), Text: a.Text(), Detail: a.Detail, Now: m.cfg.Now(), Rand: rand.Reader,
		})
		if err != nil {
			return letters, fmt.Errorf("warn of a key log: %w", err)
		}
		staged, err := m.cfg.Mailbox.Stage(text)
		if err != nil {
			return letters, fmt.Errorf("warn of a key log: %w", err)
		}
		letters = append(letters, letter{account, staged})
	}
	return letters, nil
}

// Since returns when the alarm was first raised.
func (a *Alarm) Since() time.Time { return time.Unix(a.First, 0) }
