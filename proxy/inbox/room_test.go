package inbox

import (
	"testing"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/seal"
)

// TestRoomIsNotMadeOfWholeMail has a stranger fill the room for incomplete messages
// while a complete one waits to be delivered.
func TestRoomIsNotMadeOfWholeMail(t *testing.T) {
	w := &killWatch{t: t, dir: t.TempDir()}
	st, mail := w.open()
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	from, err := person(st, mail, alice)
	if err != nil {
		t.Fatal(err)
	}
	to, err := person(st, mail, bob)
	if err != nil {
		t.Fatal(err)
	}
	in, err := Open(Config{Store: st, Mailbox: mail, Account: to})
	if err != nil {
		t.Fatal(err)
	}
	bundle, _ := to.keys.Bundle()
	put := func(id byte, n, blocks int) {
		t.Helper()
		sealed, err := seal.Seal(seal.Message{ID: seal.ID{id}, Kind: seal.KindMail, Content: killMessage(n)}, from.keys.Sender(), bundle)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range sealed[:blocks] {
			if err := in.Store(b, 0, mixclient.Timing{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	to.fail = store.ErrFull
	put(1, 1, 1) // complete, but not delivered
	put(2, 5, 1) // of several parts
	in.parts = maxParts
	put(3, 5, 1)
	if _, ok := in.partial[seal.ID{2}]; ok {
		t.Error("no room was made")
	}
	to.fail = nil
	if err := in.Tend(); err != nil {
		t.Fatal(err)
	}
	if n, err := delivered(mail); n != 1 || err != nil {
		t.Fatalf("%d messages delivered, %v; want the complete one", n, err)
	}
}
