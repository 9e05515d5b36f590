//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"net/textproto"
	"sync"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// fetchers is how many mail programs fetch at once: as many connections as
// Thunderbird opens.
const fetchers = 5

// together runs do for 0 to n-1, k at a time, and returns all errors.
func together(n, k int, do func(i int) error) error {
	next := make(chan int)
	errs := make([]error, k)
	var wg sync.WaitGroup
	for w := range k {
		wg.Go(func() {
			for i := range next {
				if errs[w] == nil {
					errs[w] = do(i)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}

// submitAll submits all mails at once: every second one by DATA, the others by
// BDAT.
func (m *measurement) submitAll(context.Context) error {
	m.began = time.Now()
	return together(m.messages, m.messages, func(n int) error {
		if n%2 == 0 {
			return m.submitData(n)
		}
		return m.submitChunks(n)
	})
}

func (m *measurement) submitData(n int) error {
	c, err := smtp.Dial(m.SMTP)
	if err != nil {
		return err
	}
	defer c.Close() // after QUIT it is closed already
	if err := c.StartTLS(m.trust); err != nil {
		return err
	}
	if err := c.Auth(smtp.PlainAuth("", alice, password, "127.0.0.1")); err != nil {
		return err
	}
	if err := c.Mail(alice); err != nil {
		return err
	}
	if err := c.Rcpt(bob); err != nil {
		return err
	}
	data, err := c.Data()
	if err != nil {
		return err
	}
	if err := writeMail(data, n, m.bytes); err != nil {
		return err
	}
	if err := data.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// A liner speaks a protocol of lines.
type liner struct {
	conn net.Conn
	*textproto.Conn
}

func newLiner(conn net.Conn) *liner { return &liner{conn, textproto.NewConn(conn)} }

// ask sends a line and reads the answer of SMTP with that code.
func (l *liner) ask(code int, format string, args ...any) error {
	if err := l.PrintfLine(format, args...); err != nil {
		return err
	}
	_, _, err := l.ReadResponse(code)
	return err
}

// chunk is how many bytes a BDAT carries.
const chunk = 256 << 10

// submitChunks submits by BDAT (RFC 3030), which net/smtp does not know.
func (m *measurement) submitChunks(n int) (err error) {
	conn, err := net.Dial("tcp", m.SMTP)
	if err != nil {
		return err
	}
	defer conn.Close() // nothing is expected of it any more
	l := newLiner(conn)
	if _, _, err := l.ReadResponse(220); err != nil {
		return err
	}
	if err := errors.Join(l.ask(250, "EHLO localhost"), l.ask(220, "STARTTLS")); err != nil {
		return err
	}
	l = newLiner(tls.Client(conn, m.trust))
	login := base64.StdEncoding.EncodeToString([]byte("\x00" + alice + "\x00" + password))
	err = errors.Join(l.ask(250, "EHLO localhost"), l.ask(235, "AUTH PLAIN %s", login),
		l.ask(250, "MAIL FROM:<%s>", alice), l.ask(250, "RCPT TO:<%s>", bob))
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(chunkWriter{l}, chunk)
	if err := writeMail(w, n, m.bytes); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return errors.Join(l.ask(250, "BDAT 0 LAST"), l.ask(221, "QUIT"))
}

// A chunkWriter sends each Write as a chunk.
type chunkWriter struct{ l *liner }

func (w chunkWriter) Write(p []byte) (int, error) {
	if err := w.l.PrintfLine("BDAT %d", len(p)); err != nil {
		return 0, err
	}
	if _, err := w.l.conn.Write(p); err != nil { // PrintfLine has flushed
		return 0, err
	}
	_, _, err := w.l.ReadResponse(250)
	return len(p), err
}

func (m *measurement) imap(account string) (*imapclient.Client, error) {
	c, err := imapclient.DialStartTLS(m.IMAP, &imapclient.Options{TLSConfig: m.trust})
	if err != nil {
		return nil, err
	}
	if err := c.Login(account, password).Wait(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// count returns how many mails INBOX has.
func count(c *imapclient.Client) (int, error) {
	s, err := c.Status("INBOX", &goimap.StatusOptions{NumMessages: true}).Wait()
	if err != nil {
		return 0, err
	}
	return int(*s.NumMessages), nil
}

// fetchAll has several mail programs fetch all mails at the same time.
func (m *measurement) fetchAll(context.Context) error {
	return together(fetchers, fetchers, func(int) error {
		c, err := m.imap(bob)
		if err != nil {
			return err
		}
		return errors.Join(m.fetch(c), c.Close())
	})
}

func (m *measurement) fetch(c *imapclient.Client) error {
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		return err
	}
	var all goimap.SeqSet
	all.AddRange(1, 0)
	cmd := c.Fetch(all, &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{{Peek: true}}})
	seen := map[int]bool{}
	for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
		for item := msg.Next(); item != nil; item = msg.Next() {
			body, ok := item.(imapclient.FetchItemDataBodySection)
			if !ok {
				continue
			}
			var d digest
			if _, err := io.Copy(&d, body.Literal); err != nil {
				return err
			}
			n, err := d.number(m.want)
			if err != nil {
				return err
			}
			seen[n] = true
		}
	}
	if err := cmd.Close(); err != nil {
		return err
	}
	if len(seen) != m.messages {
		return fmt.Errorf("%d of %d mails came", len(seen), m.messages)
	}
	return nil
}

// retrieveAll has a mail program retrieve all mails by POP3.
func (m *measurement) retrieveAll(context.Context) error {
	conn, err := net.Dial("tcp", m.POP3)
	if err != nil {
		return err
	}
	defer conn.Close() // nothing is expected of it any more
	l := newLiner(conn)
	ok := func(format string, args ...any) error {
		if format != "" {
			if err := l.PrintfLine(format, args...); err != nil {
				return err
			}
		}
		line, err := l.ReadLine()
		if err == nil && (len(line) < 3 || line[:3] != "+OK") {
			err = fmt.Errorf("pop3: %s", line)
		}
		return err
	}
	if err := errors.Join(ok(""), ok("STLS")); err != nil {
		return err
	}
	l = newLiner(tls.Client(conn, m.trust))
	if err := errors.Join(ok("USER %s", bob), ok("PASS %s", password)); err != nil {
		return err
	}
	seen := map[int]bool{}
	for i := range m.messages {
		if err := ok("RETR %d", i+1); err != nil {
			return err
		}
		var d digest
		// DotReader makes LF of CRLF; the mails have no LF alone.
		lines := bufio.NewScanner(l.DotReader())
		for lines.Scan() {
			d.Write(lines.Bytes())
			d.Write([]byte("\r\n"))
		}
		if err := lines.Err(); err != nil {
			return err
		}
		n, err := d.number(m.want)
		if err != nil {
			return err
		}
		seen[n] = true
	}
	if len(seen) != m.messages {
		return fmt.Errorf("%d of %d mails came", len(seen), m.messages)
	}
	return ok("QUIT")
}

// appendAll puts a copy of all mails into alice's Sent, as mail programs do.
func (m *measurement) appendAll(context.Context) error {
	return together(m.messages, m.messages, func(n int) error {
		c, err := m.imap(alice)
		if err != nil {
			return err
		}
		return errors.Join(m.append(c, n), c.Close())
	})
}

func (m *measurement) append(c *imapclient.Client, n int) error {
	var size counter
	if err := writeMail(&size, n, m.bytes); err != nil {
		return err
	}
	cmd := c.Append("Sent", int64(size), nil)
	if err := writeMail(cmd, n, m.bytes); err != nil {
		return err
	}
	if err := cmd.Close(); err != nil {
		return err
	}
	_, err := cmd.Wait()
	return err
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
