package directory

import (
	"errors"
	"testing"
)

// TestSnapshotOfThePast hands views a snapshot that was right and is over.
func TestSnapshotOfThePast(t *testing.T) {
	s := newSigned(t)
	views := NewViews(s.doc)
	for _, test := range []struct {
		e    Epoch
		want bool
	}{{10, true}, {13, true}, {11, true}, {10, false}, {9, false}, {14, true}, {11, false}, {12, true}} {
		added, err := views.Add(s.snapshot(s.doc, test.e))
		if added != test.want || (err == nil) != test.want || err != nil && !errors.Is(err, ErrSnapshot) {
			t.Errorf("a snapshot of %v: %v, %v, want %v", test.e, added, err, test.want)
		}
	}
}
