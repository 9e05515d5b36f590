package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestGarbage(t *testing.T) {
	r := start(t, nil)
	t.Run("tls hello on the starttls port", func(t *testing.T) {
		c := r.dial(t)
		c.send("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
		if got := c.expect("500 5.5.1"); !strings.Contains(got, "STARTTLS") {
			t.Errorf("reply %q", got)
		}
		c.ended()
		if !strings.Contains(r.logs.String(), "STARTTLS port") {
			t.Error("nothing in the log")
		}
	})
	t.Run("a stranger's endless line", func(t *testing.T) {
		c := r.dial(t)
		c.send(strings.Repeat("x", maxAnonymous+1))
		c.expect("500 5.5.2 too much")
		c.ended()
	})
	t.Run("a stranger's endless line inside tls", func(t *testing.T) {
		c := r.dial(t)
		c.cmd("250", "EHLO client.test")
		c.cmd("220", "STARTTLS")
		s := newRaw(t, tls.Client(c.Conn, clientTLS()))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		junk := []byte(strings.Repeat("x", 16<<10))
		for range 1000 {
			if _, err := s.Write(junk); err != nil {
				break
			}
		}
		runtime.ReadMemStats(&after)
		if d := after.TotalAlloc - before.TotalAlloc; d > 10<<20 {
			t.Errorf("allocated %d bytes", d)
		}
		rest, err := io.ReadAll(s.r)
		if err == nil && !strings.Contains(string(rest), "500 5.5.2 too much") {
			t.Errorf("replies %q", rest)
		}
	})
	t.Run("the user's long command", func(t *testing.T) {
		c := r.dialIn(t)
		c.cmd("501", "MAIL FROM:"+strings.Repeat("x", maxCommand-12))
		c.cmd("250", "NOOP")
		// Its end is not waited for: a client may have a hundred connections.
		c.send("MAIL FROM:" + strings.Repeat("x", maxCommand))
		c.expect("500 5.5.2 too much")
		c.ended()
	})
	t.Run("long lines of messages", func(t *testing.T) {
		r := start(t, nil)
		c := r.dialIn(t)
		long := strings.Repeat("x", 3*maxCommand)
		for range 2 {
			c.begin()
			c.cmd("354", "DATA")
			c.send(long + "\r\n.\r\n")
			c.expect("250")
			c.begin()
			c.send(fmt.Sprintf("bdat %d\r\n%sBDAT %d LAST\r\n%s", len(long), long, len(long), long))
			c.expect("250")
			c.expect("250")
			c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(long), long)) // of no message
			c.expect("503")
		}
		c.send("BDAT 1\r\n" + strings.Repeat("x", maxCommand+2))
		c.expect("503")
		c.expect("500 5.5.2 too much")
		c.ended()
		if n := len(r.all()); n != 4 {
			t.Errorf("%d messages were taken", n)
		}
	})
	t.Run("pipelined junk", func(t *testing.T) {
		c := r.dial(t)
		c.send(strings.Repeat("\x00\xff junk\r\n", 1000))
		for range 4 {
			c.expect("50")
		}
		c.expect("421 4.7.0")
		c.ended()
	})
	t.Run("too many connections", func(t *testing.T) {
		r := start(t, nil)
		for range maxConns {
			r.dialIn(t)
		}
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		w := newRaw(t, c)
		w.expect("421 4.3.2")
		w.ended()
	})
	if len(r.all()) != 0 {
		t.Error("something was submitted")
	}
}

// TestStrangersMakeRoom: those who cannot log in do not keep out the one who can, nor do
// they end what he has.
func TestStrangersMakeRoom(t *testing.T) {
	r := start(t, nil)
	mine := r.dialIn(t)
	first := r.dial(t)
	for range maxConns - 2 {
		r.dial(t)
	}
	r.dialIn(t).cmd("250", "NOOP")
	first.expect("421 4.3.2")
	first.ended()
	mine.cmd("250", "NOOP")
}

// A message that has arrived whole when the server closes is answered: else it
// would be sent, and sent again by the user.
func TestCloseAnswersWhatWasSubmitted(t *testing.T) {
	r := start(t, nil)
	arrived, goOn := make(chan bool), make(chan bool)
	r.before = func(ctx context.Context) error {
		close(arrived)
		<-goOn
		return ctx.Err()
	}
	busy, idle, half := r.dialIn(t), r.dialIn(t), r.dialIn(t)
	half.begin()
	half.cmd("354", "DATA")
	half.send("Subject: ")
	busy.begin()
	busy.cmd("354", "DATA")
	busy.send(mail + ".\r\n")
	<-arrived
	closed := make(chan error, 1)
	go func() { closed <- r.server.Close() }()
	idle.expect("421 4.3.2 mailproxy is being stopped")
	idle.ended()
	select {
	case <-closed:
		t.Error("Close did not wait")
	default:
	}
	close(goOn)
	busy.expect("250")
	busy.expect("421 4.3.2")
	busy.ended()
	half.expect("451 4.4.2")
	half.expect("421 4.3.2")
	half.ended()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	r.one(t)
	if _, err := net.Dial("tcp", r.addr); err == nil {
		t.Error("the port is still open")
	}
}

func TestIdle(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *raw, s *submitter) {
		before := time.Now()
		c.expect("421 4.4.2")
		if d := time.Since(before); d != loginTimeout {
			t.Errorf("a stranger was sent away after %v", d)
		}
	})
	// A message may take longer than any timeout, as long as it moves.
	bubble(t, nil, func(t *testing.T, c *raw, s *submitter) {
		c.cmd("250", "EHLO client.test")
		c.logIn()
		c.begin()
		c.cmd("354", "DATA")
		for range 10 {
			c.send("slowly\r\n")
			time.Sleep(idleTimeout - time.Second)
		}
		c.cmd("250", ".")
		c.begin()
		c.cmd("354", "DATA")
		c.send("and then nothing")
		c.expect("451 4.4.2")
		c.ended()
		if len(s.all()) != 1 {
			t.Errorf("%d messages", len(s.all()))
		}
	})
}

// A pipeListener accepts one end of each net.Pipe that it is given.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l pipeListener) Close() error   { close(l); return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// once makes Close of a listener work twice: the library closes it again.
type onceListener struct {
	pipeListener
	closed *bool
}

func (l onceListener) Close() error {
	if *l.closed {
		return net.ErrClosed
	}
	*l.closed = true
	return l.pipeListener.Close()
}

// bubble runs fn with a connection to a server, after the greeting, in fake time.
func bubble(t *testing.T, change func(*Options), fn func(t *testing.T, c *raw, s *submitter)) {
	t.Helper()
	testTLS() // made outside, in real time
	synctest.Test(t, func(t *testing.T) {
		s := &submitter{}
		o, _ := options(s, change)
		server, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ln := onceListener{make(pipeListener), new(bool)}
		done := make(chan error, 1)
		go func() { done <- server.Serve(ln) }()
		client, end := net.Pipe()
		ln.pipeListener <- end
		c := newRaw(t, client)
		_ = client.SetDeadline(time.Time{})
		c.expect("220")
		fn(t, c, s)
		_ = client.Close()
		if err := errors.Join(server.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
}
