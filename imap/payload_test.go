package imap

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"

	goimap "github.com/emersion/go-imap/v2"

	"mailproxy/proxy/mailbox"
)

// TestFetchLarge: what is too large to be held is the same bytes, whole and in part,
// decoded and not.
func TestFetchLarge(t *testing.T) {
	w := newWorld(t)
	data := bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef\n"), 3*maxHeld/49)
	var encoded bytes.Buffer
	for rest := data; len(rest) > 0; rest = rest[min(57, len(rest)):] {
		fmt.Fprintf(&encoded, "%s\r\n", base64.StdEncoding.EncodeToString(rest[:min(57, len(rest))]))
	}
	raw := "Subject: large\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		encoded.String() + "--b--\r\n"
	w.deliver("INBOX", raw)
	c := w.client(nil)
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	part := encoded.Bytes()[:encoded.Len()-2] // the last line break is the delimiter's
	at, n := int64(1000), int64(2*maxHeld)
	items := &goimap.FetchOptions{
		BodySection: []*goimap.FetchItemBodySection{
			{Peek: true}, {Peek: true, Part: []int{1}}, {Peek: true, Partial: &goimap.SectionPartial{Offset: at, Size: n}},
		},
		BinarySection: []*goimap.FetchItemBinarySection{
			{Peek: true, Part: []int{1}}, {Peek: true, Part: []int{1}, Partial: &goimap.SectionPartial{Offset: at, Size: n}},
			{Peek: true, Part: []int{1}, Partial: &goimap.SectionPartial{Offset: int64(len(data)) + 5, Size: n}},
		},
		BinarySectionSize: []*goimap.FetchItemBinarySectionSize{{Part: []int{1}}},
	}
	list, err := c.Fetch(goimap.SeqSetNum(1), items).Collect()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || len(list[0].BodySection) != 3 || len(list[0].BinarySection) != 3 || len(list[0].BinarySectionSize) != 1 {
		t.Fatalf("%d messages came, or not all items", len(list))
	}
	for i, want := range [][]byte{[]byte(raw), part, []byte(raw)[at : at+n]} {
		if got := list[0].BodySection[i].Bytes; !bytes.Equal(got, want) {
			t.Errorf("section %d has %d bytes, want %d", i, len(got), len(want))
		}
	}
	for i, want := range [][]byte{data, data[at : at+n], nil} {
		if got := list[0].BinarySection[i].Bytes; !bytes.Equal(got, want) {
			t.Errorf("binary section %d has %d bytes, want %d", i, len(got), len(want))
		}
	}
	if got := list[0].BinarySectionSize[0].Size; int(got) != len(data) {
		t.Errorf("binary size %d, want %d", got, len(data))
	}
}

// TestFetchLargeDamaged: a client that was promised bytes that cannot be read is not
// left waiting for them, and others go on.
func TestFetchLargeDamaged(t *testing.T) {
	w := newWorld(t)
	w.deliver("INBOX", "Subject: large\r\n\r\n"+string(bytes.Repeat([]byte("x"), 2*maxHeld)))
	w.corrupt(t)
	c := w.client(nil)
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	whole := &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{{Peek: true}}}
	if _, err := c.Fetch(goimap.SeqSetNum(1), whole).Collect(); err == nil {
		t.Error("a message that is not there was fetched")
	}
	if err := c.Noop().Wait(); err == nil {
		t.Error("the connection goes on in the middle of a literal")
	}
	other := w.client(nil)
	if n, err := other.Select("INBOX", nil).Wait(); err != nil || n.NumMessages != 1 {
		t.Errorf("another client: %v, %v", n, err)
	}
}

// TestFetchManyItems: what a response holds of a message is bounded, however often a
// line asks for it.
func TestFetchManyItems(t *testing.T) {
	w := newWorld(t)
	body := strings.Repeat("x", maxHeld/2)
	w.deliver("INBOX", "Subject: large\r\nX: "+strings.Repeat("y", maxHeld/4)+"\r\n\r\n"+body)
	f, err := w.account.Folder("INBOX")
	if err != nil {
		t.Fatal(err)
	}
	m := w.messages("INBOX")[0]
	options := &goimap.FetchOptions{}
	for i := range 60 {
		b := &goimap.FetchItemBodySection{Specifier: goimap.PartSpecifierText}
		if i%2 == 1 {
			b = &goimap.FetchItemBodySection{Specifier: goimap.PartSpecifierHeader, HeaderFields: []string{"X"}}
		}
		options.BodySection = append(options.BodySection, b)
	}
	err = f.Content(m, func(c *mailbox.Content) error {
		var got fetched
		if err := got.read(c, m, options); err != nil {
			return err
		}
		inMemory := int64(0)
		for _, p := range got.sections {
			inMemory += int64(len(p.data))
			b := p.data
			if p.open != nil {
				r, err := p.open()
				if err != nil {
					return err
				}
				if b, err = io.ReadAll(r); err != nil {
					return err
				}
			}
			if int64(len(b)) != p.size || len(b) < maxHeld/4 {
				t.Errorf("a payload of %d bytes says %d", len(b), p.size)
			}
		}
		if inMemory > maxHeld {
			t.Errorf("%d bytes are held, more than %d", inMemory, maxHeld)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l := w.login()
	l.ok("SELECT INBOX")
	l.status("FETCH 1 ("+strings.TrimSpace(strings.Repeat("BODY.PEEK[]<0.1> ", maxItems+1))+")", "NO [LIMIT]")
	l.ok("FETCH 1 (" + strings.TrimSpace(strings.Repeat("BODY.PEEK[]<0.1> ", maxItems)) + ")")
}
