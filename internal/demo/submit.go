package demo

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/smtp"
	"net/textproto"
	"os"
	"strings"
)

// An AnswerError is SMTP's refusal of a message.
type AnswerError struct {
	Code int
	Text string
}

// Error returns the answer as it came.
func (e *AnswerError) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Text) }

// Submit hands a message to the daemon by SMTP with STARTTLS, as a mail program
// would. It returns an *AnswerError if the message is refused.
func (w *World) Submit(from Account, to string, message []byte) error {
	err := w.submit(from, to, message)
	var answer *textproto.Error
	if errors.As(err, &answer) {
		return &AnswerError{Code: answer.Code, Text: answer.Msg}
	}
	return err
}

func (w *World) submit(from Account, to string, message []byte) (err error) {
	ca, err := os.ReadFile(w.Daemon.CAFile())
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	c, err := smtp.Dial(w.Daemon.Address("smtp").String())
	if err != nil {
		return fmt.Errorf("connect to SMTP: %w", err)
	}
	defer c.Close() // after QUIT it is closed already, before it the connection is given up
	if err := c.StartTLS(&tls.Config{RootCAs: roots, ServerName: "localhost"}); err != nil {
		return fmt.Errorf("start TLS: %w", err)
	}
	if err := c.Auth(smtp.PlainAuth("", from.Username, from.Password, "127.0.0.1")); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	if err := c.Mail(from.Address); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	data, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := data.Write(message); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	if err := data.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// WithFrom returns message with its From replaced by address, as a mail program
// sends under its own identity only. All other bytes stay as they are.
func WithFrom(message []byte, address string) []byte {
	out := []byte("From: " + address + "\r\n")
	rest := message
	skipping := false
	for len(rest) > 0 {
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			end = len(rest)
		}
		line := rest[:end]
		folded := line[0] == ' ' || line[0] == '\t'
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break // the body begins
		}
		if !folded {
			name, _, ok := strings.Cut(string(line), ":")
			skipping = ok && strings.EqualFold(strings.TrimRight(name, " \t"), "from")
		}
		if !skipping {
			out = append(out, line...)
		}
		rest = rest[end:]
	}
	return append(out, rest...)
}
