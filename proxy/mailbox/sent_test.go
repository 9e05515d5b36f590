package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailproxy/internal/store"
)

const (
	programID = "17.4.ann@laptop.example"
	wireID    = "00112233445566778899aabbccddeeff@mailproxy.invalid"
)

// programCopy is what a mail program appends; sentCopy what went out.
const (
	programCopy = "From: Ann <ann@north.test>\r\nBcc: carol@east.test\r\nX-Message-ID: <" + programID + ">\r\n" +
		"message-id:\r\n <" + programID + ">\r\nSubject: Hello\r\n\r\nMessage-ID: <in@the.body>\r\n"
	sentCopy = "From: ann@north.test\r\nSubject: Hello\r\nMessage-ID: <" + wireID + ">\r\n\r\nHello\r\n"
)

// asKept is programCopy with the id that went out.
var asKept = strings.Replace(programCopy, "message-id:\r\n <"+programID+">", "message-id: <"+wireID+">", 1)

func (w *world) putSent(m SentMail) {
	w.t.Helper()
	if err := w.account().PutSent(m, w.st2(nil)); err != nil {
		w.t.Fatal(err)
	}
}

// st2 is a transaction that ends with err.
func (w *world) st2(err error) func(func(*store.Tx) error) error {
	return func(put func(*store.Tx) error) error {
		return w.st.Update(func(tx *store.Tx) error { return errors.Join(put(tx), err) })
	}
}

func (w *world) mark(id string, keywords ...string) {
	w.t.Helper()
	if err := w.st.Update(func(tx *store.Tx) error { return w.account().MarkTx(tx, id, keywords) }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) append(folder, raw string, flags ...string) ID {
	w.t.Helper()
	id, err := w.account().Append(folder, strings.NewReader(raw), flags, start)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// only returns the one message of a folder, and its bytes.
func (w *world) only(folder string) (Message, string) {
	w.t.Helper()
	list, err := w.folder(folder).Messages()
	if err != nil || len(list) != 1 {
		w.t.Fatalf("%s holds %v, %v; want one message", folder, list, err)
	}
	raw, err := w.folder(folder).Bytes(list[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return list[0], string(raw)
}

func readSent() io.Reader { return strings.NewReader(sentCopy) }

var outgoing = SentMail{ID: wireID, Original: "<" + programID + ">", Copy: readSent, Keywords: []string{KeywordQueued}}

// TestTrapSentMailTwice is for a copy in Sent beside the one that the mail program
// appends.
func TestTrapSentMailTwice(t *testing.T) {
	w := newWorld(t)
	w.putSent(outgoing)
	ours, raw := w.only(Sent)
	if raw != sentCopy || !slices.Equal(ours.Flags, []string{KeywordQueued, FlagSeen}) {
		t.Errorf("our copy has flags %v:\n%s", ours.Flags, raw)
	}
	if _, err := w.folder(Sent).SetFlags([]uint32{ours.UID}, FlagsAdd, []string{FlagFlagged}); err != nil {
		t.Fatal(err)
	}
	w.mark(wireID, KeywordSent)
	view, err := w.folder(Sent).Select()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()

	id := w.append(Sent, programCopy, FlagSeen, KeywordDelivered)
	theirs, raw := w.only(Sent)
	if theirs.UID != id.UID || id.UID <= ours.UID {
		t.Errorf("UID %d was told, %d is there, and was %d before", id.UID, theirs.UID, ours.UID)
	}
	if raw != asKept {
		t.Errorf("kept is\n%s\nwant\n%s", raw, asKept)
	}
	if want := []string{KeywordSent, FlagFlagged, FlagSeen}; !slices.Equal(theirs.Flags, want) {
		t.Errorf("flags are %v, want %v", theirs.Flags, want)
	}
	if news, err := view.Poll(true); err != nil || !slices.Equal(news.Expunged, []int{1}) || news.Exists != 1 {
		t.Errorf("another session hears %v, %v", news, err)
	}
	w.reopen()
	if m, raw := w.only(Sent); m.UID != id.UID || raw != asKept {
		t.Errorf("after a start: UID %d\n%s", m.UID, raw)
	}
	// Both ids are known, from both sides.
	if sent, ok, err := w.account().SentAs("<" + programID + ">"); err != nil || !ok || sent != wireID {
		t.Errorf("it was sent as %q, %v, %v", sent, ok, err)
	}
	if from, ok, err := w.account().SentFrom(wireID); err != nil || !ok || from != programID {
		t.Errorf("it is known as %q, %v, %v", from, ok, err)
	}
	if _, ok, err := w.account().SentAs(wireID); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	// What is appended again is another message, with the same id and state.
	again := w.append(Sent, programCopy)
	m, err := w.folder(Sent).Message(again.UID)
	if err != nil || !slices.Equal(m.Flags, []string{KeywordSent}) || len(w.uids(Sent)) != 2 {
		t.Errorf("the second copy is %v, %v", m, err)
	}
}

func TestSentMailAppendedFirst(t *testing.T) {
	w := newWorld(t)
	draft := w.append(Drafts, programCopy, FlagDraft)
	stray := w.append(Sent, programCopy, FlagDraft) // some programs keep drafts there
	first := w.append(Sent, programCopy, FlagAnswered)
	if m, err := w.folder(Sent).Message(first.UID); err != nil || len(m.Flags) != 1 {
		t.Fatal(m, err)
	}
	if err := w.account().PutSent(outgoing, w.st2(errors.New("no"))); err == nil {
		t.Error("PutSent hides that the transaction failed")
	}
	if got := w.uids(Sent); !slices.Equal(got, []uint32{stray.UID, first.UID}) {
		t.Errorf("after a failure Sent holds %v", got)
	}
	w.putSent(outgoing)
	if _, err := w.folder(Sent).Remove([]uint32{stray.UID}); err != nil {
		t.Fatal(err)
	}
	m, raw := w.only(Sent)
	if m.UID <= first.UID || raw != asKept || !slices.Equal(m.Flags, []string{KeywordQueued, FlagAnswered}) || !m.Date().Equal(start) {
		t.Errorf("kept is %+v\n%s", m, raw)
	}
	// The draft is the program's to delete, under the UID that it was told.
	d, raw := w.only(Drafts)
	if d.UID != draft.UID || raw != programCopy {
		t.Errorf("the draft is %+v\n%s", d, raw)
	}
	if _, err := w.folder(Drafts).SetFlags([]uint32{draft.UID}, FlagsAdd, []string{FlagDeleted}); err != nil {
		t.Fatal(err)
	}
	if gone, err := w.folder(Drafts).Expunge([]uint32{draft.UID}); err != nil || len(gone) != 1 {
		t.Errorf("expunged %v, %v", gone, err)
	}
	// A draft that is saved late takes no place.
	w.append(Drafts, programCopy)
	w.append(Archive, programCopy, FlagDraft)
	if _, raw := w.only(Drafts); raw != programCopy {
		t.Errorf("a late draft is\n%s", raw)
	}
	if m, _ := w.only(Sent); m.UID <= first.UID {
		t.Error("a draft took the place of sent mail")
	}
}

// Our copy goes wherever the program puts its own; one that the user has moved or
// deleted is left as it is.
func TestSentMailElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		before func(w *world)
		folder string
		sent   int // messages left in Sent
		moved  int // in Trash
	}{
		"another folder": {func(*world) {}, Archive, 0, 0},
		"moved":          {func(w *world) { must(w.folder(Sent).Move(nil, Trash))(w.t) }, Sent, 1, 1},
		"deleted":        {func(w *world) { must(w.folder(Sent).Remove(w.uids(Sent)))(w.t) }, Sent, 1, 0},
		"no Sent": {func(w *world) {
			if err := w.account().DeleteFolder(Sent); err != nil {
				w.t.Fatal(err)
			}
		}, Archive, -1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.putSent(outgoing)
			test.before(w)
			w.mark(wireID, KeywordSpooled)
			id := w.append(test.folder, programCopy)
			m, err := w.folder(test.folder).Message(id.UID)
			if err != nil || !slices.Equal(m.Flags, []string{KeywordSpooled}) {
				t.Errorf("appended is %v, %v", m, err)
			}
			if test.sent >= 0 && len(w.uids(Sent)) != test.sent || len(w.uids(Trash)) != test.moved {
				t.Errorf("%d are in Sent, %d in Trash", len(w.uids(Sent)), len(w.uids(Trash)))
			}
			if test.moved > 0 {
				if m, _ := w.only(Trash); !slices.Equal(m.Flags, []string{KeywordSpooled, FlagSeen}) {
					t.Errorf("moved is %v", m)
				}
			}
		})
	}
}

func TestSentWithoutFolder(t *testing.T) {
	w := newWorld(t)
	if err := w.account().DeleteFolder(Sent); err != nil {
		t.Fatal(err)
	}
	w.putSent(outgoing)
	w.putSent(SentMail{ID: "other@mailproxy.invalid", Copy: readSent, Keywords: []string{KeywordQueued}})
	w.append(Archive, programCopy)
	if _, raw := w.only(Archive); raw != asKept {
		t.Errorf("kept is\n%s", raw)
	}
}

// Marks and STOREs of the same message at the same time lose nothing of each other.
func TestMarksAndStoresTogether(t *testing.T) {
	w := newWorld(t)
	w.putSent(outgoing)
	m, _ := w.only(Sent)
	view := must(w.folder(Sent).Select())(t)
	defer view.Close()
	a, f := w.account(), w.folder(Sent)
	states := []string{KeywordQueued, KeywordSent, KeywordSpooled, KeywordDelivered}
	var wg sync.WaitGroup
	for n := range 3 {
		wg.Go(func() {
			for i := range 60 {
				if n > 0 {
					err := w.st.Update(func(tx *store.Tx) error { return a.MarkTx(tx, wireID, states[i%4:i%4+1]) })
					if err != nil {
						t.Error(err)
					}
					continue
				}
				op := []FlagOp{FlagsAdd, FlagsRemove}[i%2]
				if _, err := f.SetFlags([]uint32{m.UID}, op, []string{FlagAnswered}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	w.mark(wireID, KeywordDelivered)
	want := []string{KeywordDelivered, FlagSeen}
	select {
	case <-view.Changed():
	case <-time.After(2 * time.Minute):
		t.Error("nobody was told")
	}
	news := must(view.Poll(true))(t)
	if len(news.Flags) != 1 || !slices.Equal(news.Flags[0].Flags, want) {
		t.Errorf("a session hears %v, want %v", news, want)
	}
	w.reopen()
	if m, _ := w.only(Sent); !slices.Equal(m.Flags, want) {
		t.Errorf("after a start: %v, want %v", m.Flags, want)
	}
}

func TestDeleteAccountForgetsSent(t *testing.T) {
	w := newWorld(t)
	w.putSent(outgoing)
	if err := w.mb.DeleteAccount("ann@north.test"); err != nil {
		t.Fatal(err)
	}
	if n := w.count("mailbox/o/") + w.count("mailbox/p/"); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

func FuzzMessageIDField(f *testing.F) {
	f.Add([]byte(programCopy))
	f.Add([]byte("Message-ID : <a@b>\n\tx\n\nbody"))
	f.Add([]byte("Message-ID:"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		id := MessageID(raw)
		if from, to := messageIDField(raw); from == to {
			return
		} else if from > 0 && raw[from-1] != '\n' || to < len(raw) && raw[to-1] != '\n' {
			t.Fatalf("field %d to %d of %q", from, to, raw)
		}
		out := withMessageID(raw, wireID)
		if got := MessageID(out); got != wireID {
			t.Fatalf("%q has id %q after %q", out, got, id)
		}
		if back := withMessageID(out, "x"); !bytes.Equal(back, withMessageID(raw, "x")) {
			t.Fatalf("%q and %q differ in more than the id", raw, out)
		}
	})
}

// TestSentWhileAppended: the mail goes out while the program still appends its large
// copy. There is one message, with the Message-ID that it went out with.
func TestSentWhileAppended(t *testing.T) {
	for name, size := range map[string]int{"small": 10, "large": chunkSize + 10} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			body := strings.Repeat("x", size)
			between := readerFunc(func([]byte) (int, error) {
				w.putSent(outgoing)
				return 0, io.EOF
			})
			raw := "Subject: x\r\nMessage-ID: <" + programID + ">\r\n\r\n" + body
			if _, err := w.account().Append(Sent, io.MultiReader(strings.NewReader(raw), between), nil, start); err != nil {
				t.Fatal(err)
			}
			list := must(w.folder(Sent).Messages())(t)
			if len(list) != 1 {
				t.Fatalf("%d messages are in Sent", len(list))
			}
			want := strings.Replace(raw, programID, wireID, 1)
			if got := string(must(w.folder(Sent).Bytes(list[0]))(t)); got != want {
				t.Errorf("%d bytes, want %d", len(got), len(want))
			}
			keys := w.chunkKeys()
			if w.reopen(); w.chunkKeys() != keys {
				t.Error("chunks were left that belong to nothing")
			}
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestTrapSentMailTwiceAtOnce is for a program that submits and appends at the same
// moment, on two connections.
func TestTrapSentMailTwiceAtOnce(t *testing.T) {
	w := newWorld(t)
	t.Run("appended while it is accepted", func(t *testing.T) {
		tries := 0
		err := w.account().PutSent(outgoing, func(put func(tx *store.Tx) error) error {
			if tries++; tries == 1 {
				w.append(Sent, programCopy)
			}
			return w.st.Update(put)
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, raw := w.only(Sent); raw != asKept || tries != 2 {
			t.Errorf("after %d tries there is\n%s", tries, raw)
		}
	})
	t.Run("all at once", func(t *testing.T) {
		const mails = 60
		for i := range mails {
			m := outgoing
			m.ID, m.Original = fmt.Sprintf("wire%d@x.test", i), fmt.Sprintf("program%d@x.test", i)
			body := strings.ReplaceAll(programCopy, programID, m.Original)
			m.Copy = func() io.Reader { return strings.NewReader(strings.ReplaceAll(sentCopy, wireID, m.ID)) }
			var both sync.WaitGroup
			var put, appended error
			both.Go(func() { put = w.account().PutSent(m, w.st2(nil)) })
			both.Go(func() { _, appended = w.account().Append(Sent, strings.NewReader(body), nil, start) })
			both.Wait()
			if put != nil || appended != nil {
				t.Fatal(put, appended)
			}
		}
		if n := len(w.uids(Sent)); n != 1+mails {
			t.Errorf("%d mails have %d copies", mails, n-1)
		}
	})
}
