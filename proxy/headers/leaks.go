package headers

import (
	"net/mail"
	"slices"
	"strings"
	"time"

	"mailproxy/internal/address"
)

// Leaks are the kinds of things that a mail's body repeats where the policy would
// have removed them, had they been in the header: in a part that is signed, or marked
// as carrying protected header fields (RFC 9788; RFC 8551 section 3.1). Such a part
// cannot be changed without breaking it, so its sender is told instead. What is
// encrypted before mailproxy gets it cannot be looked into.
//
// The values are kept on disk: a new kind gets a new bit.
type Leaks uint16

// The kinds of leaks.
const (
	LeakBcc       Leaks = 1 << iota // a Bcc field
	LeakDate                        // a Date with seconds or a zone
	LeakMessageID                   // a message id of the mail program, or of mail unknown here
	LeakSoftware                    // the mail program or signing program, with its version
	LeakRoute                       // Received and other fields about machines on the way
	LeakNames                       // names beside addresses, or another sender's address
	LeakOther                       // any other field that is not on the allow-list
)

var leakTexts = []struct {
	kind Leaks
	text string
}{
	{LeakBcc, "the hidden recipients (Bcc)"},
	{LeakDate, "the second in which you wrote, or your time zone (Date)"},
	{LeakMessageID, "the message ids of your mail program (Message-ID, References)"},
	{LeakSoftware, "which program you write or sign with (User-Agent, X-Mailer, or Version and Comment lines)"},
	{LeakRoute, "machines on the way of the mail (Received and the like)"},
	{LeakNames, "the names that your address book has for people, or a name of yours other than the one set here (From, To, Cc)"},
	{LeakOther, "other header fields that mailproxy removes elsewhere"},
}

// Texts says in a phrase for each kind what is repeated, the gravest first.
func (l Leaks) Texts() []string {
	var out []string
	for _, t := range leakTexts {
		if l&t.kind != 0 {
			out = append(out, t.text)
		}
	}
	return out
}

var (
	softwareFields = []string{"user-agent", "x-mailer", "x-mimeole", "x-newsreader", "x-operating-system", "x-enigmail-version"}
	routeFields    = []string{"received", "x-received", "return-path", "delivered-to", "x-originating-ip", "x-forwarded-for", "x-sender-ip", "x-source-ip"}
)

// leaksOf says what the fields of a protected part's header repeat.
func leaksOf(fields []field, from Mailbox, p *Policy) (found Leaks) {
	for _, f := range fields {
		found |= leakOf(f, from, p)
	}
	return found
}

func leakOf(f field, from Mailbox, p *Policy) Leaks {
	is := func(names []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, f.key) })
	}
	value := f.value()
	switch {
	case f.key == "hp-outer": // RFC 9788 section 2.2: a field and its value, as outside
		if inner, reason := parseField(value); reason == "" {
			return leakOf(inner, from, p)
		}
		return 0
	case strings.HasPrefix(f.key, "content-"), f.key == "mime-version", f.key == "subject", value == "":
		return 0
	case f.key == "bcc", f.key == "resent-bcc":
		return LeakBcc
	case f.key == "date":
		t, err := mail.ParseDate(value)
		if _, offset := t.Zone(); err != nil || offset != 0 || !t.Equal(t.Truncate(time.Minute)) {
			return LeakDate
		}
		return 0
	case f.key == "message-id":
		if ids := messageIDs(value); len(ids) != 1 || !strings.HasSuffix(ids[0], "@"+MessageIDDomain) {
			return LeakMessageID
		}
		return 0
	case f.key == "in-reply-to", f.key == "references":
		if slices.ContainsFunc(messageIDs(value), func(id string) bool { return p.Seen == nil || !p.Seen(id) }) {
			return LeakMessageID
		}
		return 0
	case f.key == "from":
		list, err := parser.ParseList(value)
		if err != nil || len(list) != 1 || !address.Same(list[0].Address, from.Address) || list[0].Name != "" && list[0].Name != from.Name {
			return LeakNames
		}
		return 0
	case f.key == "to", f.key == "cc", f.key == "reply-to":
		list, err := parser.ParseList(value)
		if err != nil || slices.ContainsFunc(list, func(a *mail.Address) bool { return a.Name != "" }) {
			return LeakNames
		}
		return 0
	case is(softwareFields):
		return LeakSoftware
	case is(routeFields):
		return LeakRoute
	case is(keptList), p.KeepAutocrypt && f.key == "openpgp", p.KeepAutocrypt && f.key == "autocrypt" && autocryptOf(value, from.Address):
		return 0
	}
	return LeakOther
}
