package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// compose writes mails of several kinds, in turn. Their bodies hold what programs on
// the way like to change.
func (o *other) compose(args []string) error {
	dir, from, to := args[0], args[1], args[2]
	for i, id := range args[3:] {
		body := kinds[i%len(kinds)](id)
		if err := write(dir, id, head(from, to, id)+body); err != nil {
			return err
		}
	}
	return nil
}

// big writes a mail whose wire form is so many bytes, or up to a line less.
func (o *other) big(args []string) error {
	size, err := strconv.Atoi(args[4])
	if err != nil {
		return fmt.Errorf("big: %w", err)
	}
	head := head(args[1], args[2], args[3])
	const line = 57 // bytes of an attachment that make a line of base64
	fixed := wireSize(head + attachment(args[3], 0))
	return write(args[0], args[3], head+attachment(args[3], max(0, (size-fixed)/78)*line))
}

// write writes both forms of a mail.
func write(dir, id, mail string) error {
	file := filepath.Join(dir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("compose: %w", err)
	}
	if err := os.WriteFile(file, []byte(mail), 0o600); err != nil {
		return fmt.Errorf("compose: %w", err)
	}
	if err := os.WriteFile(file+".crlf", []byte(strings.ReplaceAll(mail, "\n", "\r\n")), 0o600); err != nil {
		return fmt.Errorf("compose: %w", err)
	}
	return nil
}

func wireSize(mail string) int { return len(mail) + strings.Count(mail, "\n") }

func head(from, to, id string) string {
	return "From: " + from + "\nTo: " + to + "\nSubject: " + id + "\n" +
		"Date: Sun, 22 Nov 2026 12:00:00 +0000\nMessage-ID: <" + id + "@localhost>\nMIME-Version: 1.0\n"
}

var kinds = []func(id string) string{text, mixed, forwarded, bare}

// text has lines that SMTP, mbox and quoted-printable treat in their own ways.
func text(id string) string {
	return "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n" +
		"This is " + id + ".\n.\n..\n.dot at the start\nFrom the start of a line\n>From a quoted one\n" +
		"Grüße, 日本語, 🍵\nspaces at the end   \n\ttabs\tinside\n=3D is not quoted-printable =\n-- \n\n\n" +
		strings.Repeat("7", 900) + "\n" +
		strings.Repeat("a line of many, so that the message is more than one block long\n", 200) +
		"the last line\n"
}

// mixed has an attachment.
func mixed(id string) string { return attachment(id, 3000) }

func attachment(id string, size int) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	r := rand.New(rand.NewPCG(h.Sum64(), uint64(size)))
	raw := make([]byte, size)
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	var b strings.Builder
	b.WriteString("Content-Type: multipart/mixed; boundary=\"=_the end_=\"\n\nA preamble.\n--=_the end_=\n" +
		"Content-Type: text/plain\n\nSee what is attached.\n--=_the end_=\n" +
		"Content-Type: application/octet-stream; name=\"a file.bin\"\nContent-Transfer-Encoding: base64\n" +
		"Content-Disposition: attachment;\n filename=\"a file.bin\"\n\n")
	encoded := base64.StdEncoding.EncodeToString(raw)
	for len(encoded) > 76 {
		b.WriteString(encoded[:76] + "\n")
		encoded = encoded[76:]
	}
	b.WriteString(encoded + "\n--=_the end_=--\nAn epilogue.\n")
	return b.String()
}

// forwarded has a message within, in 8 bits.
func forwarded(id string) string {
	return "Content-Type: multipart/mixed; boundary=outer\n\n--outer\nContent-Type: message/rfc822\n\n" +
		"From: someone@example.org\nSubject: =?utf-8?q?inside_of_" + id + "?=\nContent-Type: text/plain; charset=iso-8859-1\n" +
		"Content-Transfer-Encoding: 8bit\n\nna\xefve caf\xe9\n.\n--outer--\n"
}

// bare has no content type, no body to speak of, and does not end its last line.
func bare(id string) string {
	return "X-Folded: one\n two\n\tthree\n\n" + id + " ends without a line end"
}

// unix returns raw with LF line ends.
func unix(raw []byte) []byte { return bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")) }
