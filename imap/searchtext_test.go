package imap

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"unicode/utf16"

	"mailproxy/proxy/mailbox"
)

// TestSearchInPieces: a text that is too large to be kept is searched piece by piece,
// and what lies across two of them is found as well.
func TestSearchInPieces(t *testing.T) {
	var b strings.Builder
	for i := range 60000 {
		fmt.Fprintf(&b, "Wört%05d", i)
		switch {
		case i%11 == 10:
			b.WriteString("\r\n")
		case i < 30000 || i > 40000: // between them it is one word of 100 kB
			b.WriteByte(' ')
		}
	}
	text := b.String()
	var wide bytes.Buffer
	for _, u := range utf16.Encode([]rune(text)) {
		wide.Write([]byte{byte(u), byte(u >> 8)})
	}
	var quoted strings.Builder
	q := quotedprintable.NewWriter(&quoted)
	if _, err := io.WriteString(q, text); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"8bit":             "Content-Type: text/plain; charset=utf-8\r\n\r\n" + text,
		"windows":          "Content-Type: text/plain\r\n\r\n" + strings.ReplaceAll(text, "ö", "\xf6"),
		"latin1":           "Content-Type: text/plain; charset=iso-8859-1\r\n\r\n" + strings.ReplaceAll(text, "ö", "\xf6"),
		"quoted-printable": "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + quoted.String(),
		"utf-16":           "Content-Type: text/plain; charset=utf-16le\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(wide.Bytes()),
		"damaged base64": "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
			base64.StdEncoding.EncodeToString([]byte(text)) + "-",
		"html": "Content-Type: text/html\r\n\r\n" + strings.ReplaceAll(text, "ö", "&ouml;"),
		"no base64 at all": "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\n" +
			"Content-Transfer-Encoding: base64\r\n\r\n-" + text + "\r\n--x--\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *Options) { o.MaxMessage = 4 << 20 })
			w.deliver("INBOX", raw)
			l := w.login()
			l.ok("SELECT INBOX")
			for i := 0; i < 59999; i += 997 {
				if i > 29990 && i < 40010 || i%11 == 10 {
					continue
				}
				l.finds(fmt.Sprintf("BODY {21+}\r\nwört%05d WÖRT%05d", i, i+1), "1")
			}
			for i := 30008; i < 39000; i += 11 * 97 { // no line ends there
				l.finds(fmt.Sprintf("BODY {20+}\r\nwört%05dWÖRT%05d", i, i+1), "1")
			}
			l.finds("BODY {21+}\r\nwört00001 wört00003", "")
			l.finds("BODY {21+}\r\nwört59999 wört00000", "")
		})
	}
}

// TestSearchPiecesAgree: what is found does not depend on where a text is cut.
func TestSearchPiecesAgree(t *testing.T) {
	w := newWorld(t)
	inside := "From: a@x.test\r\nSubject: Inside\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n<p>Gr&uuml;\xdfe aus K\xf6ln"
	w.deliver("INBOX", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"+
		"Eins zwei\r\ndrei-vier-fünf-sechs\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"+inside+"\r\n--b--\r\n")
	f, err := w.account.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	err = f.Content(w.messages("INBOX")[0], func(c *mailbox.Content) error {
		s, err := c.Structure()
		if err != nil {
			return err
		}
		for want, found := range map[string]bool{
			"eins zwei\r\ndrei": true, "i-vier-fünf-s": true, "sechs": true, "subject: inside": true, "grü": true, "grüße aus köln": true, "&uuml;": true,
			"a@x.testsubject": false, "zwei drei": false, "sechsfrom": false, "insidecontent": false, "": true,
		} {
			var whole texts
			whole.of(c)
			if ok, err := whole.inBody(want); ok != found || err != nil {
				t.Errorf("%q: %v, %v", want, ok, err)
			}
			for size := 16; size < 60; size++ {
				var cut texts
				cut.of(c)
				if ok, err := cut.inPieces(s, []byte(want), size); ok != found || err != nil {
					t.Errorf("%q in pieces of %d: %v, %v", want, size, ok, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
