// Package report writes the reports that tell a sender what became of a message:
// delivery status notifications (RFC 3464) in a multipart/report (RFC 6522),
// with the fields that the sender asked for (RFC 3461) and the forms for
// addresses beyond ASCII (RFC 6533).
//
// A report is made of what the caller says; this package knows no outbox, keeps
// nothing and sends nothing. The bytes go into the sender's own INBOX and never
// into the network. It imports nothing of ours; proxy/outbox and proxy import it.
package report

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-message"
)

// MaxWhole is the size in bytes up to which an original is returned whole; of a
// larger one, only the header is.
const MaxWhole = 64 << 10

// maxHeader bounds the header of the original in a report, in bytes.
const maxHeader = 32 << 10

// domain is the right side of the report's Message-ID: constant, and never one
// that exists (RFC 6761 section 6.4), so that it names no machine.
const domain = "mailproxy.invalid"

// Actions of RFC 3464 section 2.3.3.
const (
	ActionFailed    = "failed"
	ActionDelayed   = "delayed"
	ActionDelivered = "delivered"
	ActionRelayed   = "relayed"
)

// A Report is what is known of one message for one or more of its recipients.
type Report struct {
	From       string // who reports: an address of this daemon, "postmaster@localhost"
	To         string // the sender of the message
	EnvelopeID string // ENVID as the sender gave it; empty if not
	Arrival    time.Time
	Recipients []Recipient
	Original   []byte // the message as it was submitted; nil if it is no longer there
	Whole      bool   // return the whole of it (RET=FULL) if it is at most MaxWhole
	Now        time.Time
	Rand       io.Reader // 32 bytes are read from it for the Message-ID and the boundary
}

// A Recipient is what happened to the message for one recipient. A Reason makes
// one.
type Recipient struct {
	Final        string // the address it was for
	Original     string // ORCPT as the sender gave it, decoded; empty if not
	OriginalType string // its type, "rfc822" or "utf-8"
	Action       string // one of the Action constants
	Status       string // RFC 3463, "5.1.1"
	Diagnostic   string // one line for experts; may be empty
	Text         string // sentences for the user, with what to do next
	// RetryUntil is when trying ends, for a delay; zero if unknown.
	RetryUntil time.Time
}

var statusForm = regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}$`)

func (r *Report) check() error {
	switch {
	case !plain(r.From) || !plain(r.To):
		return errors.New("a report needs both From and To, as bare addresses")
	case len(r.Recipients) == 0:
		return errors.New("a report needs a recipient")
	case r.Now.IsZero() || r.Rand == nil:
		return errors.New("a report needs Now and Rand")
	}
	classes := map[string]string{ActionFailed: "5", ActionDelayed: "4", ActionDelivered: "2", ActionRelayed: "2"}
	for _, p := range r.Recipients {
		class, known := classes[p.Action]
		switch {
		case p.Final == "" || p.Text == "":
			return errors.New("a recipient of a report needs an address and a text")
		case !known:
			return fmt.Errorf("%q is no action of a report", p.Action)
		case !statusForm.MatchString(p.Status) || p.Status[:1] != class:
			return fmt.Errorf("%q is no status for the action %q", p.Status, p.Action)
		}
	}
	return nil
}

// plain reports whether a is an address that can stand in a header as it is.
func plain(a string) bool {
	return strings.Count(a, "@") == 1 && len(a) <= 320 && clean(a) == a && !strings.ContainsAny(a, " <>,;:\"()[]\\")
}

// Build returns the report as a message with CRLF line endings. Whatever the
// strings of r and the original hold, they add no header field and no part.
func Build(r Report) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("build report: %w", err)
	}
	var random [32]byte
	if _, err := io.ReadFull(r.Rand, random[:]); err != nil {
		return nil, fmt.Errorf("build report: read randomness: %w", err)
	}
	original := parseOriginal(r.Original)
	global := r.global()

	var out bytes.Buffer
	w, err := message.CreateWriter(&out, r.header(original, global, random))
	if err != nil {
		return nil, fmt.Errorf("build report: write header: %w", err)
	}
	parts := []part{r.human(original), r.status(global)}
	if len(r.Original) > 0 {
		parts = append(parts, r.returned(original))
	}
	for _, p := range parts {
		pw, err := w.CreatePart(p.header())
		if err != nil {
			return nil, fmt.Errorf("build report: begin part %s: %w", p.mediaType, err)
		}
		if _, err := pw.Write(p.body); err != nil {
			return nil, fmt.Errorf("build report: write part %s: %w", p.mediaType, err)
		}
		if err := pw.Close(); err != nil {
			return nil, fmt.Errorf("build report: end part %s: %w", p.mediaType, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("build report: end message: %w", err)
	}
	return out.Bytes(), nil
}

// global reports whether an address needs the forms of RFC 6533.
func (r *Report) global() bool {
	for _, p := range r.Recipients {
		if !ascii(p.Final) || !ascii(p.Original) || strings.EqualFold(p.OriginalType, "utf-8") {
			return true
		}
	}
	return false
}

// header returns the report's own header.
func (r *Report) header(o original, global bool, random [32]byte) message.Header {
	media := "delivery-status"
	if global {
		media = "global-delivery-status"
	}
	fields := [][2]string{
		// What final delivery adds (RFC 5321 section 4.4); "<>" means that no
		// one reports about a report.
		{"Return-Path", "<>"},
		{"From", "mailproxy <" + r.From + ">"},
		{"To", "<" + r.To + ">"},
		{"Date", date(r.Now)},
		{"Message-ID", "<" + hex.EncodeToString(random[:16]) + "@" + domain + ">"},
	}
	if o.messageID != "" {
		fields = append(fields, [2]string{"In-Reply-To", o.messageID}, [2]string{"References", o.messageID})
	}
	fields = append(fields,
		[2]string{"Subject", r.subject()},
		[2]string{"Auto-Submitted", "auto-replied"}, // RFC 3834 section 5
		[2]string{"MIME-Version", "1.0"},
	)
	var h message.Header
	h.SetContentType("multipart/report", map[string]string{
		"report-type": media,
		"boundary":    "report-" + hex.EncodeToString(random[16:]),
	})
	for i := len(fields) - 1; i >= 0; i-- { // Add puts a field on top
		h.Add(fields[i][0], fields[i][1])
	}
	return h
}

// subject says the worst that the report has to say.
func (r *Report) subject() string {
	has := map[string]bool{}
	unconfirmed := false
	for _, p := range r.Recipients {
		has[p.Action] = true
		unconfirmed = unconfirmed || p.Status == statusUnconfirmed
	}
	switch {
	case has[ActionFailed]:
		return "Your message could not be delivered"
	case has[ActionDelayed]:
		return "Your message is delayed"
	case unconfirmed:
		return "The delivery of your message was not confirmed"
	case has[ActionRelayed]:
		return "Your message is in the recipient's mailbox"
	}
	return "Your message was delivered"
}

// A part is one body part with a body that is already encoded as it says.
type part struct {
	mediaType   string
	charset     string
	encoding    string
	description string
	body        []byte
}

func (p part) header() message.Header {
	var h message.Header
	params := map[string]string{}
	if p.charset != "" {
		params["charset"] = p.charset
	}
	h.Add("Content-Transfer-Encoding", p.encoding)
	h.Add("Content-Description", p.description)
	var t message.Header
	t.SetContentType(p.mediaType, params)
	h.Add("Content-Type", t.Get("Content-Type"))
	return h
}

// status is the part for machines (RFC 3464 section 2).
func (r *Report) status(global bool) part {
	p := part{mediaType: "message/delivery-status", encoding: "7bit", description: "Delivery report"}
	if global {
		p.mediaType, p.encoding = "message/global-delivery-status", "8bit"
	}
	var b bytes.Buffer
	field := func(name, value string) {
		value = limit(clean(value), 700)
		if !global {
			value = toASCII(value)
		}
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	if r.EnvelopeID != "" {
		field("Original-Envelope-Id", r.EnvelopeID)
	}
	field("Reporting-MTA", "dns; localhost")
	if !r.Arrival.IsZero() {
		field("Arrival-Date", date(r.Arrival))
	}
	for _, p := range r.Recipients {
		b.WriteString("\r\n")
		if p.Original != "" {
			field("Original-Recipient", typed(p.Original, p.OriginalType))
		}
		field("Final-Recipient", typed(p.Final, ""))
		field("Action", p.Action)
		field("Status", p.Status)
		if p.Diagnostic != "" {
			field("Diagnostic-Code", "x-mailproxy; "+limit(p.Diagnostic, 400))
		}
		if p.Action == ActionDelayed && !p.RetryUntil.IsZero() {
			field("Will-Retry-Until", date(p.RetryUntil))
		}
	}
	p.body = b.Bytes()
	return p
}

// typed returns an address with its type, in the form of RFC 6533 section 3
// (utf-8-addr-unitext) where that is the type.
func typed(address, kind string) string {
	if ascii(address) && !strings.EqualFold(kind, "utf-8") {
		return "rfc822; " + address
	}
	var b strings.Builder
	for _, c := range address {
		if c <= ' ' || c == '\\' || c == '+' || c == '=' || c == 0x7f {
			fmt.Fprintf(&b, `\x{%02X}`, c)
			continue
		}
		b.WriteRune(c)
	}
	return "utf-8; " + b.String()
}

func date(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700") }

// clean makes one line of s: no control characters, no invalid UTF-8, and none
// of the invisible characters that reorder or hide text.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\t' || c == '\r' || c == '\n' || c == 0x2028 || c == 0x2029 {
			return ' '
		}
		if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// limit cuts s to at most n bytes, between characters.
func limit(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c > unicode.MaxASCII })
}

func toASCII(s string) string {
	return strings.Map(func(c rune) rune {
		if c > unicode.MaxASCII {
			return '?'
		}
		return c
	}, s)
}
