package address_test

import (
	"errors"
	"strings"
	"testing"

	"mailproxy/internal/address"
	"mailproxy/spool"
)

func TestCanonical(t *testing.T) {
	tests := []struct{ in, want string }{
		{"alice@north.test", "alice@north.test"},
		{"Alice.B@North.TEST", "alice.b@north.test"},
		{"a+tag/x@n", "a+tag/x@n"},
		{"", ""}, {"alice", ""}, {"@north.test", ""}, {"alice@", ""},
		{"a@b@c", ""}, {"a..b@c", ""}, {".a@c", ""}, {"a.@c", ""},
		{"a b@c", ""}, {"a\x00@c", ""}, {"a@c\r\n", ""}, {"<a@c>", ""}, {`"a"@c`, ""},
		{"ä@c", ""}, {"a@ä", ""}, {"a@c.", ""}, {"a@-c", ""}, {"a@c-", ""}, {"a@[1.2.3.4]", ""},
		{strings.Repeat("a", 65) + "@c", ""},
		{"a@" + strings.Repeat("b.", 62) + "bb", "a@" + strings.Repeat("b.", 62) + "bb"},
		{"a@" + strings.Repeat("b.", 63) + "b", ""},
		{"\u212a@c", ""}, // the Kelvin sign folds to k in Unicode
	}
	for _, tt := range tests {
		got, err := address.Canonical(tt.in)
		if got != tt.want || (tt.want == "") != errors.Is(err, address.ErrInvalid) {
			t.Errorf("Canonical(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestMaxSizeIsTheBundles(t *testing.T) {
	if address.MaxSize != spool.MaxAddressSize {
		t.Fatalf("MaxSize is %d, a bundle has room for %d", address.MaxSize, spool.MaxAddressSize)
	}
}

func TestSame(t *testing.T) {
	if !address.Same("A@b", "a@B") || address.Same("a@b", "c@b") || address.Same("x", "x") {
		t.Fatal("Same is wrong")
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add("Alice@North.test")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := address.Canonical(s)
		if err != nil {
			return
		}
		if again, err := address.Canonical(c); err != nil || again != c || !address.IsCanonical(c) {
			t.Fatalf("Canonical(%q) = %q, %v", c, again, err)
		}
		if l, d := address.Split(c); l+"@"+d != c {
			t.Fatalf("Split(%q) = %q, %q", c, l, d)
		}
	})
}
