package directory

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// draftOf is the text of a document without signatures.
func draftOf(t testing.TB, d *Document) []byte {
	t.Helper()
	text, err := EncodeDraft(d)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestDraftGrowsFromEntries(t *testing.T) {
	whole := document(t)
	d := *whole
	d.Nodes = nil
	for _, n := range whole.Nodes {
		entry, err := EncodeEntry(n)
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := ParseEntries(entry)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseDraft(draftOf(t, &d))
		if err != nil {
			t.Fatalf("draft with %d nodes: %v", len(d.Nodes), err)
		}
		if got.Check() == nil {
			t.Fatalf("a draft with %d of %d nodes is called complete", len(d.Nodes), len(whole.Nodes))
		}
		if err := got.AddNode(nodes[0]); err != nil {
			t.Fatal(err)
		}
		d = *got
	}
	if err := d.Check(); err != nil || !reflect.DeepEqual(d.Nodes, whole.Nodes) {
		t.Errorf("nodes changed on their way: %v\n%+v\n%+v", err, d.Nodes, whole.Nodes)
	}

	moved := whole.Nodes[0]
	moved.Address = "127.0.0.1:9999"
	if err := d.AddNode(moved); err != nil || len(d.Nodes) != len(whole.Nodes) || d.Nodes[0].Address != moved.Address {
		t.Errorf("an entry that its operator changed: %v, %+v", err, d.Nodes[0])
	}
	other := whole.Nodes[0]
	other.Identity = key(t)
	if err := d.AddNode(other); !errors.Is(err, ErrDocument) || !strings.Contains(err.Error(), "another identity key") {
		t.Errorf("same name, another key: %v", err)
	}
	if !d.RemoveNode(whole.Nodes[1].Name) || d.RemoveNode(whole.Nodes[1].Name) || len(d.Nodes) != len(whole.Nodes)-1 {
		t.Errorf("removing a node: %d of %d are left", len(d.Nodes), len(whole.Nodes))
	}
	second := whole.Nodes[0]
	second.Name = "second"
	if err := d.AddNode(second); !errors.Is(err, ErrDocument) || !strings.Contains(err.Error(), "has the identity key of") {
		t.Errorf("same key, another name: %v", err)
	}
}

func TestDraftRefuses(t *testing.T) {
	for _, test := range []struct{ name, text, says string }{
		{"no TOML", "what = is this", "invalid network document"},
		{"unknown key", "format = 1\ncolour = 'red'\n", `line 2: "colour" is unknown`},
		{"too long", strings.Repeat("#", maxDocument+1), "limit"},
	} {
		if _, err := ParseDraft([]byte(test.text)); !errors.Is(err, ErrDocument) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("draft, %s: %v", test.name, err)
		}
		if _, err := ParseEntries([]byte(test.text)); !errors.Is(err, ErrDocument) {
			t.Errorf("entry, %s: %v", test.name, err)
		}
	}
	good, err := EncodeEntry(document(t).Nodes[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, old, by, says string }{
		{"layer", "layer = 1", "layer = 7", "layer 7"},
		{"role", "'mix'", "'king'", "king"},
		{"address", "127.0.0.1:", "127.0.0.1", "host:port"},
		{"key", "identity = '", "identity = 'A", "key"},
		{"no node", "[[node]]", "# ", "unknown"},
	} {
		text := strings.Replace(string(good), test.old, test.by, 1)
		if _, err := ParseEntries([]byte(text)); !errors.Is(err, ErrDocument) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("entry, %s: %v", test.name, err)
		}
	}
	if _, err := ParseEntries(nil); !errors.Is(err, ErrDocument) {
		t.Errorf("empty entry: %v", err)
	}
}

func TestSignaturesCombine(t *testing.T) {
	draft := draftOf(t, document(t))
	s1, v1 := signer(t, "one")
	s2, v2 := signer(t, "two")
	s3, v3 := signer(t, "three")
	one, err := AddSignature(draft, s1)
	if err != nil {
		t.Fatal(err)
	}
	if !Signed(one) || Signed(draft) {
		t.Error("a note and a draft are taken for each other")
	}
	two, err := AddSignature(one, s2, v1)
	if err != nil {
		t.Fatal(err)
	}
	// Who knows nobody else adds to what is there all the same.
	three, err := AddSignature(two, s3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(three, Trust{Keys: []string{v1, v2, v3}, Threshold: 3}); err != nil {
		t.Error(err)
	}
	if text, err := Text(three); err != nil || !bytes.Equal(text, draft) {
		t.Errorf("signing changed the text: %v", err)
	}
	again, err := AddSignature(three, s3, v1, v2, v3)
	if err != nil || bytes.Count(again, []byte("\n— ")) != 3 {
		t.Errorf("signing twice: %v, %d signatures", err, bytes.Count(again, []byte("\n— ")))
	}
	r, err := Inspect(two, []string{v1, v3})
	if want := (&Report{Good: []string{"one"}, Missing: []string{"three"}, Other: []string{"two"}}); err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("report %+v, %v, want %+v", r, err, want)
	}
	if err := r.Err(1); err != nil {
		t.Errorf("one of one needed: %v", err)
	}
	if err := r.Err(2); !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), `1 of 2 needed have signed ("one"); not: "three"`) {
		t.Errorf("one of two needed: %v", err)
	}

	altered := bytes.Replace(two, []byte("400ms"), []byte("401ms"), 1)
	if _, err := AddSignature(altered, s3, v1); !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), `signature of "one" is false`) {
		t.Errorf("signing what was altered: %v", err)
	}
	r, err = Inspect(altered, []string{v1, v2})
	if err != nil || !reflect.DeepEqual(r.False, []string{"one", "two"}) || !errors.Is(r.Err(1), ErrUntrusted) {
		t.Errorf("report on what was altered: %+v, %v", r, err)
	}
	if _, err := AddSignature(bytes.Replace(draft, []byte("layer = 1"), []byte("layer = 2"), 1), s1); !errors.Is(err, ErrDocument) {
		t.Errorf("an incomplete document was signed: %v", err)
	}
	if _, err := AddSignature(draft, "no key"); err == nil {
		t.Error("signed with no key")
	}
}

func FuzzDraft(f *testing.F) {
	d := document(f)
	f.Add(draftOf(f, d))
	entry, err := EncodeEntry(d.Nodes[1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(entry)
	s, _ := signer(f, "fuzz")
	msg, err := AddSignature(draftOf(f, d), s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg)
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := ParseDraft(b); err == nil {
			if _, err := EncodeDraft(d); err != nil {
				t.Errorf("a draft that was read cannot be written: %v", err)
			}
		}
		if nodes, err := ParseEntries(b); err == nil && len(nodes) == 0 {
			t.Error("an entry without a node")
		}
		if msg, err := AddSignature(b, s); err == nil && !Signed(msg) {
			t.Error("signed, and not signed")
		}
	})
}
