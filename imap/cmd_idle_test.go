package imap

import (
	"strings"
	"testing"
	"time"

	"mailproxy/proxy/mailbox"
)

// RFC 9051 section 6.3.13, RFC 2177.
func TestIdle(t *testing.T) {
	w := newWorld(t)
	w.dial().status("IDLE", "BAD")
	l := w.login()
	l.status("IDLE now", "BAD")
	l.write("i IDLE\r\n") // without a folder there is nothing to hear
	l.expect("+ idling")
	l.write("DONE\r\n")
	l.expect("i OK IDLE completed")

	w.deliver("INBOX", letter(1))
	l.ok("SELECT INBOX")
	l.write("i IDLE\r\n")
	l.expect("+ ")
	w.deliver("INBOX", letter(2))
	l.expect("* 2 EXISTS")
	f, err := w.account.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetFlags([]uint32{2}, mailbox.FlagsAdd, []string{mailbox.FlagSeen}); err != nil {
		t.Fatal(err)
	}
	l.expect(`* 2 FETCH (UID 2 FLAGS (\Seen))`)
	if _, err := f.Remove([]uint32{1}); err != nil {
		t.Fatal(err)
	}
	l.expect("* 1 EXPUNGE")
	if err := w.account.RenameFolder("Sent", "Gone"); err != nil { // somebody else's business
		t.Fatal(err)
	}
	l.write("DONE\r\n")
	if got := l.expect("i "); got != "i OK IDLE completed" {
		t.Errorf("at the end: %s", got)
	}
	// The folder goes, and with it the client.
	if err := w.account.CreateFolder("Work", ""); err != nil {
		t.Fatal(err)
	}
	l.ok("SELECT Work")
	l.write("i IDLE\r\n")
	l.expect("+ ")
	if err := w.account.DeleteFolder("Work"); err != nil {
		t.Fatal(err)
	}
	l.expect("* BYE ")
	l.closed()
}

// TestTrapIdleLostWakeup is for a change just before IDLE, which the library's
// tracker keeps back until the next one.
func TestTrapIdleLostWakeup(t *testing.T) {
	w := newWorld(t)
	c, news := w.listener()
	w.deliver("INBOX", letter(1))
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	hear(t, news, "exists 1")
	w.deliver("INBOX", letter(2))
	hear(t, news, "exists 2")
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	if err := idle.Wait(); err != nil {
		t.Fatal(err)
	}
}

// What is not DONE ends IDLE just the same: the library would go on without
// waiting for the session.
func TestIdleEndsWithAnything(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	l.ok("SELECT INBOX")
	for _, end := range []string{"DONE", "done", "a NOOP", strings.Repeat("x", 10000)} {
		l.write("i IDLE\r\n")
		l.expect("+ ")
		l.write(end + "\r\n")
		l.expect("i OK")
	}
	l.ok("NOOP")
	l.write("i IDLE\r\n")
	l.expect("+ ")
	l.conn.Close() // the server's Close, in the clean-up, waits for Idle
}

// BenchmarkIdle is the time from a message's being stored to the client's reading
// of EXISTS, while five clients are idle.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b)
	var lines []*line
	for range 5 {
		l := w.login()
		l.ok("SELECT INBOX")
		l.write("i IDLE\r\n")
		l.expect("+ ")
		lines = append(lines, l)
	}
	var wake, worst time.Duration
	for b.Loop() {
		w.deliver("INBOX", letter(1))
		stored := time.Now()
		for _, l := range lines {
			if err := l.conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
				b.Fatal(err)
			}
			l.expect("* ")
		}
		d := time.Since(stored)
		wake, worst = wake+d, max(worst, d)
	}
	b.ReportMetric(float64(wake.Microseconds())/1000/float64(b.N), "wake-ms/op")
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
}
