package web

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailproxy/mixclient"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/outbox"
)

// fixed is a Source that says what a test has put into it, and notes what it is asked
// to change.
type fixed struct {
	mu       sync.Mutex // guards all below
	state    State
	letters  []Letter
	contacts []Contact
	checks   []Check
	done     []string
	err      error // of each change
}

func (f *fixed) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}
func (f *fixed) Recent(int) ([]Letter, error)   { return f.letters, nil }
func (f *fixed) Contacts() ([]Contact, error)   { return f.contacts, nil }
func (f *fixed) Checks(context.Context) []Check { return f.checks }
func (f *fixed) Settings() (Settings, error) {
	return Settings{
		Autoconfig: "sudo mailproxy account autoconfig", Accounts: []string{"alice@north.test"}, CAFile: "/home/alice/ca.pem", CAPEM: []byte("-----BEGIN CERTIFICATE-----\n"),
		Servers: []MailServer{{Purpose: "Incoming mail (IMAP)", Protocol: "imap", Host: "127.0.0.1", Port: "1143", Security: "STARTTLS"}},
	}, nil
}

func (f *fixed) note(what ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = append(f.done, strings.Join(what, " "))
	return f.err
}
func (f *fixed) Withdraw(_ context.Context, id string) (string, error) {
	return "It is withdrawn.", f.note("withdraw", id)
}
func (f *fixed) Retry(id string) error { return f.note("retry", id) }
func (f *fixed) Contact(account, address string) (Contact, error) {
	for _, c := range f.contacts {
		if c.Account == account && c.Address == address {
			c.SafetyNumber, c.QR = "12345 67890 11111 22222 33333 44444", "code"
			return c, nil
		}
	}
	return Contact{}, errors.New("no such contact")
}
func (f *fixed) Profile(account string) ([]byte, error) { return []byte("profile of " + account), nil }
func (f *fixed) Decide(d Decision) (string, error) {
	return "It is decided.", f.note(d.Do, d.Account, d.Address, d.Key, d.Number, strconv.FormatBool(d.LoseVerified))
}
func (f *fixed) Dismiss(id string) error { return f.note("dismiss", id) }

func (f *fixed) changes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.done...)
}

// hostile is text that somebody else chose.
const hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> \u202egnp.exe\u2066\x00\x1b[2J"

// full is a daemon with some of everything, and hostile text wherever others choose it.
func full() *fixed {
	status := mixclient.Status{
		Connected: true, QueryRate: 0.6, ReadRate: 0.8, LoopRate: 0.1, RoundTrip: 2400 * time.Millisecond,
		BytesPerDay: 1_246_752_000, Mixes: 3, MixDelay: 400 * time.Millisecond, Nodes: 10, Operators: 5,
		Queries: 7, Reads: 80, Loops: 60, LoopsSent: 10, LoopsBack: 9, Lost: 3,
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	return &fixed{
		state: State{
			Accounts: []Account{
				{Address: "alice@north.test", Registered: true, Network: 0},
				{Address: "old@north.test", Ending: "deleted", Network: -1},
				{Address: "second@north.test", Registered: true, Network: 0},
				{Address: "lea.green24@south.test", AliasOf: "alice@north.test", Network: 0},
				{Address: "tom.brown11@south.test", AliasOf: "alice@north.test", Registered: true, Network: 0},
			},
			Networks: []Network{{Accounts: []string{"alice@north.test", "second@north.test"}, Status: status, Delays: Histogram{Width: 100 * time.Millisecond, Counts: []uint64{1, 5, 2}}}},
			Sending: []outbox.Mail{{ID: "00aa", Account: "alice@north.test", Subject: hostile, Submitted: now, Size: 9000, Recipients: []outbox.MailRecipient{
				{Address: "bob@south.test", State: "sending", Blocks: 4, Acknowledged: 1},
				{Address: "carol@south.test", State: "queued", Withdrawable: true, Problem: hostile},
			}}},
			Alarms: []Alarm{{ID: "a1", Subject: "Warning: the list was changed", Text: "Ask the provider.", Detail: hostile, Since: now}},
		},
		letters: []Letter{
			{Account: "alice@north.test", Date: now, Name: hostile, Address: "mallory@south.test", Sealed: Sealed{Address: "mallory@south.test", State: "new", Differs: true}, Subject: hostile},
			{Account: "alice@north.test", Date: now, Address: "postmaster@localhost", Report: true, Subject: "Report"},
			{Account: "alice@north.test", Date: now, Sent: true, Address: "bob@south.test", Subject: strings.Repeat("long ", 5000), Keywords: []string{mailbox.KeywordDelivered}},
		},
		contacts: []Contact{{Account: "alice@north.test", Address: "bob@south.test", State: "pinned", Since: now}, {
			Account: "alice@north.test", Address: "mallory@south.test", State: "changed", Blocked: true, Verified: true, HeldFrom: 2,
			Other: &OtherKey{Key: "beef", Since: now, Published: true, SafetyNumber: "99999 00000"},
		}},
		checks: []Check{{Name: "Clock", Level: Trouble, Text: hostile, Advice: "Set it."}},
	}
}
