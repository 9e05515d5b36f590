package mailbox

import (
	"errors"
	"fmt"
	"strings"
	"testing"
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
	if _, err := f.Remove([]uint32{2}); err != nil {
		t.Fatal(err)
	}
	var want []Seen
	for _, n := range []int{1, 3, 4, 5} {
		m, err := f.Message(uint32(n))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, Seen{n, m})
	}
	same := func(what string, have []Seen, err error) {
		t.Helper()
		if err != nil || len(have) != len(want) {
			t.Fatal(what, have, err)
		}
		for i := range have {
			if have[i].Seq != want[i].Seq || have[i].UID != want[i].UID {
				t.Errorf("%s: %d and %d, want %d and %d", what, have[i].Seq, have[i].UID, want[i].Seq, want[i].UID)
			}
		}
	}
	list, err := s.Pick(func(int, *Message) bool { return true })
	same("Pick", list, err)
	list, err = s.Known([]uint32{1, 2, 3, 4, 5, 6, 7})
	same("Known", list, err)
	want = want[1:2]
	list, err = s.Pick(func(seq int, m *Message) bool { return seq == 3 && m.UID == 3 })
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
