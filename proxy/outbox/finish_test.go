package outbox

import (
	"strings"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/report"
)

// TestReceiptDuringADelayReport has a receipt come while a report of delay on the
// same mail is being written: what the receipt said stays, or after a crash the
// sender would be told that delivered mail is not confirmed.
func TestReceiptDuringADelayReport(t *testing.T) {
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
	k, err := keys.Load(st, me, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Open(Config{
		Store: st, Mailbox: mail, Times: DefaultTimes(),
		Account: func(string) (Account, bool) { return self{keys: k}, true },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	s := &Submission{Account: me, From: me, Recipients: []Recipient{{Address: "you@north.test"}}}
	if err := o.Submit(t.Context(), s, strings.NewReader("Subject: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}

	p := o.turn[0].parts[0] // nothing else runs
	where := key(kindRecipient, p.job.id, p.number)
	sealed := p.recipient
	sealed.State, sealed.Sealed = Sealed, newSealID()
	confirmed := sealed
	confirmed.State = Confirmed
	if err := st.Update(func(tx *store.Tx) error { return put(tx, where, &confirmed) }); err != nil {
		t.Fatal(err)
	}
	// The report was begun before.
	if err := o.finish(p.job.id, p.number, *p.job.message, sealed, fate{reason: report.Delayed}); err != nil {
		t.Fatal(err)
	}
	var got *recipient
	err = st.View(func(tx *store.Tx) error {
		v, err := tx.Get(where)
		if err == nil {
			got, err = decodeRecipient(v)
		}
		return err
	})
	if err != nil || got.State != Confirmed || !got.ToldDelay {
		t.Errorf("on disk is %+v, %v; want it confirmed, and the delay told", got, err)
	}
}
