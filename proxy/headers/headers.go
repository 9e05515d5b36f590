// Package headers is the header policy: what of a message's header a recipient
// gets to see, and what a sender may not set.
//
// Outgoing rewrites a mail that a mail program submitted, before it is sealed:
// only fields on a list are kept, and those that tell of the sender's machine and
// habits are made uniform. Incoming removes from a mail, once opened, what only
// the receiver may say, and says it. Both work on raw bytes: the body, with all
// its MIME parts, signatures and encrypted or protected headers (RFC 9788), is not
// changed; only line endings are made CRLF. Where a part that may not be changed
// repeats what the header must not have, Outgoing says so: see Leaks.
//
// It neither seals nor stores, and knows no keys. What a mail program writes into
// the body (boundaries, the headers of parts, the copies of header fields that
// protected headers carry) is the sender's own to control. It may be imported by
// proxy and the packages beneath it.
package headers

import (
	"io"
	"time"

	"mailproxy/proxy/refusal"
)

// MessageIDDomain is the right-hand side of every message id, the same for all:
// a name that can never be a host's (RFC 6761 section 6.4).
const MessageIDDomain = "mailproxy.invalid"

// MaxHeader bounds the header of a submitted mail, in bytes.
const MaxHeader = 256 << 10

// badSender refuses what is in From; badHeader what cannot be read.
func badSender(format string, args ...any) *refusal.Error {
	return refusal.New(550, [3]int{5, 7, 1}, format, args...)
}

func badHeader(format string, args ...any) *refusal.Error {
	return refusal.New(554, [3]int{5, 6, 0}, format, args...)
}

// A Mailbox is an address and the name shown beside it.
type Mailbox struct {
	Address string
	Name    string // UTF-8; empty for none
}

// A Policy is how one account's mail is rewritten.
type Policy struct {
	// Sender is the account's address, set where a mail has no From, and the name
	// configured for it. Aliases may stand in From as well, each with a name of
	// its own: one name would tell that they are one person.
	Sender  Mailbox
	Aliases []Mailbox
	// KeepAutocrypt keeps the OpenPGP fields, and an Autocrypt field whose addr is who
	// the mail is from.
	KeepAutocrypt bool
	// Seen reports whether this account has sent or received a mail with this
	// message id, without its angle brackets, as recipients know it. Other ids are
	// removed from In-Reply-To and References. Nil means that it has seen none.
	Seen func(messageID string) bool
	// SentAs returns the message id with which the mail went out that the account's
	// mail programs know by messageID, or false. In In-Reply-To and References that
	// takes the other's place, which no recipient knows. Nil means that there are none.
	SentAs func(messageID string) (string, bool)
	Now    func() time.Time // nil means time.Now
	Rand   io.Reader        // nil means crypto/rand
}

// A Result is what is known of a mail as it is to be sealed.
type Result struct {
	// MessageID is the new message id, OriginalMessageID the one that the mail
	// program knows it by, or empty; both without angle brackets.
	MessageID         string
	OriginalMessageID string
	From              string   // the address the mail is from: the account's or an alias
	To, Cc, Bcc       []string // addresses found in these fields
	ReplyTo           []string
	// InReplyTo and References are the message ids in these fields, as the mail program
	// wrote them, without angle brackets.
	InReplyTo, References []string
	// Leaks says what the body repeats that the header must not have, once the
	// message has been read to its end.
	Leaks Leaks
}
