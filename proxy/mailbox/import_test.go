package mailbox

import (
	"errors"
	"strings"
	"testing"
)

func TestImport(t *testing.T) {
	w := newWorld(t)
	list := []string{letter(1), letter(2), letter(2), large(3), ""}
	for round, want := range [][]bool{{true, true, true, true, true}, {false, false, false, false, false}} {
		i := w.account().Import()
		if err := i.Folder("Old/2025"); err != nil {
			t.Fatal(err)
		}
		for n, raw := range list {
			added, err := i.Add("Old/2025", strings.NewReader(raw), []string{FlagSeen}, start)
			if err != nil || added != want[n] {
				t.Errorf("round %d, message %d: added %v, %v", round, n, added, err)
			}
		}
	}
	// One copy was there twice; a third is another.
	i := w.account().Import()
	for n, want := range []bool{false, false, true} {
		if added, err := i.Add("Old/2025", strings.NewReader(letter(2)), nil, start); err != nil || added != want {
			t.Errorf("copy %d: added %v, %v", n, added, err)
		}
	}
	if added, err := i.Add("Old", strings.NewReader(letter(2)), nil, start); err != nil || !added {
		t.Errorf("in another folder: added %v, %v", added, err)
	}
	if _, err := i.Add("Nowhere", strings.NewReader("x"), nil, start); !errors.Is(err, ErrNoFolder) {
		t.Errorf("into no folder: %v", err)
	}
	if _, err := i.Add("Old", strings.NewReader("x"), []string{"a b"}, start); !errors.Is(err, ErrFlag) {
		t.Errorf("with a bad flag: %v", err)
	}
	if err := i.Folder("a*"); !errors.Is(err, ErrName) {
		t.Errorf("a bad name: %v", err)
	}
	if p := w.problems(); len(p) > 0 {
		t.Error(p)
	}
	if n := len(w.uids("Old/2025")); n != 6 {
		t.Errorf("%d messages", n)
	}
}
