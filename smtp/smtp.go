// Package smtp is the submission front end (RFC 6409): where a mail program
// hands over mail to be sent. It logs the user in, checks the envelope, and
// answers 250 only after the outbox has the message on disk.
//
// It is not a mail server for the world: it listens on loopback, takes nothing
// without a login, relays nowhere, and adds no header. The protocol itself is
// github.com/emersion/go-smtp; what is here is the session, the logins, the limits
// around them, and the library's refusals in words that help. For these TLS is done
// here, below what the library sees. It may import proxy/outbox and proxy/mailbox and is
// imported by proxy.
package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"mailproxy/internal/accept"
	"mailproxy/proxy/outbox"
)

// Defaults of Options.
const (
	DefaultMaxMessage    = 25 << 20 // bytes
	DefaultMaxRecipients = 100
)

// All timeouts and limits that nobody needs to set.
const (
	loginTimeout = time.Minute     // silence before the client has logged in
	idleTimeout  = 5 * time.Minute // silence afterwards; RFC 5321 section 4.5.3.2.7
	writeTimeout = time.Minute     // a reply that the client does not read
	lingerFor    = time.Second     // how long a last reply may take to reach the client
	wrongDelay   = time.Second     // before a wrong password is answered
	wrongLogins  = 3               // wrong passwords until the connection ends
	maxConns     = 100             // open connections; a mail program uses one or two
	// maxAnonymous is how many bytes a connection may send before it has logged
	// in, TLS handshakes included: a login takes less than a tenth of it.
	maxAnonymous = 64 << 10
	// maxCommand is how many bytes a command may have, or an answer in AUTH: a
	// hundred times what RFC 5321 section 4.5.3.1.4 asks for.
	maxCommand   = 64 << 10
	closeGrace   = 5 * time.Second // for submissions that run when Close is called
	maxAddress   = 254             // octets; RFC 5321 section 4.5.3.1.3 less the angle brackets
	maxLocalPart = 64              // octets; RFC 5321 section 4.5.3.1.1
)

// A Submitter takes mail over. Its errors reach the client as they are when they
// are (or wrap) an *refusal.Error; of any other the client hears only that the
// message was not taken and that trying later may help (451). Such errors are
// logged, so they must name no address.
type Submitter interface {
	// CheckSender says whether account may send as from, which is empty for
	// the null reverse-path (RFC 5321 section 4.5.5). It answers MAIL FROM.
	CheckSender(ctx context.Context, account, from string) error
	// CheckRecipient says whether rcpt is an address of the network that can be
	// tried. It answers RCPT TO, so it must not wait for the network.
	CheckRecipient(ctx context.Context, account, rcpt string) error
	// Submit takes over the message that msg reads to io.EOF. When it returns
	// nil, the message is synced to disk. Any other error of msg means that the
	// message has not arrived whole: then nothing may be kept, and Submit
	// returns that error. The context ends some seconds after the server began
	// to close.
	Submit(ctx context.Context, s *outbox.Submission, msg io.Reader) error
}

// Options are the settings of a Server. Submitter and Auth are required, and so
// is TLS unless AllowPlaintext.
type Options struct {
	Submitter Submitter
	// Auth checks a login and returns the account that it opens. An error that is
	// mailbox.ErrBadPassword is answered 535, any other 454.
	Auth func(ctx context.Context, username, password string) (account string, err error)
	// TLS enables STARTTLS, and ServeTLS.
	TLS *tls.Config
	// AllowPlaintext lets clients log in without TLS.
	AllowPlaintext bool
	// MaxMessage is the size of the largest message in bytes, and MaxRecipients
	// the largest number of its recipients; zero means the defaults.
	MaxMessage    int64
	MaxRecipients int
	// Hostname is the name in the greeting; "localhost" if empty.
	Hostname string
	// Logger may be nil.
	Logger *slog.Logger
}

// A Server speaks SMTP on any number of listeners.
type Server struct {
	opts Options
	log  *slog.Logger
	// plain serves connections as they are accepted, secure those within TLS. The
	// library sees no TLS in either: conn does it.
	plain, secure *gosmtp.Server
	feed          *accept.Feed  // of secure: the connections on which STARTTLS was done
	done          chan struct{} // closed when the server closes; ends feed

	ctx    context.Context // ends with Close; of all calls to Submitter and Auth
	cancel context.CancelFunc
	serves sync.WaitGroup // running Serve calls; added to under mu

	mu        sync.Mutex // guards what follows
	closed    bool
	serving   bool // feed is served
	listeners map[net.Listener]struct{}
	conns     map[*conn]uint64 // and how many came before it
	came      uint64           // how many connections
}

// New returns a server that listens nowhere yet.
func New(o Options) (*Server, error) {
	switch {
	case o.Submitter == nil || o.Auth == nil:
		return nil, errors.New("smtp: Submitter and Auth are required")
	case o.TLS == nil && !o.AllowPlaintext:
		return nil, errors.New("smtp: without TLS and AllowPlaintext nobody could log in")
	case o.MaxMessage < 0 || o.MaxMessage > math.MaxInt32 || o.MaxRecipients < 0:
		return nil, errors.New("smtp: a limit is out of range")
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.MaxRecipients == 0 {
		o.MaxRecipients = DefaultMaxRecipients
	}
	if o.Hostname == "" {
		o.Hostname = "localhost"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		opts:      o,
		log:       o.Logger,
		listeners: map[net.Listener]struct{}{},
		conns:     map[*conn]uint64{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())

	s.done = make(chan struct{})
	s.feed = accept.NewFeed(s.done)
	s.plain, s.secure = s.library(o.AllowPlaintext), s.library(true)
	return s, nil
}

// library makes a server of the library; logins says whether they may be made there.
func (s *Server) library(logins bool) *gosmtp.Server {
	l := gosmtp.NewServer(gosmtp.BackendFunc(s.newSession))
	l.Domain = s.opts.Hostname
	l.AllowInsecureAuth = logins
	l.MaxRecipients = s.opts.MaxRecipients
	// The library counts a message of exactly its limit as too large. What it
	// announces is put right by conn.
	l.MaxMessageBytes = s.opts.MaxMessage + 1
	// The library's line limit holds for bodies too, and ends the connection. A
	// body may be one line, and one that is too large must still be read to its
	// end before it is refused; so the limit is far above what is accepted, and
	// commands, and what strangers may send, are bounded by conn.
	l.MaxLineLength = int(2*s.opts.MaxMessage) + 1<<20
	l.EnableSMTPUTF8 = true
	l.EnableDSN = true
	l.ErrorLog = libraryLog{s.log}
	return l
}

// Serve accepts connections on l, which it closes, until Close; then it returns
// nil. Clients begin in plain text and may use STARTTLS.
func (s *Server) Serve(l net.Listener) error { return s.serve(l, nil) }

// ServeTLS is Serve with TLS from the first byte (RFC 8314 section 3.3).
func (s *Server) ServeTLS(l net.Listener) error {
	if s.opts.TLS == nil {
		return errors.Join(errors.New("smtp: there is no TLS configuration"), l.Close())
	}
	return s.serve(l, s.opts.TLS)
}

func (s *Server) serve(l net.Listener, config *tls.Config) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.Join(errors.New("smtp: server is closed"), l.Close())
	}
	s.serves.Add(1)
	s.listeners[l] = struct{}{}
	if !s.serving {
		s.serving = true
		s.serves.Go(func() { _ = s.secure.Serve(s.feed) }) // ends when the feed does
	}
	s.mu.Unlock()
	defer s.serves.Done()

	lib := s.plain
	if config != nil {
		lib = s.secure
	}
	err := lib.Serve(&listener{Listener: l, server: s, tls: config})
	s.mu.Lock()
	delete(s.listeners, l)
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return nil
	}
	if cerr := l.Close(); cerr != nil && !errors.Is(cerr, net.ErrClosed) {
		err = errors.Join(err, cerr)
	}
	return fmt.Errorf("smtp: accept: %w", err)
}

// Close stops listening, ends all connections, and returns when nothing of the
// server runs any more. A message that has arrived whole is still taken over and
// answered; one that has not is dropped, unanswered.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	var err error
	for l := range s.listeners {
		if cerr := l.Close(); cerr != nil && !errors.Is(cerr, net.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	for c := range s.conns {
		c.shutDown("421 4.3.2 mailproxy is being stopped")
	}
	close(s.done)
	s.mu.Unlock()

	grace := time.AfterFunc(closeGrace, s.cancel)
	defer grace.Stop()
	s.serves.Wait()
	// Shutdown waits for the handlers; its error repeats the listeners' being
	// closed already.
	for _, lib := range []*gosmtp.Server{s.plain, s.secure} {
		if serr := lib.Shutdown(context.Background()); serr != nil && !errors.Is(serr, net.ErrClosed) {
			err = errors.Join(err, serr)
		}
	}
	s.cancel()
	if err != nil {
		return fmt.Errorf("smtp: close: %w", err)
	}
	return nil
}

// LogOut ends the connections that are logged in as account, for a password that is no
// longer good, and those of strangers, one of whom may just have been told that it is. A
// message that has arrived whole is still taken over and answered. It does not wait.
func (s *Server) LogOut(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.may(account) {
			c.shutDown("421 4.7.0 the password was changed: log in with the new one")
		}
	}
}

// libraryLog hands the library's messages to slog. They hold remote addresses
// and Go errors, never what a client sent.
type libraryLog struct{ log *slog.Logger }

func (l libraryLog) Printf(format string, v ...any) {
	l.log.Warn("smtp: library", "event", fmt.Sprintf(format, v...))
}

func (l libraryLog) Println(v ...any) { l.log.Warn("smtp: library", "event", fmt.Sprint(v...)) }
