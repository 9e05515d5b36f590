package imap

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestCapabilities(t *testing.T) {
	server, _ := testTLS(t)
	w := newWorld(t, func(o *Options) { o.AllowPlaintext, o.TLS = false, server })
	before := w.dial().ok("CAPABILITY")
	for _, want := range []string{"IMAP4rev1", "IMAP4rev2", "STARTTLS", "LOGINDISABLED", "SASL-IR", "LITERAL-"} {
		if !strings.Contains(before, " "+want) {
			t.Errorf("before the login: no %s in %s", want, before)
		}
	}
	if strings.Contains(before, "AUTH=") {
		t.Errorf("a password is asked for in clear text: %s", before)
	}
	w.server.Close()

	w = newWorld(t)
	l := w.login()
	after := l.ok("CAPABILITY")
	for _, want := range []string{
		"IMAP4rev1", "IMAP4rev2", "SASL-IR", "LITERAL+", "UNSELECT", "ENABLE", "IDLE", "UTF8=ACCEPT", "NAMESPACE", "UIDPLUS",
		"ESEARCH", "SEARCHRES", "LIST-EXTENDED", "LIST-STATUS", "MOVE", "STATUS=SIZE", "BINARY", "CHILDREN", "SPECIAL-USE",
		"CREATE-SPECIAL-USE", "APPENDLIMIT=1048576",
	} {
		if !strings.Contains(after+" ", " "+want+" ") && !strings.Contains(after, " "+want+"\n") {
			t.Errorf("no %s in %s", want, after)
		}
	}
	for _, not := range []string{"LITERAL-", "CONDSTORE", "QRESYNC", "SORT", "THREAD", "QUOTA", " ID ", "COMPRESS", "MULTIAPPEND", "STARTTLS"} {
		if strings.Contains(after, not) {
			t.Errorf("%s is announced: %s", not, after)
		}
	}
	if answer := l.ok("NAMESPACE"); !strings.Contains(answer, `* NAMESPACE (("" "/")) NIL NIL`) {
		t.Errorf("namespace %s", answer)
	}
}

// TestPasswordIsChecked is for a password that is taken and never checked.
func TestPasswordIsChecked(t *testing.T) {
	w := newWorld(t)
	l := w.dial()
	answer := l.status(`LOGIN `+user+` wrong`, "NO [AUTHENTICATIONFAILED] Wrong user name or password")
	if strings.Contains(answer, "wrong ") {
		t.Errorf("the answer repeats the password: %s", answer)
	}
	l.status(`LOGIN nobody "`+password+`"`, "NO [AUTHENTICATIONFAILED]")
	l.status("SELECT INBOX", "BAD")
	answer = l.status("LOGIN broken x", "NO [UNAVAILABLE]")
	if strings.Contains(answer, "secret") {
		t.Errorf("the answer tells an internal error: %s", answer)
	}
	l.status("AUTHENTICATE PLAIN AGFubkBub3J0aC50ZXN0AHdyb25n", "NO [AUTHENTICATIONFAILED]") // \0ann@north.test\0wrong
	l.status("AUTHENTICATE PLAIN !!!", "BAD")
	l.status("AUTHENTICATE GSSAPI", "NO")
	// Without an initial response, cancelled, too long, and right.
	for _, tc := range []struct{ answer, want string }{
		{"*", "BAD"}, {strings.Repeat("A", 2*maxAnswer), "BAD"}, {"AGFubkBub3J0aC50ZXN0AG9wZW4gc2VzYW1l", "OK"},
	} {
		l.write("p AUTHENTICATE PLAIN\r\n")
		l.expect("+")
		l.write(tc.answer + "\r\n")
		if got := l.expect("p "); !strings.HasPrefix(got, "p "+tc.want) {
			t.Errorf("answered %.20s with %q, want %s", tc.answer, got, tc.want)
		}
	}
	l.ok("SELECT INBOX")

	l = w.dial()
	for range maxBadPasswords - 1 {
		l.status("LOGIN a b", "NO")
	}
	l.write("x LOGIN a b\r\n")
	if got := l.closed(); strings.Contains(got, "OK") {
		t.Errorf("after many wrong passwords: %q", got)
	}
}

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

func TestStartTLS(t *testing.T) {
	server, client := testTLS(t)
	w := newWorld(t, func(o *Options) { o.AllowPlaintext, o.TLS = false, server })
	l := w.dial()
	l.status("LOGIN "+user+` "`+password+`"`, "NO [PRIVACYREQUIRED]")
	l.status("AUTHENTICATE PLAIN AGFubkBub3J0aC50ZXN0AG9wZW4gc2VzYW1l", "NO [PRIVACYREQUIRED]")
	l.status("STARTTLS now", "BAD")
	l.ok("STARTTLS")
	secured := tls.Client(l.conn, client)
	l = newLine(t, secured)
	if caps := l.ok("CAPABILITY"); strings.Contains(caps, "STARTTLS") || strings.Contains(caps, "LOGINDISABLED") || !strings.Contains(caps, "AUTH=PLAIN") {
		t.Errorf("inside TLS: %s", caps)
	}
	l.status("STARTTLS", "NO")
	l.ok("LOGIN " + user + ` "` + password + `"`)
	l.ok("SELECT INBOX")
	l.ok("LOGOUT")

	// RFC 9051 section 6.2.1: what came before TLS must not be run inside it.
	l = w.dial()
	l.write("a STARTTLS\r\nb NOOP\r\n")
	l.expect("a OK")
	if err := tls.Client(l.conn, client).Handshake(); err == nil {
		t.Error("a handshake succeeded with commands before it")
	}
}

func TestImplicitTLS(t *testing.T) {
	server, client := testTLS(t)
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
	server, client := testTLS(t)
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
				conn.SetReadDeadline(time.Now().Add(10 * time.Second))
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
