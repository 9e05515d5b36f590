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
	"time"
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
	_, err := w.SubmitTimed(from, to, message)
	return err
}

// SubmitTimed is Submit, and returns when the 250 for the message was there.
func (w *World) SubmitTimed(from Account, to string, message []byte) (answered time.Time, err error) {
	answered, err = w.submit(from, to, message)
	var answer *textproto.Error
	if errors.As(err, &answer) {
		err = &AnswerError{Code: answer.Code, Text: answer.Msg}
	}
	return answered, err
}

// ClientTLS returns what a mail program has once the user has imported the
// daemon's certificate authority.
func (w *World) ClientTLS() (*tls.Config, error) {
	ca, err := os.ReadFile(w.Daemon.CAFile())
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}, nil
}

func (w *World) submit(from Account, to string, message []byte) (answered time.Time, err error) {
	trust, err := w.ClientTLS()
	if err != nil {
		return answered, err
	}
	c, err := smtp.Dial(w.Daemon.Address("smtp").String())
	if err != nil {
		return answered, fmt.Errorf("connect to SMTP: %w", err)
	}
	defer c.Close() // after QUIT it is closed already, before it the connection is given up
	if err := c.StartTLS(trust); err != nil {
		return answered, fmt.Errorf("start TLS: %w", err)
	}
	if err := c.Auth(smtp.PlainAuth("", from.Username, from.Password, "127.0.0.1")); err != nil {
		return answered, fmt.Errorf("log in: %w", err)
	}
	if err := c.Mail(from.Address); err != nil {
		return answered, err
	}
	if err := c.Rcpt(to); err != nil {
		return answered, err
	}
	data, err := c.Data()
	if err != nil {
		return answered, err
	}
	if _, err := data.Write(message); err != nil {
		return answered, fmt.Errorf("send message: %w", err)
	}
	if err := data.Close(); err != nil {
		return answered, err
	}
	answered = time.Now()
	return answered, c.Quit()
}

// WithFrom returns message with its From replaced by address, as a mail program
// sends under its own identity only. All other bytes stay as they are, and a
// message whose header cannot be taken apart keeps what it has: SMTP says what is
// wrong with it. The separator line of an mbox file stays the first line.
func WithFrom(message []byte, address string) []byte {
	var out []byte
	rest := message
	if bytes.HasPrefix(rest, []byte("From ")) {
		out, rest = cutLine(rest)
		out = bytes.Clone(out)
	}
	out = append(out, "From: "+address+"\r\n"...)
	skipping := false
	for len(rest) > 0 {
		line, after := cutLine(rest)
		text := bytes.TrimRight(line, "\r\n")
		if len(text) == 0 {
			break // the body begins
		}
		if folded := line[0] == ' ' || line[0] == '\t'; !folded {
			name, _, ok := strings.Cut(string(text), ":")
			// With a CR in it there are several lines to some, or a whole message.
			skipping = ok && strings.EqualFold(strings.TrimRight(name, " \t"), "from") && !bytes.ContainsRune(text, '\r')
		}
		if !skipping {
			out = append(out, line...)
		}
		rest = after
	}
	return append(out, rest...)
}

// cutLine cuts b after its first LF.
func cutLine(b []byte) (line, rest []byte) {
	end := bytes.IndexByte(b, '\n') + 1
	if end == 0 {
		end = len(b)
	}
	return b[:end], b[end:]
}
