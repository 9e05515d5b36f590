package smtp

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// FuzzSession sends bytes to a server, as a stranger and as the user. Whatever
// comes, it ends, and no stranger's mail is taken.
func FuzzSession(f *testing.F) {
	f.Add([]byte("EHLO a\r\nMAIL FROM:<alice@north.test>\r\nRCPT TO:<bob@south.test>\r\nDATA\r\nx\r\n.\r\n"), true)
	f.Add([]byte("BDAT 3 LAST\r\nabc"), false)
	f.Add([]byte("AUTH LOGIN\r\n\r\n\r\nAUTH PLAIN\r\n=\r\n"), false)
	f.Add([]byte("STARTTLS\r\n\x16\x03\x01"), false)
	f.Add([]byte("MAIL FROM:<>\r\nRCPT TO:<b@north.test> NOTIFY=NEVER ORCPT=utf-8;\\x{E4}@x\r\nBDAT 0\r\nRSET\r\nBDAT 1 LAST\r\n"), true)
	f.Fuzz(func(t *testing.T, data []byte, user bool) {
		s := &submitter{}
		o, _ := options(s, func(o *Options) {
			o.MaxMessage = 1 << 12
			o.Auth = func(ctx context.Context, u, p string) (string, error) {
				if user {
					return login(ctx, u, p)
				}
				return "", errors.New("not now")
			}
		})
		server, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ln := onceListener{make(pipeListener), new(bool)}
		done := make(chan error, 1)
		go func() { done <- server.Serve(ln) }()
		client, end := net.Pipe()
		ln.pipeListener <- end
		read := make(chan bool)
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, client)
		}()
		if user {
			_, _ = io.WriteString(client, "EHLO a\r\nAUTH PLAIN AGFsaWNlQG5vcnRoLnRlc3QAd29uZGVybGFuZA==\r\n")
		}
		_, _ = client.Write(data)
		_ = client.Close()
		<-read
		if err := errors.Join(server.Close(), <-done); err != nil {
			t.Error(err)
		}
		if !user && len(s.all()) != 0 {
			t.Error("a stranger's mail was taken")
		}
	})
}

// FuzzDotStuffing sends a body as a client must and wants the same body back.
func FuzzDotStuffing(f *testing.F) {
	for _, s := range []string{"", ".", "a\r", "\r\r\n.\r\n.", "\n.\n", ".\r\r\r\n..\r", "\r\r\n\r\n."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		// On the wire there are only the bytes that matter.
		body = strings.Map(func(r rune) rune { return rune("\r\n.a"[r&3]) }, body)
		r := start(t, nil)
		c := r.dialIn(t)
		defer c.Close()
		c.begin()
		c.cmd("354", "DATA")
		c.send(stuff(body))
		c.expect("250")
		if got := r.one(t); string(got.body) != body+"\r\n" {
			t.Errorf("got %q, want %q", got.body, body+"\r\n")
		}
	})
}
