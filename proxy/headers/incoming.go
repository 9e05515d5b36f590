package headers

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"mailproxy/internal/address"
)

// SenderField is the field in which Incoming says who sealed a mail:
//
//	X-Mailproxy-Sender: verified; address=alice@north.test; from=same
//
// The first word is a State; from is "same" where the mail's From field names that
// address and no other, else "differs".
const SenderField = "X-Mailproxy-Sender"

// A State is how well the sender of a mail is known.
type State string

const (
	StateNew      State = "new"      // first mail from an address, or not yet looked up
	StatePinned   State = "pinned"   // the same key as before
	StateVerified State = "verified" // and the user has compared safety numbers
	StateChanged  State = "changed"  // the same key as before, while the provider shows another one
)

// A Seal is what the sealing of a mail has shown.
type Seal struct {
	Address string // the address whose key sealed it
	State   State
	// DeliveredTo is the address at which the mail came in, if it is not the one of the
	// mailbox: it becomes a field Delivered-To. Empty for none.
	DeliveredTo string
	// SentFrom returns the message id by which the account's mail programs may know
	// the mail that went out as messageID, or false. Nil means that there are none.
	SentFrom func(messageID string) (string, bool)
}

// An Arrived is what is known of a mail as it is to be kept.
type Arrived struct {
	// FromMatches says that From names the address that sealed the mail, and no
	// other: what a mail program shows as its sender is true.
	FromMatches bool
	// MessageID is the first message id of its Message-ID field, without angle brackets,
	// or empty.
	MessageID string
	// Damaged says that the header had a line that is no field. All from that line
	// on has become body, so that nothing is lost and nothing in it is believed.
	Damaged bool
}

// receiverOnly are the fields that only the receiving side sets. A sender who set
// them could pretend to checks that were never made (RFC 8601 section 5), or, with
// those that mail programs keep in local files, set flags and labels.
var receiverOnly = map[string]bool{
	"received": true, "return-path": true, "delivered-to": true, "envelope-to": true,
	"x-original-to": true, "x-envelope-to": true, "x-envelope-from": true,
	"authentication-results": true, "received-spf": true,
	"status": true, "x-status": true, "x-keywords": true, "x-uid": true, "x-uidl": true,
	"x-imap": true, "x-imapbase": true, "x-account-key": true, "x-identity-key": true,
}

var receiverOnlyPrefixes = []string{"x-mailproxy-", "arc-", "x-spam-", "x-mozilla-"}

func isReceiverOnly(key string) bool {
	if receiverOnly[key] {
		return true
	}
	for _, p := range receiverOnlyPrefixes {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// Arrive reads the header of an opened mail from msg. The reader that it returns
// yields the mail without the fields that only the receiver may set, and with ours at
// the top. All other fields stay as they are. It takes any bytes: what its sender made
// of a mail is no reason to lose it; what lies beyond MaxHeader of a header is body. It
// holds some KiB at a time, and the header. All errors are those of msg.
func Arrive(msg io.Reader, s Seal) (*Arrived, io.Reader, error) {
	in := bufio.NewReaderSize(msg, bufferSize)
	head, over, err := readHeader(in)
	if err != nil {
		return nil, nil, err
	}
	fields, rest, bad := split(head)
	a := &Arrived{FromMatches: fromIs(fields, s.Address), Damaged: bad != nil || over != nil}

	from := "differs"
	if a.FromMatches {
		from = "same"
	}
	var w bytes.Buffer
	fmt.Fprintf(&w, "%s: %s; address=%s; from=%s\r\n", SenderField, s.State, s.Address, from)
	if s.DeliveredTo != "" {
		fmt.Fprintf(&w, "Delivered-To: %s\r\n", s.DeliveredTo)
	}
	if ids := messageIDs((&writer{fields: fields}).first("message-id")); len(ids) > 0 {
		a.MessageID = ids[0]
	}
	references := s.references(fields)
	for _, f := range fields {
		if !isReceiverOnly(f.key) && (references == "" || f.key != "references") {
			w.WriteString(f.name + ":" + strings.Join(f.lines, "\r\n") + "\r\n")
		}
	}
	w.WriteString(references + "\r\n")
	if len(rest)+len(over) > 0 {
		in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(rest), bytes.NewReader(over), in), bufferSize)
	}
	return a, io.MultiReader(&w, &crlfReader{in: in, see: io.Discard}), nil
}

// references returns a References field which has, beside the ids of mail that this
// account sent, those by which its mail programs may know it: one that keeps a copy of
// its own, or has read its own copy and not ours, finds the thread by these alone. The
// others come last, where the parent is looked for first. It is empty where the mail
// answers none that has two.
func (s *Seal) references(fields []field) string {
	if s.SentFrom == nil {
		return ""
	}
	w := writer{fields: fields}
	have := messageIDs(w.first("references"))
	if len(have) == 0 {
		have = messageIDs(w.first("in-reply-to")) // RFC 5322 section 3.6.4
	}
	var ids []string
	more := false
	for i, id := range have {
		if i >= len(have)-maxReferences {
			original, ok := s.SentFrom(id)
			original = "<" + original + ">"
			if ok && !slices.Contains(have, original[1:len(original)-1]) && idPattern.FindString(original) == original {
				ids, more = append(ids, original), true
			}
		}
		ids = append(ids, "<"+id+">")
	}
	if !more {
		return ""
	}
	w.line("References", ids)
	return w.String()
}

// maxReferences bounds how many ids of a mail are looked up, from the last on.
const maxReferences = 200

// fromIs reports whether there is one From field with one address, addr.
func fromIs(fields []field, addr string) bool {
	n, same := 0, false
	for _, f := range fields {
		if f.key != "from" {
			continue
		}
		n++
		list, bad := addresses(f.value())
		same = bad == 0 && len(list) == 1 && address.Same(list[0], addr)
	}
	return n == 1 && same
}
