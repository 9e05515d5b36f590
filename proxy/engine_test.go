package proxy

import (
	"log/slog"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/inbox"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
	"mailproxy/spool"
	"mailproxy/spool/client"
)

// TestSpoolThatLostBlocks: a provider that was put back to an earlier state gives
// numbers out again that were read before. A daemon that was restarted must not
// go on from its old cursor, which would trim what nobody has read.
func TestSpoolThatLostBlocks(t *testing.T) {
	const me = "me@north.test"
	st, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	mail, err := mailbox.Open(st, mailbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mail.CreateAccount(me); err != nil {
		t.Fatal(err)
	}
	if err := keys.CreateIn(st, me, time.Now()); err != nil {
		t.Fatal(err)
	}
	a := &account{d: &Daemon{log: slog.New(slog.DiscardHandler), opt: Options{Now: time.Now}}}
	if a.keys, err = keys.Load(st, me, time.Now); err != nil {
		t.Fatal(err)
	}
	if a.inbox, err = inbox.Open(inbox.Config{Store: st, Mailbox: mail, Account: receiving{a}}); err != nil {
		t.Fatal(err)
	}
	// A block that is worth nothing moves the cursor like any other.
	if err := a.inbox.Store(make([]byte, spool.BlockSize), 100, mixclient.Timing{}); err != nil {
		t.Fatal(err)
	}
	a.reader, err = client.NewReader(client.ReaderOptions{
		Key: a.keys.ReadKey(), Signing: a.signing(), Cursor: 100,
		Deliver: a.deliver, Failed: a.readFailed,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.keys.AppendPublished(1); err != nil {
		t.Fatal(err)
	}
	_, done := a.reader.Next(time.Now())
	refused, err := spool.EncodeRefused(spool.Refused{Status: spool.StatusCursorAhead, Time: time.Now(), Last: 5})
	if err != nil {
		t.Fatal(err)
	}
	done(refused, nil)
	if _, published := a.keys.AppendKey(); published {
		t.Error("the append key is not given to the spool again")
	}
	kept, err := a.inbox.Cursor()
	if err != nil || kept != 5 || a.reader.Cursor() != 5 {
		t.Errorf("cursor %d, on disk %d (%v), want 5", a.reader.Cursor(), kept, err)
	}
}
