package mailbox

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mailproxy/internal/codec"
)

// TestPick checks that a view shows neither what its client was not told of nor
// what is gone.
func TestPick(t *testing.T) {
	w := newWorld(t)
	f := w.folder(Inbox)
	for i := range 5 {
		w.deliver(Inbox, fmt.Sprintf("Subject: %d\r\n\r\n", i))
	}
	s, err := f.Select()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w.deliver(Inbox, "Subject: new\r\n\r\n")
	if first := s.First(); first.UIDNext != 6 || first.Messages != 5 || s.Len() != 5 {
		t.Errorf("what a client is told of the folder is of two moments: %+v", first)
	}
	if _, err := f.Remove([]uint32{2}); err != nil {
		t.Fatal(err)
	}
	want := []Numbers{{1, 1}, {3, 3}, {4, 4}, {5, 5}}
	same := func(what string, have []Numbers, err error) {
		t.Helper()
		if err != nil || !slices.Equal(have, want) {
			t.Errorf("%s: %v, want %v (%v)", what, have, want, err)
		}
	}
	list, err := s.Pick(func(*Message) bool { return true })
	same("Pick", list, err)
	known, err := s.Known([]uint32{1, 2, 3, 4, 5, 6, 7})
	list = nil
	for _, m := range known {
		list = append(list, Numbers{uint32(m.Seq), m.UID})
	}
	same("Known", list, err)
	want = want[1:2]
	list, err = s.Pick(func(m *Message) bool { return m.UID == 3 })
	same("Pick of one", list, err)
}

// TestContents checks that a message that goes between index and content is told
// from one that is damaged.
func TestContents(t *testing.T) {
	w := newWorld(t)
	f := w.folder(Inbox)
	for i := range 3 {
		w.deliver(Inbox, fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", i))
	}
	s, err := f.Select()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	list, err := s.Known([]uint32{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Remove([]uint32{2}); err != nil {
		t.Fatal(err)
	}
	var read []uint32
	err = f.Contents(list, func(m Seen, c *Content) error {
		e, err := c.Envelope()
		if err == nil && e.Subject != fmt.Sprint(m.UID-1) {
			t.Errorf("message %d has the subject %q", m.UID, e.Subject)
		}
		if err == nil {
			read = append(read, m.UID)
		}
		return err
	})
	if err != nil || len(read) != 2 || read[0] != 1 || read[1] != 3 {
		t.Errorf("read %v: %v", read, err)
	}
	if err := f.Content(list[1].Message, func(c *Content) error {
		_, err := c.Envelope()
		return err
	}); !errors.Is(err, ErrNoMessage) {
		t.Errorf("the envelope of a message that is gone: %v", err)
	}
}

// TestEnvelopeCache checks that the cache stays within its bound, gives what was
// put, and forgets.
func TestEnvelopeCache(t *testing.T) {
	var c envelopeCache
	id := func(i int) blobID { return blobID{byte(i), byte(i >> 8), byte(i >> 16)} }
	const n = 40000
	for i := range n {
		c.put(id(i), &Envelope{Subject: fmt.Sprint(i)})
		if e := c.get(id(i)); e == nil || e.Subject != fmt.Sprint(i) {
			t.Fatalf("%d: %v", i, e)
		}
	}
	kept, cost := 0, 0
	for i := range n {
		if e := c.get(id(i)); e != nil {
			kept++
			cost += e.cost()
		}
	}
	if kept < n/10 || cost > envelopesKept || cost != c.cost {
		t.Errorf("%d kept, which cost %d; counted %d of at most %d", kept, cost, c.cost, envelopesKept)
	}
	c.put(id(n), &Envelope{Subject: string(make([]byte, envelopesKept))})
	if c.get(id(n)) != nil {
		t.Error("an envelope as large as the cache is kept")
	}
	for i := range n {
		c.drop(id(i))
	}
	if len(c.m) != 0 || c.cost != 0 {
		t.Errorf("%d left, which cost %d", len(c.m), c.cost)
	}
}

// TestDeliverAll checks that many deliveries are as many of one, and that those of
// a transaction that fails leave nothing.
func TestDeliverAll(t *testing.T) {
	w := newWorld(t)
	large := "Subject: large\r\n\r\n" + strings.Repeat("0123456789abcde\n", 3*chunkSize/16)
	var list []Delivery
	for i := range togetherMost + 10 {
		raw := fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", i)
		if i == 5 {
			raw = large
		}
		list = append(list, Delivery{Raw: []byte(raw), Flags: []string{FlagSeen}})
	}
	ids, err := w.account().DeliverAll(Inbox, list)
	if err != nil || len(ids) != len(list) {
		t.Fatal(len(ids), err)
	}
	check := func() {
		t.Helper()
		f := w.folder(Inbox)
		messages, err := f.Messages()
		if err != nil || len(messages) != len(list) {
			t.Fatal(len(messages), err)
		}
		for i, m := range messages {
			raw, err := f.Bytes(m)
			if m.UID != ids[i].UID || !m.HasFlag(FlagSeen) || err != nil || string(raw) != string(list[i].Raw) {
				t.Errorf("message %d: uid %d, %d bytes, %v", i, m.UID, len(raw), err)
			}
		}
	}
	check()
	w.reopen()
	check()
	chunks := w.count("mailbox/c/")
	list[3].Flags = []string{`\Nonsense`}
	if ids, err := w.account().DeliverAll(Inbox, list); !errors.Is(err, ErrFlag) || len(ids) != 0 {
		t.Errorf("%d delivered: %v", len(ids), err)
	}
	list[3].Flags, list[togetherMost].Flags = nil, []string{`\Nonsense`}
	if ids, err := w.account().DeliverAll(Trash, list); !errors.Is(err, ErrFlag) || len(ids) != togetherMost {
		t.Errorf("%d delivered: %v", len(ids), err)
	}
	if n := w.count("mailbox/c/"); n != chunks+togetherMost+3 {
		t.Errorf("%d chunks, want %d", n, chunks+togetherMost+3)
	}
}

// TestRecordReader checks that the quick way through a record gives what codec
// gives, that it is taken, and that it takes nothing that codec would refuse.
func TestRecordReader(t *testing.T) {
	blob := blobID{1, 2, 3, 255}
	hash := hashID("a@b")
	for _, rec := range []messageRecord{
		{Format: FormatVersion, Date: 1, Size: 1, WireSize: 1, Blob: blob},
		{Format: 255, Flags: []string{FlagSeen, "$Forwarded"}, Date: 1 << 40, Zone: 7200, Size: 1 << 33, WireSize: 70000, Blob: blob, IDHash: hash},
		{Format: 1, Flags: []string{strings.Repeat("k", 100), "ä"}, Date: -5, Zone: -3600, Size: 23, WireSize: 24, Blob: blob, IDHash: hash},
		{Format: 1, Flags: make([]string, maxFlags), Date: -1 << 63, Zone: 1<<31 - 1, Size: 255, WireSize: 256, Blob: blob},
	} {
		b, err := codec.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		var have messageRecord
		var r recordReader
		if !r.quick(b, &have) {
			t.Errorf("%+v: not taken", rec)
		}
		if !reflect.DeepEqual(have, rec) {
			t.Errorf("have %+v\nwant %+v", have, rec)
		}
		for n := range b {
			if r.quick(b[:n], new(messageRecord)) {
				t.Errorf("%+v: taken after %d of %d bytes", rec, n, len(b))
			}
		}
		if r.quick(append(b, 0), new(messageRecord)) {
			t.Errorf("%+v: taken with a byte after it", rec)
		}
	}
}

// FuzzRecordReader compares the quick way with codec's.
func FuzzRecordReader(f *testing.F) {
	b, err := codec.Marshal(messageRecord{Format: 1, Flags: []string{FlagSeen, "x"}, Date: 5, Zone: -60, Size: 300, WireSize: 301, IDHash: hashID("a")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var quick, slow messageRecord
		var r recordReader
		if !r.quick(b, &quick) {
			return
		}
		if err := codec.Unmarshal(b, &slow); err != nil {
			t.Fatalf("%x: taken, but %v", b, err)
		}
		if !reflect.DeepEqual(quick, slow) {
			t.Fatalf("%x: %+v, want %+v", b, quick, slow)
		}
	})
}

// TestFlagsAreShared checks that a folder's messages with the same flags have one
// list of them, and that a change of one does not touch the others.
func TestFlagsAreShared(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.deliver(Inbox, letter(i), FlagSeen, "kept")
	}
	w.reopen()
	f := w.folder(Inbox)
	if !f.loaded {
		t.Error("the index was not read by Open")
	}
	list, err := f.Messages()
	if err != nil || len(list) != 3 {
		t.Fatal(list, err)
	}
	if &list[0].Flags[0] != &list[2].Flags[0] {
		t.Error("the lists are not one")
	}
	if _, err := f.SetFlags([]uint32{2}, FlagsRemove, []string{"KEPT"}); err != nil {
		t.Fatal(err)
	}
	if list, err = f.Messages(); err != nil || len(list[0].Flags) != 2 || len(list[1].Flags) != 1 || len(list[2].Flags) != 2 {
		t.Error(list, err)
	}
}
