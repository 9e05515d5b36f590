// Package pop3 is the POP3 front end: mail programs fetch the messages of an
// account's Inbox through it, by RFC 1939 with CAPA (RFC 2449), STLS (RFC 2595),
// SASL PLAIN (RFC 5034) and AUTH-RESP-CODE (RFC 3206).
//
// It knows the mailbox and nothing else of mailproxy: what a client does here
// causes no packet. Folders other than Inbox are not reached by POP3, and a
// message that is fetched is not marked as read. proxy imports it.
//
// One session at a time has an account's maildrop (RFC 1939 section 4), and a client
// that is gone does not keep it. The system says at once that a program on this
// machine has ended, and TCP's keep-alive within minutes that one behind a tunnel
// has: then the session ends, and its deletions are void. A login that finds the
// maildrop taken gives such a session lockWait to end before it answers [IN-USE], so
// that a program which was killed and started again gets in. A client that is there
// and silent keeps the maildrop for idleTimeout, since RFC 1939 section 3 promises it
// that; one that stops reading, for writeTimeout.
package pop3

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"mailproxy/internal/accept"
	"mailproxy/proxy/mailbox"
)

// The timeouts and limits.
const (
	loginTimeout     = time.Minute      // silence before the client has logged in
	idleTimeout      = 10 * time.Minute // afterwards; RFC 1939 section 3: at least that
	writeTimeout     = 30 * time.Second // for a client to take the next few KiB
	handshakeTimeout = 30 * time.Second
	badPasswordDelay = time.Second
	lockWait         = 2 * time.Second // for a session whose client is gone to end
	maxBadPasswords  = 5               // of one connection
	maxBadCommands   = 20              // of one connection, in a row
	maxConns         = 128             // open at a time
	maxLine          = 1024            // bytes of a command (RFC 2449 section 4 asks for 255)
	maxAnswer        = 4096            // bytes of a SASL answer
	maxDiscard       = 64 << 10
)

// Options configure a Server.
type Options struct {
	Mailboxes *mailbox.Store
	// Auth checks a password and returns the account that it opens. For a wrong
	// one it returns mailbox.ErrBadPassword; any other error is reported as a
	// temporary failure. It is called from many goroutines; ctx ends with Close.
	Auth func(ctx context.Context, username, password string) (account string, err error)
	// TLS is used for STLS; nil offers none. A listener given to Serve may be one
	// of crypto/tls, whose connections are secure from the start.
	TLS *tls.Config
	// AllowPlaintext permits to log in without TLS.
	AllowPlaintext bool
	// Logger receives warnings, never what a client sent; nil discards them.
	Logger *slog.Logger
	// BadPasswordDelay is how long the answer to a wrong password is held back,
	// so that guessing is slow; 0 means a second.
	BadPasswordDelay time.Duration
}

// A Server serves POP3 on any number of listeners.
type Server struct {
	o      Options
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	wg sync.WaitGroup // connections and Serve calls; added to with mu held and closed false

	mu     sync.Mutex // guards what follows
	closed bool
	conns  map[net.Conn]*guest      // as accepted
	came   uint64                   // how many connections
	locked map[string]chan struct{} // by account, closed when its maildrop is given up
}

// A guest is what the server knows of a connection.
type guest struct {
	account string // empty before the login
	came    uint64 // how many came before it
	sent    bool   // it was turned away for another
}

// New returns a server that does not listen yet.
func New(o Options) *Server {
	if o.BadPasswordDelay == 0 {
		o.BadPasswordDelay = badPasswordDelay
	}
	s := &Server{
		o: o, log: o.Logger,
		conns:  make(map[net.Conn]*guest),
		locked: make(map[string]chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
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
		return fmt.Errorf("serve pop3: %w", err)
	}
	return nil
}

// admit gives a connection its goroutine. When too many are open, it is in the place of
// the oldest that has not logged in: other people of this machine, who cannot, do not
// keep the owner out.
func (s *Server) admit(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return
	}
	if len(s.conns) >= 2*maxConns { // those that are sent away take a moment to go
		conn.Close()
		return
	}
	full := len(s.conns) >= maxConns && !s.makeRoom()
	s.came++
	s.conns[conn] = &guest{came: s.came}
	s.wg.Go(func() {
		if ss := newSession(s, conn); full {
			ss.refuse()
		} else {
			ss.serve()
		}
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	})
}

// makeRoom sends the oldest stranger away; false means that there is none. Callers hold
// s.mu.
func (s *Server) makeRoom() bool {
	var oldest net.Conn
	for conn, g := range s.conns {
		if g.account == "" && !g.sent && (oldest == nil || g.came < s.conns[oldest].came) {
			oldest = conn
		}
	}
	if oldest == nil {
		return false
	}
	s.conns[oldest].sent = true
	interrupt(oldest)
	return true
}

// lock takes the exclusive access that RFC 1939 section 4 asks for. It waits for a
// session that is ending; false means that another holds it, or the server closes.
func (s *Server) lock(account string) bool {
	deadline := time.NewTimer(lockWait)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		held, taken := s.locked[account]
		if !taken {
			s.locked[account] = make(chan struct{})
		}
		s.mu.Unlock()
		if !taken {
			return true
		}
		select {
		case <-held:
		case <-deadline.C:
			return false
		case <-s.ctx.Done():
			return false
		}
	}
}

func (s *Server) unlock(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.locked[account])
	delete(s.locked, account)
}

// Close closes all listeners and connections and waits for all that the server
// started. Sessions that did not QUIT delete nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.cancel()
	for conn := range s.conns {
		interrupt(conn)
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// LogOut ends the connections that are logged in as account, for a password that is no
// longer good, and those of strangers, one of whom may just have been told that it is.
// They delete nothing. It does not wait.
func (s *Server) LogOut(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, g := range s.conns {
		if g.account == "" || g.account == account {
			interrupt(conn)
		}
	}
}

func interrupt(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn() // tls.Conn.Close may wait for a stuck peer
	}
	conn.Close()
}

func (s *Server) loggedIn(accepted net.Conn, account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[accepted].account = account
}
