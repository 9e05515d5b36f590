package headers

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"

	"mailproxy/internal/address"
)

// kept are the fields of the allow-list that pass as they are, in the order in
// which they are written. The others are written by Outgoing itself.
var (
	keptList = []string{
		"List-Id", "List-Help", "List-Post", "List-Owner", "List-Archive",
		"List-Subscribe", "List-Unsubscribe", "List-Unsubscribe-Post",
	}
	keptCrypto = []string{"Autocrypt", "OpenPGP"}
	keptMIME   = []string{
		"Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID", "Content-Description",
	}
)

// maxLine is where generated lines are folded (RFC 5322 section 2.1.1).
const maxLine = 78

// Rewrite reads the header of a submitted mail from msg and rewrites it by the
// policy. The reader that it returns yields the whole mail as it is to be sealed:
// the new header, then what is left of msg with its line endings made CRLF. It holds
// some KiB at a time, and the header. All errors of Rewrite are *refusal.Error,
// except those of p.Rand and of msg; the reader's are those of msg.
//
// A mail whose header has a line that is no field is refused: what follows might be
// header or body, and so would leak or be lost. To, Cc and Reply-To lose what
// cannot be read as an address; the envelope says who gets the mail, not they.
func Rewrite(msg io.Reader, p Policy) (*Result, io.Reader, error) {
	in := bufio.NewReaderSize(msg, bufferSize)
	head, over, err := readHeader(in)
	if err != nil {
		return nil, nil, err
	}
	fields, _, bad := split(head)
	if bad != nil {
		return nil, nil, badHeader("Line %d of the message's header %s.", bad.line, bad.reason)
	}
	if over != nil {
		return nil, nil, badHeader("The message's header has more than the %d bytes that are taken.", MaxHeader)
	}
	w := writer{fields: fields}
	r := &Result{}
	from, err := w.header(r, p)
	if err != nil {
		return nil, nil, err
	}
	see := inspect(fields, from, &p)
	done := func() {
		see.close()
		r.Leaks = see.found
	}
	return r, io.MultiReader(&w.Buffer, &crlfReader{in: in, see: see, done: done}), nil
}

// header writes the new header and its blank line, says in r what it found, and
// returns who the mail is from.
func (w *writer) header(r *Result, p Policy) (from Mailbox, err error) {
	if from, err = sender(w, p); err != nil {
		return from, err
	}
	r.From = from.Address
	w.line("From", []string{(&mail.Address{Name: from.Name, Address: from.Address}).String()})

	r.To, r.Cc, r.Bcc = w.addresses("to"), w.addresses("cc"), w.addresses("bcc")
	w.addressList("To", r.To)
	w.addressList("Cc", r.Cc)
	r.ReplyTo = w.addresses("reply-to")
	w.addressList("Reply-To", r.ReplyTo)
	w.copyFirst("Subject")
	w.line("Date", []string{date(w, p).Format("Mon, 02 Jan 2006 15:04:05 -0700")})

	if r.MessageID, err = newMessageID(p.Rand); err != nil {
		return from, err
	}
	w.line("Message-ID", []string{"<" + r.MessageID + ">"})
	if ids := messageIDs(w.first("message-id")); len(ids) > 0 {
		r.OriginalMessageID = ids[0]
	}
	r.InReplyTo, r.References = messageIDs(w.first("in-reply-to")), messageIDs(w.first("references"))
	for _, name := range []string{"In-Reply-To", "References"} {
		var ids []string
		for _, id := range messageIDs(w.first(strings.ToLower(name))) {
			if id = p.known(id); id != "" && !slices.Contains(ids, "<"+id+">") {
				ids = append(ids, "<"+id+">")
			}
		}
		w.line(name, ids)
	}

	// The fields of lists are for mail from a list, which has an id (RFC 2919).
	if w.first("list-id") != "" {
		for _, name := range keptList {
			w.copyFirst(name)
		}
	}
	if p.KeepAutocrypt {
		for _, f := range w.all("autocrypt") {
			if autocryptOf(f.value(), from.Address) {
				w.copyField("Autocrypt", &f)
			}
		}
		w.copyAll("OpenPGP")
	}
	if w.first("mime-version") != "" {
		// Apple Mail names itself in a comment here.
		w.line("MIME-Version", []string{"1.0"})
	}
	for _, name := range keptMIME {
		w.copyFirst(name)
	}

	w.WriteString("\r\n")
	return from, nil
}

// autocryptOf reports whether an Autocrypt field is about that address (Autocrypt Level 1,
// section 2.1). A mail program may add one of another of its accounts.
func autocryptOf(value, addr string) bool {
	found := 0
	for attribute := range strings.SplitSeq(value, ";") {
		name, v, _ := strings.Cut(attribute, "=")
		if strings.EqualFold(strings.TrimSpace(name), "addr") {
			if !address.Same(strings.TrimSpace(v), addr) {
				return false
			}
			found++
		}
	}
	return found == 1
}

// known returns the id by which recipients know the mail that id names, or "".
func (p *Policy) known(id string) string {
	if p.SentAs != nil {
		if sent, ok := p.SentAs(id); ok {
			return sent
		}
	}
	if p.Seen != nil && p.Seen(id) {
		return id
	}
	return ""
}

// sender returns who the mail is from, which must be someone p allows.
func sender(w *writer, p Policy) (Mailbox, error) {
	var found []string
	for _, f := range w.all("from") {
		addrs, bad := addresses(f.value())
		if bad > 0 {
			return Mailbox{}, badSender("The From field cannot be read as an address.")
		}
		for _, a := range addrs {
			if !slices.ContainsFunc(found, func(b string) bool { return a == b || address.Same(a, b) }) {
				found = append(found, a)
			}
		}
	}
	switch len(found) {
	case 0:
		return p.Sender, nil
	case 1:
	default:
		return Mailbox{}, badSender("The From field names %d senders, this account can send as one only.", len(found))
	}
	for _, m := range append([]Mailbox{p.Sender}, p.Aliases...) {
		if address.Same(found[0], m.Address) {
			return m, nil
		}
	}
	return Mailbox{}, badSender("This account is %s and cannot send mail from another address: check which identity the message is written with.", p.Sender.Address)
}

// date returns the mail's date in UTC without its seconds, or now if it has none
// that can be read.
func date(w *writer, p Policy) time.Time {
	t, err := mail.ParseDate(w.first("date"))
	if err != nil || t.UTC().Year() < 1900 || t.UTC().Year() > 9999 { // RFC 5322 section 3.3
		t = time.Now()
		if p.Now != nil {
			t = p.Now()
		}
	}
	return t.UTC().Truncate(time.Minute)
}

func newMessageID(random io.Reader) (string, error) {
	if random == nil {
		random = rand.Reader
	}
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("make message id: %w", err)
	}
	return hex.EncodeToString(b[:]) + "@" + MessageIDDomain, nil
}

var idPattern = regexp.MustCompile(`<[^<>\s\x00-\x1f\x7f]+>`)

// messageIDs returns the message ids in a value, without their brackets.
func messageIDs(value string) []string {
	ids := idPattern.FindAllString(value, -1)
	for i, id := range ids {
		ids[i] = id[1 : len(id)-1]
	}
	return ids
}

// A writer writes the new header while reading the old one.
type writer struct {
	bytes.Buffer
	fields []field
}

func (w *writer) all(key string) []field {
	var out []field
	for _, f := range w.fields {
		if f.key == key {
			out = append(out, f)
		}
	}
	return out
}

// first returns the value of the first such field that has one.
func (w *writer) first(key string) string {
	for _, f := range w.all(key) {
		if v := f.value(); v != "" {
			return v
		}
	}
	return ""
}

// addresses returns the addresses of all such fields.
func (w *writer) addresses(key string) []string {
	var out []string
	for _, f := range w.all(key) {
		list, _ := addresses(f.value())
		for _, a := range list {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// addressList writes a list of addresses, or nothing for none.
func (w *writer) addressList(name string, list []string) {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = bare(a)
		if i < len(list)-1 {
			words[i] += ","
		}
	}
	w.line(name, words)
}

// line writes a field of words, folded between them; nothing for no words.
func (w *writer) line(name string, words []string) {
	if len(words) == 0 {
		return
	}
	if len(words) == 1 {
		// A name may be long, and its spaces are places to fold at.
		words = strings.Split(words[0], " ")
	}
	w.WriteString(name + ":")
	at := len(name) + 1
	for i, word := range words {
		if i > 0 && word != "" && at+1+len(word) > maxLine {
			w.WriteString("\r\n")
			at = 0
		}
		w.WriteString(" " + word)
		at += 1 + len(word)
	}
	w.WriteString("\r\n")
}

// copyFirst writes the first such field that is not empty, as it was folded.
func (w *writer) copyFirst(name string) {
	for _, f := range w.all(strings.ToLower(name)) {
		if w.copyField(name, &f) {
			return
		}
	}
}

// copyAll writes all such fields, as they were folded.
func (w *writer) copyAll(name string) {
	for _, f := range w.all(strings.ToLower(name)) {
		w.copyField(name, &f)
	}
}

func (w *writer) copyField(name string, f *field) bool {
	if f.value() == "" {
		return false
	}
	lines := slices.Clone(f.lines)
	if strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	lines[0] = " " + strings.TrimLeft(lines[0], " \t")
	w.WriteString(name + ":" + strings.Join(lines, "\r\n") + "\r\n")
	return true
}
