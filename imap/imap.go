// Package imap is the IMAP front end: mail programs read the folders of
// proxy/mailbox through it, by IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051).
//
// The protocol is github.com/emersion/go-imap/v2's imapserver. Between it and
// the connection stands a wire (see wire.go), which bounds what a client can
// send and keeps literals from running as commands. The package knows the
// mailbox and nothing else of mailproxy: what a client does here causes no
// packet. proxy imports it.
package imap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailproxy/internal/accept"
	"mailproxy/proxy/mailbox"
)

// The limits and timeouts. go-imap has more of its own: 30 s for a command to
// arrive and for a response to leave, 5 min for a literal, 35 min of silence
// between commands (RFC 9051 section 5.4 asks for 30 at least, once logged in).
const (
	maxConns         = 256
	handshakeTimeout = 30 * time.Second
	loginTimeout     = time.Minute // silence before the login, in what go-imap gives more
	badPasswordDelay = time.Second
	maxBadPasswords  = 5  // of one connection
	maxBadCommands   = 10 // of one connection, in a row
)

// DefaultMaxMessage is Options.MaxMessage where that is 0, in bytes.
const DefaultMaxMessage = 25 << 20

// Options configure a Server.
type Options struct {
	Mailboxes *mailbox.Store
	// Auth checks a password and returns the account that it opens. For a wrong
	// one it returns mailbox.ErrBadPassword; any other error is reported as a
	// temporary failure. It is called from many goroutines; ctx ends with Close.
	Auth func(ctx context.Context, username, password string) (account string, err error)
	// TLS is used for STARTTLS; nil offers none. A listener given to Serve may be
	// one of crypto/tls, whose connections are secure from the start.
	TLS *tls.Config
	// AllowPlaintext permits to log in without TLS.
	AllowPlaintext bool
	// Logger receives warnings, never what a client sent; nil discards them.
	Logger *slog.Logger
	// MaxMessage is the largest message that APPEND takes, in bytes.
	MaxMessage int64
	// Now dates what is appended without a date; nil means time.Now.
	Now func() time.Time
	// BadPasswordDelay is how long the answer to a wrong password is held back,
	// so that guessing is slow; 0 means a second.
	BadPasswordDelay time.Duration
}

// A Server serves IMAP on any number of listeners. Close must be called.
type Server struct {
	o      Options
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	// Two servers of the library, since it decides by the type of a connection
	// whether that is secure, and ours are all wires.
	plain, secure *accept.Feed

	wg sync.WaitGroup // everything that Close waits for; its first Add is under mu, with closed false

	mu     sync.Mutex // guards what follows
	closed bool
	wires  map[*wire]uint64 // and how many came before it
	came   uint64           // how many wires
}

// caps are what the library cannot know of us. Together with what it always
// carries (IDLE, ENABLE, UNSELECT, SASL-IR, UTF8=ACCEPT) it is what is announced.
var caps = goimap.CapSet{
	goimap.CapIMAP4rev1: {}, goimap.CapIMAP4rev2: {},
	goimap.CapNamespace: {}, goimap.CapUIDPlus: {}, goimap.CapESearch: {}, goimap.CapSearchRes: {},
	goimap.CapListExtended: {}, goimap.CapListStatus: {}, goimap.CapMove: {}, goimap.CapStatusSize: {},
	goimap.CapBinary: {}, goimap.CapChildren: {}, goimap.CapSpecialUse: {}, goimap.CapCreateSpecialUse: {},
	goimap.CapLiteralPlus: {},
}

// New returns a server that does not listen yet.
func New(o Options) *Server {
	if o.MaxMessage <= 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	o.MaxMessage = min(o.MaxMessage, math.MaxUint32) // APPENDLIMIT has 32 bits
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.BadPasswordDelay == 0 {
		o.BadPasswordDelay = badPasswordDelay
	}
	s := &Server{
		o: o, log: o.Logger, wires: make(map[*wire]uint64),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.plain = s.start(imapserver.Options{TLSConfig: o.TLS, InsecureAuth: o.AllowPlaintext})
	s.secure = s.start(imapserver.Options{InsecureAuth: true})
	return s
}

// start runs one of the library's servers on a feed of connections.
func (s *Server) start(o imapserver.Options) *accept.Feed {
	o.Caps, o.Logger, o.NewSession = caps, libraryLog{s.log}, s.newSession
	f := accept.NewFeed(s.ctx.Done())
	lib := imapserver.New(&o)
	s.wg.Go(func() {
		if err := lib.Serve(f); err != nil {
			s.log.Error("imap: server stopped", "err", err)
		}
	})
	return f
}

// handTo gives the connection to the library, or closes it if the server has ended.
func (w *wire) handTo(f *accept.Feed) {
	if !f.Put(w) {
		w.Close()
	}
}

// Serve accepts connections from ln until Close, then returns nil. It closes ln.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ln.Close()
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	if err := accept.Loop(s.ctx, ln, s.log, s.admit); err != nil {
		return fmt.Errorf("serve imap: %w", err)
	}
	return nil
}

// admit hands a new connection to the library, after its TLS handshake if there
// is to be one, which has a goroutine of its own so that a silent client holds
// up nobody.
func (s *Server) admit(conn net.Conn) {
	tlsConn, isTLS := conn.(*tls.Conn)
	w, err := s.track(newWire(s, conn, isTLS))
	if err != nil {
		if errors.Is(err, errTooMany) && !isTLS {
			// One small write into an empty socket buffer does not block.
			_, err = conn.Write([]byte("* BYE Too many connections; close some and try again\r\n"))
			if err != nil {
				s.log.Debug("imap: refusing a connection", "err", err)
			}
		}
		conn.Close()
		return
	}
	if !isTLS {
		w.handTo(s.plain)
		return
	}
	s.wg.Go(func() { // Close waits for w already, so that this comes in time
		ctx, cancel := context.WithTimeout(s.ctx, handshakeTimeout)
		defer cancel()
		if err := tlsConn.HandshakeContext(ctx); err != nil {
			s.log.Debug("imap: tls handshake failed", "err", err)
			w.Close()
			return
		}
		w.handTo(s.secure)
	})
}

var errTooMany = errors.New("too many connections")

// track registers a connection, so that Close finds it and waits for it. When too many
// are open, it is in the place of the oldest that has not logged in: other people of this
// machine, who cannot, do not keep the owner out.
func (s *Server) track(w *wire) (*wire, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, net.ErrClosed
	}
	n := len(s.wires)
	var away *wire
	if n >= maxConns {
		away = s.oldestStranger()
	}
	// Those that are sent away take a moment to go.
	if n >= 2*maxConns || n >= maxConns && away == nil {
		s.mu.Unlock()
		return nil, errTooMany
	}
	if away != nil {
		away.sent = true
	}
	s.came++
	s.wires[w] = s.came
	s.wg.Add(1)
	s.mu.Unlock()
	if away != nil {
		away.dismiss("Too many connections; this one had not logged in")
	}
	return w, nil
}

// oldestStranger returns the oldest connection that has not logged in and was not sent
// away, or nil. Callers hold s.mu.
func (s *Server) oldestStranger() *wire {
	var oldest *wire
	for w, came := range s.wires {
		if w.account.Load() == nil && !w.detached.Load() && !w.sent && (oldest == nil || came < s.wires[oldest]) {
			oldest = w
		}
	}
	return oldest
}

func (s *Server) untrack(w *wire) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.wires[w]; ok {
		delete(s.wires, w)
		s.wg.Done()
	}
}

// Close closes all listeners and connections and waits for all that the server
// started.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.cancel()
	open := make([]*wire, 0, len(s.wires))
	for w := range s.wires {
		open = append(open, w)
	}
	s.mu.Unlock()
	for _, w := range open {
		w.dismiss("mailproxy is being stopped")
	}
	s.wg.Wait()
	return nil
}

// LogOut ends the connections that are logged in as account, for a password that is no
// longer good, and those of strangers, one of whom may just have been told that it is. It
// does not wait.
func (s *Server) LogOut(account string) {
	var away []*wire
	s.mu.Lock()
	for w := range s.wires {
		if name := w.account.Load(); name == nil || *name == account {
			away = append(away, w)
		}
	}
	s.mu.Unlock()
	for _, w := range away {
		w.dismiss("The password was changed; log in with the new one")
	}
}

// libraryLog takes what go-imap logs: mostly that a client went away, or sent
// something that does not parse. That would be quoted, and could be a secret, so
// that only the kind of event is kept. Our own errors are logged by the session.
type libraryLog struct{ log *slog.Logger }

// Printf implements imapserver.Logger.
func (l libraryLog) Printf(format string, args ...any) {
	if strings.HasPrefix(format, "panic") && len(args) == 2 {
		l.log.Error("imap: panic while serving a connection", "stack", fmt.Sprintf("%s", args[1]))
		return
	}
	l.log.Debug("imap: library", "event", format)
}
