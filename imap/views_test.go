package imap

import (
	"fmt"
	"sync"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailproxy/proxy/mailbox"
)

// listener is a client whose news are sent to a channel.
func (w *world) listener() (*imapclient.Client, chan string) {
	news := make(chan string, 100)
	c := w.client(&imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Expunge: func(seq uint32) { news <- fmt.Sprintf("expunge %d", seq) },
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				news <- fmt.Sprintf("exists %d", *d.NumMessages)
			}
		},
		Fetch: func(m *imapclient.FetchMessageData) {
			if buf, err := m.Collect(); err == nil {
				news <- fmt.Sprintf("flags %d %v", buf.SeqNum, buf.Flags)
			}
		},
	}})
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		w.t.Fatal(err)
	}
	return c, news
}

func hear(t *testing.T, news chan string, want string) {
	t.Helper()
	select {
	case got := <-news:
		if got != want {
			t.Errorf("heard %s, want %s", got, want)
		}
	case <-time.After(2 * time.Minute):
		t.Fatalf("did not hear %s", want)
	}
}

// TestTrapOneConnectionPerAccount is for servers that take one connection per account:
// Thunderbird opens five.
func TestTrapOneConnectionPerAccount(t *testing.T) {
	w := newWorld(t)
	const each = 6
	var wg sync.WaitGroup
	for n := range 5 {
		c := w.client(nil)
		wg.Go(func() {
			if _, err := c.Select("INBOX", nil).Wait(); err != nil {
				t.Error(err)
				return
			}
			for i := range each {
				raw := letter(100*n + i)
				a := c.Append("INBOX", int64(len(raw)), nil)
				if _, err := a.Write([]byte(raw)); err != nil {
					t.Error(err)
				}
				if err := a.Close(); err != nil {
					t.Error(err)
				}
				data, err := a.Wait()
				if err != nil {
					t.Error(err)
					return
				}
				flags := &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagSeen}}
				if err := c.Store(goimap.UIDSetNum(data.UID), flags, nil).Close(); err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					if _, err := c.Move(goimap.UIDSetNum(data.UID), "Archive").Wait(); err != nil {
						t.Error(err)
					}
				}
				if _, err := c.Fetch(goimap.UIDSet{{Start: 1}}, &goimap.FetchOptions{UID: true, Flags: true, Envelope: true}).Collect(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[uint32]bool)
	for _, folder := range []string{"INBOX", "Archive"} {
		clear(seen)
		list := w.messages(folder)
		if len(list) != 5*each/2 {
			t.Errorf("%s has %d messages", folder, len(list))
		}
		for _, m := range list {
			if seen[m.UID] || !m.HasFlag(mailbox.FlagSeen) {
				t.Errorf("%s: uid %d, flags %v", folder, m.UID, m.Flags)
			}
			seen[m.UID] = true
		}
	}
}

// RFC 9051 section 7.5.1: no EXPUNGE during FETCH, STORE and SEARCH with numbers,
// which keep their meaning.
func TestNumbersKeepTheirMeaning(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.deliver("INBOX", letter(i))
	}
	a, b := w.login(), w.login()
	a.ok("SELECT INBOX")
	b.ok("SELECT INBOX")
	b.ok(`STORE 1 +FLAGS (\Deleted)`)
	b.ok("EXPUNGE")
	w.deliver("INBOX", letter(4))
	answer := a.status("FETCH 1:3 UID", "NO [EXPUNGEISSUED]")
	within(t, answer, "* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)")
	without(t, answer, "EXPUNGE\n")
	without(t, a.status(`STORE 1 +FLAGS (\Seen)`, "NO [EXPUNGEISSUED]"), "EXPUNGE\n")
	answer = a.ok("SEARCH UID 3")
	within(t, answer, "* SEARCH 3")
	without(t, answer, "EXPUNGE")
	within(t, a.ok("UID SEARCH ALL"), "* SEARCH 2 3 4", "* 1 EXPUNGE") // with UIDs it may be told
	within(t, a.ok("FETCH 1:* UID"), "* 1 FETCH (UID 2)", "* 2 FETCH (UID 3)", "* 3 FETCH (UID 4)")
}

// TestTrapNumbersOutOfRange is for the library's tracker, which panics on them.
func TestTrapNumbersOutOfRange(t *testing.T) {
	w := newWorld(t)
	l := w.login()
	for range 2 { // in an empty folder, and in one with a message
		l.ok("SELECT INBOX")
		for _, set := range []string{"1:*", "*", "*:*", "5", "4294967295", "5:4294967295", "4294967295:*", "2,9:7,*"} {
			for _, command := range []string{"FETCH %s UID", "UID FETCH %s UID", "STORE %s +FLAGS (x)", "UID STORE %s FLAGS ()", "SEARCH %s", "SEARCH UID %s", "UID COPY %s Sent", "UID EXPUNGE %s"} {
				l.ok(fmt.Sprintf(command, set))
			}
		}
		for _, set := range []string{"0", "0:5", "4294967296", "-1", "1:", ":1", "1,", "a", "$$", "1.5"} {
			l.status("FETCH "+set+" UID", "BAD")
			l.status("UID FETCH "+set+" UID", "BAD")
			l.status("SEARCH UID "+set, "BAD")
		}
		w.deliver("INBOX", letter(1))
	}
}

// A session is told of what happens to a folder that it sees while it is busy
// with another.
func TestNewsWait(t *testing.T) {
	w := newWorld(t)
	c, news := w.listener()
	w.deliver("INBOX", letter(1))
	f, err := w.account.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetFlags([]uint32{1}, mailbox.FlagsAdd, []string{"$Label"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status("Sent", &goimap.StatusOptions{NumMessages: true}).Wait(); err != nil {
		t.Fatal(err)
	}
	hear(t, news, "exists 1")
	if err := c.Noop().Wait(); err != nil {
		t.Fatal(err)
	}
	if len(news) != 0 { // a new message's flags are asked for
		t.Errorf("heard %s", <-news)
	}
}
