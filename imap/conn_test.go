package imap

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailproxy/internal/tlstest"
)

// pipes is a listener of in-memory connections.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func TestWrongPasswordIsSlow(t *testing.T) {
	mb, _ := newMailbox(t)
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Mailboxes: mb, Auth: checkPassword, AllowPlaintext: true})
		ln := &pipes{make(chan net.Conn), make(chan struct{})}
		served := make(chan error)
		go func() { served <- s.Serve(&once{Listener: ln}) }()
		ours, theirs := net.Pipe()
		ln.conns <- theirs
		l := newLine(t, ours)
		l.expect("* OK")
		began := time.Now()
		l.status("LOGIN a b", "NO [AUTHENTICATIONFAILED]")
		if d := time.Since(began); d != time.Second {
			t.Errorf("a wrong password was answered after %v", d)
		}
		// Close does not wait for the delay.
		l.write("x LOGIN a b\r\n")
		synctest.Wait()
		began = time.Now()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("close took %v", d)
		}
		<-served
	})
}

// once closes a listener only once: Serve and Close both do.
type once struct {
	net.Listener
	closed bool
}

func (o *once) Close() error {
	if o.closed {
		return nil
	}
	o.closed = true
	return o.Listener.Close()
}

// RFC 9051 section 3.4: a connection is not closed without a BYE and the reason.
func TestLastWords(t *testing.T) {
	w := newWorld(t)
	reader, idler, stranger := w.login(), w.login(), w.dial()
	reader.ok("SELECT INBOX")
	idler.ok("SELECT INBOX")
	idler.write("i IDLE\r\n")
	idler.expect("+ ")
	w.waiting()
	w.server.LogOut("carl@south.test")
	within(t, stranger.closed(), "* BYE The password was changed")
	reader.ok("NOOP")
	w.waiting()
	if err := w.server.Close(); err != nil {
		t.Error(err)
	}
	within(t, reader.closed(), "* BYE mailproxy is being stopped\r\n")
	within(t, idler.closed(), "* BYE mailproxy is being stopped\r\n")
}

// waiting returns once the server waits for each client: one that has an answer may have
// it a moment sooner.
func (w *world) waiting() {
	w.t.Helper()
	all := func() bool {
		w.server.mu.Lock()
		defer w.server.mu.Unlock()
		for c := range w.server.wires {
			if !c.waiting.Load() {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(2 * time.Minute); !all(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatal("the server is busy")
		}
	}
}

func TestSilentClientsAreDropped(t *testing.T) {
	mb, _ := newMailbox(t)
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Mailboxes: mb, Auth: checkPassword, AllowPlaintext: true})
		ln := &pipes{make(chan net.Conn), make(chan struct{})}
		served := make(chan error)
		go func() { served <- s.Serve(&once{Listener: ln}) }()
		ours, theirs := net.Pipe()
		ln.conns <- theirs
		l := &line{t: t, conn: ours}
		began := time.Now()
		buf := make([]byte, 4096)
		for {
			if _, err := l.conn.Read(buf); err != nil {
				break
			}
		}
		if d := time.Since(began); d > time.Minute {
			t.Errorf("a client that never logs in is kept for %v", d)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-served
	})
}

// TestSilentStranger: who does not log in is not kept for long, whatever was said before.
func TestSilentStranger(t *testing.T) {
	mb, _ := newMailbox(t)
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Mailboxes: mb, Auth: checkPassword, AllowPlaintext: true})
		ln := &pipes{make(chan net.Conn), make(chan struct{})}
		served := make(chan error)
		go func() { served <- s.Serve(&once{Listener: ln}) }()
		ours, theirs := net.Pipe()
		ln.conns <- theirs
		l := newLine(t, ours)
		l.expect("* OK")
		l.status("NOOP", "OK")
		began := time.Now()
		if err := ours.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		within(t, l.closed(), "* BYE Nothing came for too long")
		if d := time.Since(began); d > loginTimeout {
			t.Errorf("a client that never logs in is kept for %v", d)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-served
	})
}

// TestStrangersMakeRoom: those who cannot log in do not keep out the one who can, nor do
// they end what he has.
func TestStrangersMakeRoom(t *testing.T) {
	w := newWorld(t)
	mine := w.client(nil)
	first := w.dial()
	for range maxConns - 2 {
		w.dial()
	}
	w.waiting()
	if err := w.client(nil).Noop().Wait(); err != nil {
		t.Error(err)
	}
	within(t, first.closed(), "* BYE Too many connections; this one had not logged in")
	if err := mine.Noop().Wait(); err != nil {
		t.Error(err)
	}
}

func TestImplicitTLS(t *testing.T) {
	server, client := tlstest.Configs()
	w := newWorld(t, func(o *Options) { o.AllowPlaintext = false })
	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	w.serve(ln)
	silent, err := net.Dial("tcp", ln.Addr().String()) // never shakes hands, and holds up nobody
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	conn, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	l := newLine(t, conn)
	l.expect("* OK")
	l.ok("LOGIN " + user + ` "` + password + `"`)
	l.ok("SELECT INBOX")
	w.dial().status("STARTTLS", "NO") // there is no certificate for the other listener
}

// TestCloseWhileConnecting closes a server that is being connected to.
func TestCloseWhileConnecting(t *testing.T) {
	server, client := tlstest.Configs()
	for range 10 {
		w := newWorld(t)
		ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
		if err != nil {
			t.Fatal(err)
		}
		w.serve(ln)
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				addr := w.addr
				if i%2 == 0 {
					addr = ln.Addr().String()
				}
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					return // closed already
				}
				defer conn.Close()
				if i == 0 {
					tls.Client(conn, client).Handshake() // it may fail
				}
				// A listener that is closed may take a connection with it that has just been
				// made, without a word; the system says so to who writes.
				conn.Write([]byte("a NOOP\r\n"))
				conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("a connection stayed open")
				}
			})
		}
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}
