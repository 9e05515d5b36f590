package imap

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
)

// A countedConn keeps what was written, and counts the writes.
type countedConn struct {
	fakeConn
	writes   int
	sent     bytes.Buffer
	deadline time.Time // of the next write
	stuck    bool      // writes time out
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writes++
	if c.deadline.IsZero() {
		return 0, errors.New("a write without a deadline")
	}
	if c.stuck {
		return 0, net.ErrClosed
	}
	return c.sent.Write(p)
}

func (c *countedConn) SetWriteDeadline(t time.Time) error {
	c.deadline = t
	return nil
}

func newCounted(t *testing.T, in string) (*wire, *countedConn) {
	s := New(Options{})
	t.Cleanup(func() { s.Close() })
	c := &countedConn{fakeConn: fakeConn{r: strings.NewReader(in)}}
	return newWire(s, c, true), c
}

// The lines of a response wait for each other, until the library has no more to
// say.
func TestGather(t *testing.T) {
	w, c := newCounted(t, "a FETCH 1:100 FLAGS\r\nb NOOP\r\n")
	buf := make([]byte, 100)
	if _, err := w.Read(buf); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	write := func(p []byte) {
		t.Helper()
		want.Write(p)
		if n, err := w.Write(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	for range 100 {
		write([]byte("* 1 FETCH (FLAGS ())\r\n"))
	}
	write([]byte("a OK FETCH completed\r\n"))
	if c.writes != 0 {
		t.Errorf("%d writes before the library reads", c.writes)
	}
	if _, err := w.Read(buf); err != nil {
		t.Fatal(err)
	}
	if c.writes != 1 || !bytes.Equal(c.sent.Bytes(), want.Bytes()) {
		t.Errorf("%d writes, %d bytes of %d", c.writes, c.sent.Len(), want.Len())
	}
	// What is large does not wait, in memory, for the end.
	for range 10 {
		write(bytes.Repeat([]byte("x"), maxPending/2))
	}
	write(bytes.Repeat([]byte("y"), maxPiece+1))
	if c.writes != 1+5+2 || !bytes.Equal(c.sent.Bytes(), want.Bytes()) {
		t.Errorf("%d writes, %d bytes of %d", c.writes, c.sent.Len(), want.Len())
	}
	// The last words are said.
	write([]byte("* BYE Logging out\r\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.sent.Bytes(), want.Bytes()) {
		t.Error("what was written before Close was not sent")
	}
}

// In IDLE every line is sent at once.
func TestGatherIdle(t *testing.T) {
	w, c := newCounted(t, "a IDLE\r\nDONE\r\n")
	if _, err := w.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	for i, line := range []string{"+ idling\r\n", "* 1 EXISTS\r\n", "* 2 EXISTS\r\n"} {
		if _, err := w.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		if c.writes != i+1 || !strings.HasSuffix(c.sent.String(), line) {
			t.Errorf("%q: %d writes, %q sent", line, c.writes, c.sent.String())
		}
	}
}

// A client that takes nothing ends its connection, whoever writes.
func TestGatherStuck(t *testing.T) {
	w, c := newCounted(t, "a NOOP\r\nb NOOP\r\n")
	buf := make([]byte, 100)
	if _, err := w.Read(buf); err != nil {
		t.Fatal(err)
	}
	c.stuck = true
	if _, err := w.Write([]byte("a OK NOOP completed\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Read(buf); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read = %v", err)
	}
	if _, err := w.Write([]byte("* 1 EXISTS\r\n")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write = %v", err)
	}
	if c.writes != 1 {
		t.Errorf("%d writes", c.writes)
	}
}

// A client that stays silent in IDLE hears at once, also when much comes.
func TestGatherWakes(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	l.ok("SELECT INBOX")
	l.write("i IDLE\r\n")
	l.expect("+ ")
	for i := range 3 {
		w.deliver("INBOX", letter(i))
		l.expect("* ")
	}
	l.write("DONE\r\n")
	l.expect("i OK")
	if n := len(w.messages("INBOX")); n != 3 {
		t.Fatal(n)
	}
	c := w.client(nil)
	if data, err := c.Select("INBOX", nil).Wait(); err != nil || data.NumMessages != 3 {
		t.Fatal(data, err)
	}
	list, err := c.Fetch(goimap.SeqSet{{Start: 1, Stop: 3}}, &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{{}}}).Collect()
	if err != nil || len(list) != 3 {
		t.Fatal(len(list), err)
	}
}
