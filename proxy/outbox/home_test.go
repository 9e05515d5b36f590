package outbox

import (
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
)

const me = "me@north.test"

// A home is what an outbox needs of a daemon with one account, me.
type home struct {
	store *store.Store
	mail  *mailbox.Store
	box   *mailbox.Account
	keys  *keys.Account
}

// newHome makes one, whose store is closed when the test and what it cleans up has ended.
func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{}
	var err error
	if h.store, err = store.Open(store.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			t.Error(err)
		}
	})
	if h.mail, err = mailbox.Open(h.store, mailbox.Options{}); err != nil {
		t.Fatal(err)
	}
	if h.box, err = h.mail.CreateAccount(me); err != nil {
		t.Fatal(err)
	}
	if err := keys.CreateIn(h.store, me, time.Now()); err != nil {
		t.Fatal(err)
	}
	if h.keys, err = keys.Load(h.store, me, time.Now); err != nil {
		t.Fatal(err)
	}
	return h
}
