package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailproxy/internal/demo"
)

// clientPatience is how long a mail client waits for anything. A child that is
// killed closes its connections at once.
const clientPatience = 30 * time.Second

// A session is one life of the child, as mail clients see it.
type session struct {
	ready
	life    int
	ledger  *ledger
	pending int // see options
	roots   *tls.Config
}

func newSession(r ready, life int, t *torturer) (*session, error) {
	pem, err := os.ReadFile(r.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the daemon's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", r.CAFile)
	}
	return &session{ready: r, life: life, ledger: t.ledger, pending: t.pending, roots: &tls.Config{RootCAs: roots, ServerName: "localhost"}}, nil
}

// A patientConn fails when no answer comes for clientPatience.
type patientConn struct{ net.Conn }

// Write implements net.Conn.
func (c patientConn) Write(b []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(clientPatience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(clientPatience)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return patientConn{conn}, nil
}

// send submits mail as one of the accounts until ctx ends or the child is gone.
func (s *session) send(ctx context.Context, from demo.Account, r *rand.Rand) {
	for ctx.Err() == nil {
		c, err := s.dialSMTP(ctx, from)
		if err != nil {
			s.hiccup(ctx, fmt.Errorf("connect to SMTP: %w", err))
			return
		}
		for err == nil && ctx.Err() == nil {
			if err = s.pause(ctx, r); err == nil {
				err = s.submit(c, from.Address, r)
			}
		}
		_ = c.Close() // given up, or gone with the child
		if !errors.Is(err, errAborted) {
			s.hiccup(ctx, err)
			return
		}
	}
}

// hiccup notes an error that did not come of the child's end. The end of a child
// is seen by its connections before its parent has been told, so it waits a
// moment for that.
func (s *session) hiccup(ctx context.Context, err error) {
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
		s.ledger.blame("a mail client met, in life %d: %v", s.life, err)
	}
}

// pause waits as people do between mails, and while much is on its way.
func (s *session) pause(ctx context.Context, r *rand.Rand) error {
	wait := time.Duration(r.ExpFloat64() * float64(60*time.Millisecond))
	for {
		_, arrived := s.ledger.changes()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		if s.ledger.pending() < s.pending {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-arrived:
		}
	}
}

func (s *session) dialSMTP(ctx context.Context, from demo.Account) (*smtp.Client, error) {
	conn, err := dial(ctx, s.SMTP)
	if err != nil {
		return nil, err
	}
	c, err := smtp.NewClient(conn, "127.0.0.1")
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err = c.StartTLS(s.roots); err == nil {
		err = c.Auth(smtp.PlainAuth("", from.Username, from.Password, "127.0.0.1"))
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// errAborted ends a connection that the client gives up in the middle of a mail.
var errAborted = errors.New("gone in the middle of a message, on purpose")

// submit sends one mail and notes what became of it.
func (s *session) submit(c *smtp.Client, from string, r *rand.Rand) error {
	m := &mail{from: from, to: drawRecipients(r, from)}
	body := s.ledger.begin(m, s.life, func(number int) []byte { return drawBody(r, number) })
	abort := r.IntN(40) == 0
	data, err := s.envelope(c, m)
	if err != nil {
		s.ended(m, aborted, err)
		return err
	}
	message := m.message(body)
	if abort {
		message = message[:len(message)-r.IntN(len(body))-1]
	}
	if _, err := data.Write(message); err != nil {
		s.ended(m, aborted, err)
		return err
	}
	if abort {
		// What the writer holds back is flushed by the next command, so that all
		// but the end is there.
		err := c.Text.W.Flush()
		s.ended(m, aborted, err)
		return errors.Join(errAborted, c.Close())
	}
	// Close sends the end of the message, and waits for the answer.
	if err := data.Close(); err != nil {
		s.ended(m, unknown, err)
		return err
	}
	s.ended(m, accepted, nil)
	return nil
}

func (s *session) envelope(c *smtp.Client, m *mail) (io.WriteCloser, error) {
	if err := c.Mail(m.from); err != nil {
		return nil, err
	}
	for _, to := range m.to {
		if err := c.Rcpt(to); err != nil {
			return nil, err
		}
	}
	return c.Data()
}

// ended notes what became of a mail: o, unless the server answered.
func (s *session) ended(m *mail, o outcome, err error) {
	var answer *textproto.Error
	if errors.As(err, &answer) {
		s.ledger.end(m, refused, answer.Error())
		return
	}
	s.ledger.end(m, o, "")
}

// read looks at one INBOX until ctx ends or the child is gone: first at all of
// it, then at what is new. It expunges some of what it has seen.
func (s *session) read(ctx context.Context, account demo.Account, r *rand.Rand) {
	err := s.reading(ctx, account, func(c *imapclient.Client) error {
		for {
			if err := s.fetchNew(c, account.Address, r); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	s.hiccup(ctx, err)
}

// readAll looks at one whole INBOX, bodies and all, once.
func (s *session) readAll(ctx context.Context, account demo.Account) error {
	return s.reading(ctx, account, func(c *imapclient.Client) error {
		_, err := s.fetchFrom(c, account.Address, 1)
		return err
	})
}

// reading logs in, checks what was there before, and calls more.
func (s *session) reading(ctx context.Context, account demo.Account, more func(*imapclient.Client) error) error {
	conn, err := dial(ctx, s.IMAP)
	if err != nil {
		return fmt.Errorf("connect to IMAP: %w", err)
	}
	c, err := imapclient.NewStartTLS(conn, &imapclient.Options{TLSConfig: s.roots})
	if err != nil {
		return errors.Join(fmt.Errorf("connect to IMAP: %w", err), conn.Close())
	}
	defer c.Close() // given up, or gone with the child
	if err := c.Login(account.Username, account.Password).Wait(); err != nil {
		return fmt.Errorf("log in to IMAP: %w", err)
	}
	selected, err := c.Select("INBOX", nil).Wait()
	if err != nil {
		return fmt.Errorf("select INBOX: %w", err)
	}
	s.ledger.selected(account.Address, selected.UIDValidity, uint32(selected.UIDNext))
	if err := s.list(c, account.Address, selected.NumMessages); err != nil {
		return err
	}
	return more(c)
}

var subjectSection = &goimap.FetchItemBodySection{
	Specifier: goimap.PartSpecifierHeader, HeaderFields: []string{"Subject"}, Peek: true,
}

var wholeSection = &goimap.FetchItemBodySection{Peek: true}

// list checks UIDs and subjects of all messages against what was seen before.
func (s *session) list(c *imapclient.Client, account string, n uint32) error {
	subjects := map[uint32]string{}
	if n > 0 {
		messages, err := c.Fetch(goimap.SeqSet{{Start: 1, Stop: 0}}, &goimap.FetchOptions{
			UID: true, BodySection: []*goimap.FetchItemBodySection{subjectSection},
		}).Collect()
		if err != nil {
			return fmt.Errorf("list INBOX: %w", err)
		}
		for _, m := range messages {
			subject, _ := split(m.FindBodySection(subjectSection))
			subjects[uint32(m.UID)] = subject
		}
	}
	s.ledger.listed(account, subjects)
	return nil
}

// fetchNew takes in what is above the highest UID known, and expunges some of it.
func (s *session) fetchNew(c *imapclient.Client, account string, r *rand.Rand) error {
	if err := c.Noop().Wait(); err != nil {
		return fmt.Errorf("poll IMAP: %w", err)
	}
	arrivals, err := s.fetchFrom(c, account, s.ledger.known(account)+1)
	if err != nil {
		return err
	}
	for _, a := range arrivals {
		if !a.good || r.IntN(3) != 0 {
			continue
		}
		set := goimap.UIDSetNum(goimap.UID(a.uid))
		s.ledger.expunging(a)
		deleted := &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagDeleted}, Silent: true}
		if err := c.Store(set, deleted, nil).Close(); err != nil {
			return fmt.Errorf("delete message: %w", err)
		}
		if err := c.UIDExpunge(set).Close(); err != nil {
			return fmt.Errorf("expunge message: %w", err)
		}
		s.ledger.expunged(a)
	}
	return nil
}

// fetchFrom takes in the messages from a UID on.
func (s *session) fetchFrom(c *imapclient.Client, account string, from uint32) ([]*arrival, error) {
	messages, err := c.Fetch(goimap.UIDSet{{Start: goimap.UID(from), Stop: 0}}, &goimap.FetchOptions{
		UID: true, BodySection: []*goimap.FetchItemBodySection{wholeSection},
	}).Collect()
	if err != nil {
		return nil, fmt.Errorf("fetch mail: %w", err)
	}
	var arrivals []*arrival
	for _, m := range messages {
		if uint32(m.UID) < from {
			continue // "*" names the last message, however low its UID (RFC 9051 section 9)
		}
		subject, body := split(m.FindBodySection(wholeSection))
		arrivals = append(arrivals, s.ledger.saw(account, uint32(m.UID), subject, body, s.life))
	}
	return arrivals, nil
}

// split returns the subject and the body of a message.
func split(message []byte) (subject string, body []byte) {
	header, body, _ := bytes.Cut(message, []byte("\r\n\r\n"))
	for line := range bytes.SplitSeq(header, []byte("\r\n")) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("subject")) {
			subject = string(bytes.TrimSpace(value))
		}
	}
	return subject, body
}
