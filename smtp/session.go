package smtp

import (
	"errors"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	gosmtp "github.com/emersion/go-smtp"

	"mailproxy/proxy/outbox"
	"mailproxy/proxy/refusal"
)

var _ gosmtp.AuthSession = (*session)(nil)

// A session is one client between its greeting and its end, or STARTTLS, after
// which another begins. The library calls it from one goroutine, except for Data,
// which has one of its own when the message comes in chunks (BDAT).
type session struct {
	server *Server
	conn   *conn

	account string // empty before the login
	wrong   int    // wrong passwords so far

	// inData is held while Data runs. Reset and Logout take it, so that no Data
	// outlives its transaction or its connection.
	inData sync.Mutex

	mu       sync.Mutex         // guards what follows
	envelope *outbox.Submission // nil before MAIL
	chunks   *io.PipeReader     // what Data reads from in case of BDAT
}

func (s *Server) newSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	return &session{server: s, conn: c.Conn().(*conn)}, nil // every connection comes from newConn
}

// errOver answers what followed STARTTLS in clear text; nobody hears it.
var errOver = reply(421, [3]int{4, 7, 0}, "nothing may follow STARTTLS before its answer")

// Mail answers MAIL FROM.
func (s *session) Mail(from string, o *gosmtp.MailOptions) error {
	switch {
	case s.conn.over():
		return errOver
	case s.account == "" && !s.conn.secure && !s.server.opts.AllowPlaintext:
		return reply(530, [3]int{5, 7, 0}, "turn on STARTTLS and log in before sending mail")
	case s.account == "":
		return reply(530, [3]int{5, 7, 0}, "log in before sending mail: turn on authentication for outgoing mail")
	case s.current() != nil:
		// The library would keep the recipients of the first MAIL.
		return reply(503, [3]int{5, 5, 1}, "a message has been begun already: finish it, or send RSET")
	case o.Size > s.server.opts.MaxMessage:
		return s.tooLarge()
	case len(o.EnvelopeID) > 100: // RFC 3461 section 4.4
		return reply(501, [3]int{5, 5, 4}, "ENVID is longer than 100 characters")
	}
	if from != "" {
		if problem, code := checkAddress(from, o.UTF8); problem != "" {
			return reply(553, orElse(code, [3]int{5, 1, 7}), "the sender's address "+problem)
		}
	}
	if err := s.server.opts.Submitter.CheckSender(s.server.ctx, s.account, from); err != nil {
		return s.refusal("check sender", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.envelope = &outbox.Submission{
		Account:    s.account,
		From:       from,
		EnvelopeID: o.EnvelopeID,
		Return:     outbox.Return(o.Return),
		UTF8:       o.UTF8,
		Size:       o.Size,
	}
	return nil
}

// Rcpt answers RCPT TO.
func (s *session) Rcpt(to string, o *gosmtp.RcptOptions) error {
	e := s.current()
	if e == nil {
		return reply(503, [3]int{5, 5, 1}, "MAIL comes before RCPT")
	}
	if problem, code := checkAddress(to, e.UTF8); problem != "" {
		return reply(553, orElse(code, [3]int{5, 1, 3}), "the recipient's address "+problem)
	}
	if len(o.OriginalRecipient) > 500 || strings.ContainsFunc(o.OriginalRecipient, unicode.IsControl) {
		return reply(501, [3]int{5, 5, 4}, "ORCPT is too long or has control characters")
	}
	if err := s.server.opts.Submitter.CheckRecipient(s.server.ctx, s.account, to); err != nil {
		return s.refusal("check recipient", err)
	}
	e.Recipients = append(e.Recipients, outbox.Recipient{
		Address:      to,
		Notify:       notify(o.Notify),
		Original:     o.OriginalRecipient,
		OriginalType: strings.ToLower(string(o.OriginalRecipientType)),
	})
	return nil
}

func notify(events []gosmtp.DSNNotify) outbox.Notify {
	var n outbox.Notify
	for _, e := range events {
		switch e {
		case gosmtp.DSNNotifyNever:
			n |= outbox.NotifyNever
		case gosmtp.DSNNotifySuccess:
			n |= outbox.NotifySuccess
		case gosmtp.DSNNotifyFailure:
			n |= outbox.NotifyFailure
		case gosmtp.DSNNotifyDelayed:
			n |= outbox.NotifyDelay
		}
	}
	return n
}

// Data hands the message over; r is the library's reader for DATA, or a pipe of
// the chunks for BDAT. The library reads what is left of r itself.
func (s *session) Data(r io.Reader) error {
	s.inData.Lock()
	defer s.inData.Unlock()
	e := s.current()
	if s.conn.over() {
		return errOver
	}
	if e == nil || len(e.Recipients) == 0 {
		return reply(503, [3]int{5, 5, 1}, "MAIL and RCPT come before the message")
	}
	if pipe, ok := r.(*io.PipeReader); ok {
		s.mu.Lock()
		s.chunks = pipe
		s.mu.Unlock()
		r = &chunkReader{r: r, there: s.conn.there}
	} else {
		s.conn.body(true) // until Reset
		r = &dotReader{r: r, last: s.conn.end}
	}
	b := &body{r: r, left: s.server.opts.MaxMessage}
	err := s.server.opts.Submitter.Submit(s.server.ctx, e, b)
	switch {
	case errors.Is(b.err, errTooLarge):
		return s.tooLarge()
	case b.err != nil && b.err != io.EOF:
		// The message did not arrive whole. If the connection is broken there
		// is nobody to answer; if it was silent for too long, it ends here.
		if !errors.Is(b.err, gosmtp.ErrDataReset) {
			s.conn.end()
		}
		return reply(451, [3]int{4, 4, 2}, "the message did not arrive whole and was not accepted")
	case err != nil:
		return s.refusal("submit", err)
	case b.err != io.EOF:
		// A fault of the Submitter; without the rest it cannot have the message.
		s.server.log.Error("smtp: a message was accepted before its end was read")
		return reply(451, [3]int{4, 3, 0}, "the message could not be accepted because of an internal error")
	}
	return nil
}

// Reset ends the transaction.
func (s *session) Reset() {
	s.inData.Lock()
	defer s.inData.Unlock()
	s.mu.Lock()
	chunks := s.chunks
	s.envelope, s.chunks = nil, nil
	s.mu.Unlock()
	s.conn.body(false)
	if chunks != nil {
		waitUntilClosed(chunks)
	}
}

// waitUntilClosed returns when the library has closed its pipe, which is the last
// that its goroutine for BDAT does. Before that it writes down the result where,
// after a RSET, the next message would find it: an answer to the wrong message.
// The writing end is closed already, so that Read does not wait.
func waitUntilClosed(pipe *io.PipeReader) {
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Microsecond) {
		if _, err := pipe.Read(nil); err == io.ErrClosedPipe {
			return
		}
	}
}

// Logout ends the session.
func (s *session) Logout() error {
	s.Reset()
	return nil
}

func (s *session) current() *outbox.Submission {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.envelope
}

func (s *session) tooLarge() error { return reply(552, [3]int{5, 3, 4}, s.server.tooLarge()) }

// refusal turns an error of a Submitter into a reply.
func (s *session) refusal(doing string, err error) error {
	var r *refusal.Error
	if !errors.As(err, &r) {
		s.server.log.Error("smtp: "+doing+" failed", "err", err)
		return reply(451, [3]int{4, 3, 0}, "mailproxy could not do this now; try again later, and see its log if it stays so")
	}
	if r.Err != nil {
		s.server.log.Warn("smtp: "+doing+" refused", "code", r.Code, "err", r.Err)
	}
	code, enhanced := r.Code, r.Enhanced
	if code < 400 || code > 599 {
		code = 451
	}
	if enhanced[0] != code/100 {
		enhanced = [3]int{code / 100, 0, 0}
	}
	return reply(code, enhanced, r.Text)
}

// maxReply keeps a reply line below the 512 octets of RFC 5321 section 4.5.3.1.5.
const maxReply = 480

// reply makes the one error type that the library passes on unchanged. The text
// is made one line of printable characters.
func reply(code int, enhanced [3]int, text string) *gosmtp.SMTPError {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	for len(text) > maxReply {
		_, n := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-n]
	}
	return &gosmtp.SMTPError{Code: code, EnhancedCode: gosmtp.EnhancedCode(enhanced), Message: text}
}

// checkAddress says what is wrong with an address as the library parsed it, and
// the enhanced code if it is a special one. The library has removed quotes, so a
// local part that needs them could be read in two ways: the network has none.
func checkAddress(a string, utf8Allowed bool) (problem string, code [3]int) {
	local, _, _ := strings.Cut(a, "@")
	switch {
	case len(a) > maxAddress || len(local) > maxLocalPart:
		return "is too long", code
	case !utf8.ValidString(a):
		return "is not valid UTF-8", code
	case strings.ContainsFunc(a, unicode.IsControl) || strings.ContainsAny(a, " \"(),:;<>[\\]") || strings.Count(a, "@") != 1:
		return "has a form that no address of this network has", code
	case !utf8Allowed && strings.ContainsFunc(a, func(r rune) bool { return r > unicode.MaxASCII }):
		return "has characters beyond ASCII, for which the mail program must use SMTPUTF8", [3]int{5, 6, 7} // RFC 6531 section 3.5
	}
	return "", code
}

func orElse(code, otherwise [3]int) [3]int {
	if code == [3]int{} {
		return otherwise
	}
	return code
}
