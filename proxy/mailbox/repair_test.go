package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

// TestCheckAndRepair damages a store in every way that Check knows, one at a time:
// Check says so, Repair mends it, and no message is lost that was whole.
func TestCheckAndRepair(t *testing.T) {
	junk := []byte("junk")
	set := func(k, v []byte) func(*store.Tx) error {
		return func(tx *store.Tx) error { return tx.Set(k, v) }
	}
	del := func(k ...[]byte) func(*store.Tx) error {
		return func(tx *store.Tx) (err error) {
			for _, k := range k {
				err = errors.Join(err, tx.Delete(k))
			}
			return err
		}
	}
	rewrite := func(w *world, folder string, uid uint32, fn func(*messageRecord)) func(*store.Tx) error {
		k, rec := w.record(folder, uid)
		fn(&rec)
		return func(tx *store.Tx) error { return putRecord(tx, k, rec) }
	}
	refolder := func(w *world, name string, fn func(*folderRecord)) func(*store.Tx) error {
		f := w.folder(name)
		rec := folderRecord{Format: FormatVersion, Name: f.name, Use: f.use, UIDValidity: f.uidValidity}
		fn(&rec)
		return func(tx *store.Tx) error { return putRecord(tx, folderKey(f.a.id, f.id), rec) }
	}
	blob := func(w *world, folder string, uid uint32) blobID {
		_, rec := w.record(folder, uid)
		return rec.Blob
	}
	other := hashID("other")
	template := newWorld(t)
	furnish(template)
	for _, tt := range []struct {
		name   string
		damage func(w *world) func(*store.Tx) error
		want   string
		lost   int // messages that are whole no more
	}{
		{"version", func(*world) func(*store.Tx) error { return del(versionKey) }, "the version record is missing", 0},
		{"account record", func(w *world) func(*store.Tx) error { return set(accountKey("ann@north.test"), junk) }, "ann@north.test: the account's record cannot be read", 0},
		{"account counter", func(*world) func(*store.Tx) error { return del(nextAccountKey) }, "the counter of accounts stands at 0, and number 1 is given", 0},
		{"folder counter", func(*world) func(*store.Tx) error { return set(nextFolderKey, number(2)) }, "the counter of folders stands at 2", 0},
		{"validity counter", func(w *world) func(*store.Tx) error { return set(validityKey(w.account().id), number(7)) }, "the counter of UIDVALIDITY stands at 7", 0},
		{"folder record", func(w *world) func(*store.Tx) error {
			f := w.folder("Work/2026")
			return set(folderKey(f.a.id, f.id), junk)
		}, "the record of folder number 8 cannot be read", 0},
		{"folder gone", func(w *world) func(*store.Tx) error {
			f := w.folder("Work/2026")
			return del(folderKey(f.a.id, f.id))
		}, "there are messages of folder number 8, and no such folder", 0},
		{"folder gone with its name", func(w *world) func(*store.Tx) error {
			f := w.folder("Work/2026")
			return del(folderKey(f.a.id, f.id), nameKey(f.a.id, f.name), uidNextKey(f.id))
		}, "there are messages of folder number 8, and no such folder", 0},
		{"folder name", func(w *world) func(*store.Tx) error {
			return refolder(w, "Work/2026", func(r *folderRecord) { r.Name = "a//b" })
		}, "the folder has a name that none can have", 0},
		{"folder of the same name", func(w *world) func(*store.Tx) error {
			return refolder(w, "Work/2026", func(r *folderRecord) { r.Name = "Work" })
		}, "the folder is not in the index of folder names", 0},
		{"no validity", func(w *world) func(*store.Tx) error {
			return refolder(w, "Work", func(r *folderRecord) { r.UIDValidity = 0 })
		}, "the folder has no UIDVALIDITY", 0},
		{"same validity", func(w *world) func(*store.Tx) error {
			v := w.folder(Inbox).UIDValidity()
			return refolder(w, "Work", func(r *folderRecord) { r.UIDValidity = v })
		}, `folder "Work": the folder has the UIDVALIDITY`, 0},
		{"special use", func(w *world) func(*store.Tx) error {
			return refolder(w, "Work", func(r *folderRecord) { r.Use = `\Work` })
		}, "a special use that there is not", 0},
		{"same special use", func(w *world) func(*store.Tx) error {
			return refolder(w, "Work", func(r *folderRecord) { r.Use = UseSent })
		}, `has the special use \Sent, and so has another`, 0},
		{"no INBOX", func(w *world) func(*store.Tx) error {
			f := w.folder(Inbox)
			return del(folderKey(f.a.id, f.id), nameKey(f.a.id, Inbox))
		}, "the account has no INBOX", 0},
		{"name of no folder", func(w *world) func(*store.Tx) error {
			return set(nameKey(w.account().id, "ghost"), number(99))
		}, `folder "ghost": the index of folder names leads to folder number 99`, 0},
		{"name of another folder", func(w *world) func(*store.Tx) error {
			return set(nameKey(w.account().id, "ghost"), number(w.folder("Work").id))
		}, `leads to a folder that has the name "Work"`, 0},
		{"name entry of junk", func(w *world) func(*store.Tx) error { return set(nameKey(w.account().id, "Work"), junk) }, "holds no number", 0},
		{"name missing", func(w *world) func(*store.Tx) error { return del(nameKey(w.account().id, "Work")) }, "the folder is not in the index of folder names", 0},
		{"subscription", func(w *world) func(*store.Tx) error { return set(subKey(w.account().id, "a//b"), nil) }, "a name is subscribed that no folder can have", 0},
		{"subscription of no account", func(*world) func(*store.Tx) error { return set(subKey(77, "a"), nil) }, "a folder is subscribed for account number 77", 0},
		{"UID counter gone", func(w *world) func(*store.Tx) error { return del(uidNextKey(w.folder(Inbox).id)) }, `folder "INBOX": the folder has no counter of UIDs`, 0},
		{"UID counter behind", func(w *world) func(*store.Tx) error { return set(uidNextKey(w.folder(Inbox).id), number(9)) }, "the folder's next UID is 9, and UID 9 is given", 0},
		{"UID counter of no folder", func(*world) func(*store.Tx) error { return set(uidNextKey(99), number(9)) }, "a counter of UIDs for a folder that is not there", 0},
		{"UID 0", func(w *world) func(*store.Tx) error {
			k, rec := w.record(Inbox, 1)
			return func(tx *store.Tx) error {
				return errors.Join(tx.Delete(k), tx.Delete(idKey(w.account().id, rec.IDHash, w.folder(Inbox).id, 1)), putRecord(tx, messageKey(w.folder(Inbox).id, 0), rec))
			}
		}, "the message has a UID that none can have", 0},
		{"message record", func(w *world) func(*store.Tx) error { k, _ := w.record(Archive, 1); return set(k, junk) }, "UID 1: the message's record cannot be read", 0},
		{"message gone", func(w *world) func(*store.Tx) error { k, _ := w.record(Archive, 1); return del(k) }, "there is a body of", 0},
		{"large message gone", func(w *world) func(*store.Tx) error {
			k, _ := w.record(Inbox, 6)
			l, _ := w.record("Work/2026", 3)
			return del(k, l)
		}, "there is a body of 720047 bytes whose message is not there", 1}, // two copies become one
		{"flags", func(w *world) func(*store.Tx) error {
			return rewrite(w, Inbox, 1, func(r *messageRecord) { r.Flags = []string{"a b", FlagSeen, `\seen`} })
		}, "the message has flags that none can have", 0},
		{"zone", func(w *world) func(*store.Tx) error {
			return rewrite(w, Inbox, 1, func(r *messageRecord) { r.Zone = 1 << 20 })
		}, "a zone that there is not", 0},
		{"size", func(w *world) func(*store.Tx) error {
			return rewrite(w, Archive, 1, func(r *messageRecord) { r.Size++ })
		}, "and its records say", 0},
		{"size of a copy", func(w *world) func(*store.Tx) error {
			return rewrite(w, "Work/2026", 1, func(r *messageRecord) { r.Size++ })
		}, "and its records say", 0},
		{"wire size", func(w *world) func(*store.Tx) error {
			return rewrite(w, Archive, 1, func(r *messageRecord) { r.WireSize++ })
		}, "with full line endings", 0},
		{"hash", func(w *world) func(*store.Tx) error {
			return rewrite(w, Archive, 1, func(r *messageRecord) { r.IDHash = other })
		}, "the message is not in the index of Message-IDs", 0},
		{"hash of a copy", func(w *world) func(*store.Tx) error {
			return rewrite(w, "Work/2026", 1, func(r *messageRecord) { r.IDHash = other })
		}, "has another Message-ID in its record than", 0},
		{"hash of another length", func(w *world) func(*store.Tx) error {
			return rewrite(w, Archive, 1, func(r *messageRecord) { r.IDHash = junk })
		}, "names a Message-ID in 4 bytes", 0},
		{"id entry gone", func(w *world) func(*store.Tx) error {
			_, rec := w.record(Archive, 1)
			return del(idKey(w.account().id, rec.IDHash, w.folder(Archive).id, 1))
		}, "the message is not in the index of Message-IDs", 0},
		{"id entry too much", func(w *world) func(*store.Tx) error {
			return set(idKey(w.account().id, other, w.folder(Archive).id, 1), nil)
		}, "the index of Message-IDs leads to a message that is not there or has another", 0},
		{"sent", func(w *world) func(*store.Tx) error { return set(outgoingKey(w.account().id, other), junk) }, "a record of mail that was sent cannot be read", 0},
		{"sent of no account", func(w *world) func(*store.Tx) error {
			return func(tx *store.Tx) error {
				return putRecord(tx, originalKey(77, other), originalRecord{Format: FormatVersion})
			}
		}, "a record of mail that account number 77 sent", 0},
		{"count too low", func(w *world) func(*store.Tx) error { return set(refsKey(blob(w, Inbox, 1)), number(1)) }, "counted as shared by 1 messages, and is by 2", 0},
		{"count too high", func(w *world) func(*store.Tx) error { return set(refsKey(blob(w, Inbox, 4)), number(2)) }, "counted as shared by 2 messages, and is by 1", 0},
		{"count gone", func(w *world) func(*store.Tx) error { return del(refsKey(blob(w, Inbox, 1))) }, "has no count of those that share it", 0},
		{"envelope", func(w *world) func(*store.Tx) error { return set(envelopeKey(blob(w, Inbox, 1)), junk) }, "the message's envelope is not right: it cannot be read", 0},
		{"envelope gone", func(w *world) func(*store.Tx) error { return del(envelopeKey(blob(w, Inbox, 6))) }, "the message's envelope is not right: there is none", 0},
		{"envelope of another", func(w *world) func(*store.Tx) error {
			b := must(codec.Marshal(&Envelope{MessageID: "other"}))(w.t)
			return set(envelopeKey(blob(w, Inbox, 1)), b)
		}, "envelope has another Message-ID than the message", 0},
		{"structure", func(w *world) func(*store.Tx) error { return set(structureKey(blob(w, Archive, 1)), junk) }, "the message's structure is not right: it cannot be read", 0},
		{"structure of another", func(w *world) func(*store.Tx) error {
			b := must(codec.Marshal(parseStructure([]byte("other"))))(w.t)
			return set(structureKey(blob(w, Archive, 1)), b)
		}, "structure is not right: it describes other bytes", 0},
		{"structure that is no tree", func(w *world) func(*store.Tx) error {
			b := must(codec.Marshal(&Structure{Format: 1, Size: 3, Parts: []Part{{Parent: -1, End: 3}, {Parent: 0, Start: 2, Body: 9, End: 3}}}))(w.t)
			return set(structureKey(blob(w, Archive, 1)), b)
		}, "structure is not right: part 1 is at bytes", 0},
		{"body gone", func(w *world) func(*store.Tx) error { return del(chunkKey(blob(w, Archive, 1), 0)) }, "the message is not whole: its body is missing", 1},
		{"first chunk gone", func(w *world) func(*store.Tx) error { return del(chunkKey(blob(w, Inbox, 6), 0)) }, "not whole: chunk 0 of its body is missing", 2},
		{"middle chunk gone", func(w *world) func(*store.Tx) error { return del(chunkKey(blob(w, Inbox, 6), 1)) }, "not whole: chunk 1 of its body is missing", 2},
		{"last chunk gone", func(w *world) func(*store.Tx) error { return del(chunkKey(blob(w, Inbox, 6), 2)) }, "not whole: its body has 524288 bytes", 2},
		{"chunk cut", func(w *world) func(*store.Tx) error { return set(chunkKey(blob(w, Inbox, 6), 1), junk) }, "not whole: chunk 1 of its body is too short", 2},
		{"key of another length", func(*world) func(*store.Tx) error { return set([]byte("mailbox/m/short"), junk) }, "an entry mailbox/m/ has 5 bytes after its kind", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := template.copy(t)
			before := w.bodies()
			if err := w.st.Update(tt.damage(w)); err != nil {
				t.Fatal(err)
			}
			r := must(Check(t.Context(), w.st, CheckOptions{}))(t)
			if text := fmt.Sprint(r.Problems); !strings.Contains(text, tt.want) {
				t.Fatalf("Check lacks %q:\n%s", tt.want, text)
			}
			repaired := must(Repair(t.Context(), w.st, Options{Now: func() time.Time { return w.now }}, CheckOptions{}))(t)
			if len(repaired.Done) == 0 || !repaired.Report.Clean() {
				t.Fatalf("Repair did %q and left %v", repaired.Done, repaired.Report.Problems)
			}
			w.reopen()
			if p := w.problems(); len(p) > 0 {
				t.Errorf("after Open: %q", p)
			}
			left := w.bodies()
			lost := 0
			for _, b := range before {
				if i, ok := slices.BinarySearch(left, b); ok {
					left = slices.Delete(left, i, i+1)
				} else {
					lost++
				}
			}
			if lost != tt.lost {
				t.Errorf("%d messages are whole no more, want %d; Repair did %q", lost, tt.lost, repaired.Done)
			}
			if tt.lost > 0 && tt.name != "body gone" && tt.name != "large message gone" {
				w.salvaged(before)
			}
		})
	}
}

// salvaged fails unless what is left of a message is in Recovered.
func (w *world) salvaged(before []string) {
	w.t.Helper()
	f := w.folder(Recovered)
	for _, m := range must(f.Messages())(w.t) {
		raw := must(f.Bytes(m))(w.t)
		if i := bytes.IndexByte(raw, '\n'); i >= 0 && slices.ContainsFunc(before, func(b string) bool { return strings.HasPrefix(b, string(raw[:i+1])) }) {
			return
		}
	}
	w.t.Error("nothing of it is in Recovered")
}

// TestRepairOpen: sessions see what a repair changes.
func TestRepairOpen(t *testing.T) {
	w := newWorld(t)
	furnish(w)
	inbox, err := w.folder(Inbox).Select()
	if err != nil {
		t.Fatal(err)
	}
	defer inbox.Close()
	work, err := w.folder("Work").Select()
	if err != nil {
		t.Fatal(err)
	}
	defer work.Close()
	_, rec := w.record(Inbox, 6)
	err = w.st.Update(func(tx *store.Tx) error {
		return errors.Join(tx.Delete(chunkKey(rec.Blob, 1)), tx.Delete(uidNextKey(work.f.id)))
	})
	if err != nil {
		t.Fatal(err)
	}
	r := must(w.mb.Repair(t.Context(), CheckOptions{}))(t)
	if len(r.Done) < 2 || !r.Report.Clean() {
		t.Errorf("it did %q and left %v", r.Done, r.Report.Problems)
	}
	if p := w.problems(); len(p) > 0 {
		t.Errorf("after it: %q", p)
	}
	if n := must(inbox.Poll(true))(t); !slices.Equal(n.Expunged, []int{4}) || n.Gone {
		t.Errorf("news of INBOX: %+v", n)
	}
	if n := must(work.Poll(true))(t); !n.Gone {
		t.Errorf("news of a folder with another UIDVALIDITY: %+v", n)
	}
	if len(w.uids("Work")) != 1 || len(w.uids(Recovered)) != 1 {
		t.Errorf("Work has %v, Recovered %v", w.uids("Work"), w.uids(Recovered))
	}
}
