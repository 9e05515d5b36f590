package address

import (
	"errors"
	"testing"

	"mailproxy/spool"
)

func TestCanonical(t *testing.T) {
	tests := []struct{ in, want string }{
		{"alice@north.test", "alice@north.test"},
		{"Alice.B@North.TEST", "alice.b@north.test"},
		{"", ""}, {"alice", ""}, {"@north.test", ""}, {"alice@", ""}, {"a@b@north.test", ""},
		{"a\x00@north.test", ""}, {"a@north.test\r\n", ""}, {"<a@north.test>", ""},
	}
	for _, tt := range tests {
		got, err := Canonical(tt.in)
		if got != tt.want || (tt.want == "") != errors.Is(err, spool.ErrAddress) {
			t.Errorf("Canonical(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
		if IsCanonical(tt.in) != (tt.in == tt.want && tt.want != "") {
			t.Errorf("IsCanonical(%q) is wrong", tt.in)
		}
	}
	if !Same("A@north.test", "a@NORTH.test") || Same("a@north.test", "c@north.test") || Same("x", "x") {
		t.Error("Same is wrong")
	}
}

// FuzzCanonical makes sure that the normal form is its own normal form: two
// spellings of one address must never be two contacts.
func FuzzCanonical(f *testing.F) {
	f.Add("Alice@North.test")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Canonical(s)
		if err != nil {
			return
		}
		if again, err := Canonical(c); err != nil || again != c || !IsCanonical(c) {
			t.Fatalf("Canonical(%q) = %q, %v", c, again, err)
		}
	})
}
