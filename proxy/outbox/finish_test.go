package outbox

import (
	"strings"
	"testing"

	"mailproxy/internal/store"
	"mailproxy/proxy/report"
)

// TestReceiptDuringADelayReport has a receipt come while a report of delay on the
// same mail is being written: what the receipt said stays, or after a crash the
// sender would be told that delivered mail is not confirmed.
func TestReceiptDuringADelayReport(t *testing.T) {
	h := newHome(t)
	st := h.store
	o, err := Open(Config{
		Store: st, Mailbox: h.mail, Times: DefaultTimes(),
		Account: func(string) (Account, bool) { return self{keys: h.keys}, true },
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
