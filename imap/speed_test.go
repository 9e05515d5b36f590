package imap

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"mailproxy/proxy/mailbox"
)

// BenchmarkCommand is what a client waits for commands that read a folder of 2,000
// messages, over TCP; NOOP is what the way there and back costs by itself.
func BenchmarkCommand(b *testing.B) {
	w := newWorld(b)
	const header = "From: Ann Archer <ann%d@x.test>\r\nTo: Bob Baker <bob@y.test>, <carl@z.test>\r\nCc: <dora@z.test>\r\n" +
		"Subject: some words of this and that%s\r\nDate: Sun, 22 Nov 2026 10:00:00 +0100\r\n" +
		"Message-ID: <m%d@x.test>\r\nIn-Reply-To: <r%d@x.test>\r\n\r\nshort\r\n"
	text := strings.Repeat("Some words of a letter that are nothing but text, a line of them and another one.\r\n", 100)
	for i := range 2000 {
		word, flags := "", []string{mailbox.FlagSeen}
		if i%20 == 0 {
			word, flags = " heliograph", nil
		}
		w.deliver("INBOX", fmt.Sprintf(header, i, word, i, i)+text, flags...)
	}
	for _, command := range []string{
		"NOOP", "SEARCH UNSEEN", "SEARCH SUBJECT heliograph", "SEARCH BODY quicksilver", "FETCH 1:* (FLAGS)", "FETCH 1:* (ENVELOPE)",
	} {
		b.Run(command, func(b *testing.B) {
			l := w.login()
			l.ok("SELECT INBOX")
			b.ReportAllocs()
			for b.Loop() {
				l.write("b " + command + "\r\n")
				for {
					part, err := l.r.ReadSlice('\n')
					if err != nil {
						b.Fatal(err)
					}
					if bytes.HasPrefix(part, []byte("b OK")) {
						break
					}
				}
			}
		})
	}
}

// BenchmarkMove is what a client waits for until all messages of a folder of 2,000
// are in another one, synced.
func BenchmarkMove(b *testing.B) {
	w := newWorld(b)
	for i := range 2000 {
		w.deliver("INBOX", letter(i))
	}
	l := w.login()
	from, to := "INBOX", "Archive"
	b.ReportAllocs()
	for b.Loop() {
		l.ok("SELECT " + from)
		l.write("b MOVE 1:* " + to + "\r\n")
		l.expect("b OK")
		from, to = to, from
	}
}
