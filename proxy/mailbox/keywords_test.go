package mailbox

import (
	"slices"
	"strings"
	"testing"

	"mailproxy/internal/store"
)

// Only we set delivery states, and only on what we sent.
func TestKeywordsAreOurs(t *testing.T) {
	w := newWorld(t)
	w.putSent(outgoing)
	m, _ := w.only(Sent)
	f, uid := w.folder(Sent), []uint32{m.UID}
	for _, step := range []struct {
		op    FlagOp
		flags []string
		want  []string
	}{
		{FlagsSet, []string{"note", "$MAILPROXYfailed"}, []string{KeywordQueued, "note"}},
		{FlagsAdd, []string{KeywordDelivered, FlagSeen}, []string{KeywordQueued, FlagSeen, "note"}},
		{FlagsRemove, []string{strings.ToUpper(KeywordQueued), "NOTE"}, []string{KeywordQueued, FlagSeen}},
		{FlagsSet, nil, []string{KeywordQueued}},
	} {
		got, err := f.SetFlags(uid, step.op, step.flags)
		if err != nil || len(got) != 1 || !slices.Equal(got[0].Flags, step.want) {
			t.Errorf("%v %v: %v, %v, want %v", step.op, step.flags, got, err, step.want)
		}
	}
	// Somebody sends a mail back with its Message-ID.
	w.deliver(Inbox, sentCopy, FlagFlagged)
	copied := must(f.Copy(uid, Archive))(t)
	w.mark("<"+wireID+">", KeywordSpooled, KeywordFailed, "note")
	w.mark("unknown@mailproxy.invalid", KeywordFailed)
	want := []string{KeywordFailed, KeywordSpooled}
	if m, _ := w.only(Sent); !slices.Equal(m.Flags, want) {
		t.Errorf("in Sent: %v", m.Flags)
	}
	if m, _ := w.only(Archive); m.UID != copied.Dest[0] || !slices.Equal(m.Flags, want) {
		t.Errorf("in Archive: %v", m.Flags)
	}
	if m, _ := w.only(Inbox); !slices.Equal(m.Flags, []string{FlagFlagged}) {
		t.Errorf("in INBOX: %v", m.Flags)
	}
	w.reopen()
	if m, _ := w.only(Sent); !slices.Equal(m.Flags, want) {
		t.Errorf("in Sent after a start: %v", m.Flags)
	}
}

// TestReceivedKeywords: who sealed a received mail is not changed by mail programs, nor
// by the delivery state of a sent mail with the same Message-ID, which a hostile sender
// may choose, or which came back from oneself.
func TestReceivedKeywords(t *testing.T) {
	w := newWorld(t)
	a := w.account()
	w.putSent(SentMail{ID: wireID, Original: programID, Copy: readSent, Keywords: []string{KeywordQueued}})
	if _, err := a.Deliver(Inbox, []byte(sentCopy), []string{KeywordPinned}, start); err != nil {
		t.Fatal(err)
	}
	w.mark(wireID, KeywordDelivered)
	check := func(when string, want ...string) {
		t.Helper()
		if m, _ := w.only(Inbox); !slices.Equal(m.Flags, want) {
			t.Errorf("%s the mail has the flags %q, want %q", when, m.Flags, want)
		}
	}
	check("after a receipt", KeywordPinned)
	m, _ := w.only(Inbox)
	for _, op := range []FlagOp{FlagsSet, FlagsAdd, FlagsRemove} {
		if _, err := w.folder(Inbox).SetFlags([]uint32{m.UID}, op, []string{KeywordVerified, KeywordNotice, KeywordPinned}); err != nil {
			t.Fatal(err)
		}
		check("after STORE", KeywordPinned)
	}
	w.append(Trash, sentCopy, KeywordVerified, "$MAILPROXYverified", KeywordNotice)
	if m, _ := w.only(Trash); len(m.Flags) != 0 {
		t.Errorf("what was appended has the flags %q", m.Flags)
	}
}

// TestMarkBeforeTheNewsOfAMove: a keyword that changes when a move is in the store, and
// memory has not heard of it, is not lost to memory.
func TestMarkBeforeTheNewsOfAMove(t *testing.T) {
	w := newWorld(t)
	w.putSent(outgoing)
	m, _ := w.only(Sent)
	f, d := w.folder(Sent), w.folder(Archive)
	if _, err := d.Messages(); err != nil { // so that it is in memory
		t.Fatal(err)
	}
	a := w.account()
	var put []Message
	err := a.s.st.Update(func(tx *store.Tx) (err error) {
		put, err = f.transferTx(tx, []Message{m}, d, true)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.mark(wireID, KeywordSpooled)
	f.forget([]Message{m})
	a.arrived(d.id, put...)
	if got, _ := w.only(Archive); !slices.Equal(got.Flags, []string{KeywordSpooled, FlagSeen}) {
		t.Errorf("in memory %v", got.Flags)
	}
}
