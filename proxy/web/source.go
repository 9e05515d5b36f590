package web

import (
	"context"
	"time"

	"mailproxy/mixclient"
	"mailproxy/proxy/inbox"
	"mailproxy/proxy/outbox"
)

// A Source is the daemon that the page is of. Its methods ask nothing of the network.
type Source interface {
	// State is all that is in memory; it returns at once.
	State() State
	// Recent returns the last mails received and sent, at most n of each, the newest
	// first.
	Recent(n int) ([]Letter, error)
	// Contacts returns whom all accounts know.
	Contacts() ([]Contact, error)
	// Settings is what mail programs have to know.
	Settings() (Settings, error)
	// Checks are what can be said of the daemon's health.
	Checks(ctx context.Context) []Check

	// Withdraw takes back what has not left of a mail, and says in a sentence what
	// became of it.
	Withdraw(ctx context.Context, id string) (string, error)
	// Retry has a mail that was refused tried at its next turn.
	Retry(id string) error
	// Contact returns one contact, with what is compared to verify them.
	Contact(account, address string) (Contact, error)
	// Profile returns Apple's configuration profile for an account, without a password.
	Profile(account string) ([]byte, error)
	// Decide does what the user has decided about a contact, and says in a sentence what
	// came of it.
	Decide(d Decision) (string, error)
	// Dismiss ends an alarm.
	Dismiss(id string) error
}

// A State is how the daemon is at one moment.
type State struct {
	Accounts []Account
	Networks []Network // each once, however many accounts it carries
	// Sending are the mails that are not in all recipients' spools yet, the oldest
	// first.
	Sending     []outbox.Mail
	Unconfirmed int // recipients in whose spool mail is, without a receipt yet
	Paying      []outbox.Payment
	Alarms      []Alarm
}

// An Account is one of the user's addresses.
type Account struct {
	Address    string
	AliasOf    string // of an alias: the account in whose mailbox its mail is
	Registered bool
	Problem    string // why not, or why it is not read
	Ending     string // "revoked" or "deleted"
	Network    int    // index of State.Networks; -1 for none
	Incomplete int
	Arriving   []inbox.Arrival
	Held       int    // mails whose sender's key is in doubt
	Blocked    uint64 // mails of blocked contacts that were dropped
}

// A Network is an engine, and how long queries took that it carried.
type Network struct {
	mixclient.Status
	Accounts []string // that it carries
	Delays   Histogram
}

// A Histogram counts round trips since the start, by how long they took.
type Histogram struct {
	Width  time.Duration // of a bin
	Counts []uint64      // the last counts all that were longer
}

// An Alarm is a warning that stands until it is dismissed.
type Alarm struct {
	ID, Subject, Text, Detail string
	Since                     time.Time
}

// A Letter is a mail in a folder.
type Letter struct {
	Account  string
	Sent     bool
	Date     time.Time
	Name     string // of the other side, as the mail has it: whoever sent it chose it
	Address  string // of the other side, as the mail has it
	Sealed   Sealed // who sent it in truth, of mail that came through the network
	Subject  string // as the mail has it
	Keywords []string
	Report   bool // from the daemon itself
}

// Sealed is what the sealing of a mail has shown of its sender.
type Sealed struct {
	Address string
	State   string // of the key, when it came: new, pinned or verified
	Differs bool   // the mail names another sender
}

// A Contact is somebody whom an account knows.
type Contact struct {
	Account  string
	Address  string
	State    string // of the key: new, pinned, verified or changed
	Since    time.Time
	Blocked  bool
	PaysWork bool
	Verified bool      // its key is; also while State is changed
	Other    *OtherKey // that waits for a decision
	HeldTo   int       // mails to them that wait for it
	HeldFrom int       // and from them

	// SafetyNumber is in groups of digits, QR the code's content: of Source.Contact only.
	SafetyNumber, QR string
}

// OtherKey is another key than the one that was always a contact's.
type OtherKey struct {
	Key          string // in hexadecimal
	Since        time.Time
	Published    bool // by their provider; else only claimed in a mail
	SafetyNumber string
}

// A Decision is what the user does about a contact.
type Decision struct {
	Do               string // accept, reject, verify, unverify, forget, block or unblock
	Account, Address string
	Key              string // that is accepted or rejected, as it was shown
	Number           string // to verify with
	LoseVerified     bool   // accept a key that nobody verified in place of one that was
}

// Settings are what a mail program is told.
type Settings struct {
	Autoconfig  string // the command that tells Thunderbird; empty where there is none
	Accounts    []string
	Servers     []MailServer
	CAFile      string
	CAPEM       []byte
	Fingerprint string
	Plaintext   bool // mail programs may log in without TLS
}

// A MailServer is one way to reach mail.
type MailServer struct {
	Purpose  string // "Incoming mail (IMAP)"
	Protocol string // "imap"
	Host     string
	Port     string
	Security string // "STARTTLS", "SSL/TLS"
}

// A Level says how bad a check's result is.
type Level string

// The levels.
const (
	Good    Level = "ok"
	Notice  Level = "notice"
	Trouble Level = "trouble"
)

// A Check is one thing that was looked at.
type Check struct {
	Name   string
	Level  Level
	Text   string // what is so
	Advice string // what to do, if anything
}
