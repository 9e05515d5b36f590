package server

import (
	"testing"

	"golang.org/x/text/secure/precis"
	"pgregory.net/rapid"
)

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "alice": true, "al.ice-b_9": true, "0": true,
		"": false, ".a": false, "a.": false, "a..b": false, "a-": false, "Alice": false,
		"a+b": false, "a/b": false, "jürgen": false, "a b": false, "a@b": false, "а": false,
	} {
		if got := validName(name); got != want {
			t.Errorf("validName(%q) = %v", name, got)
		}
	}
	for name := range reserved {
		if !validName(name) {
			t.Errorf("reserved name %q is none", name)
		}
	}
}

// All names that the syntax allows are what PRECIS makes of them, so that asking it
// refuses none; and what PRECIS maps onto another is no name.
func TestNamesArePrecis(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9]+([._-][a-z0-9]+)*`).Draw(t, "name")
		if !validName(name) {
			t.Fatalf("%q is no name", name)
		}
		any := rapid.String().Draw(t, "any")
		if mapped, err := precis.UsernameCaseMapped.String(any); validName(any) && (err != nil || mapped != any) {
			t.Fatalf("%q is a name, and %q to PRECIS, %v", any, mapped, err)
		}
	})
}

func BenchmarkValidName(b *testing.B) {
	for b.Loop() {
		validName("alice.b-9")
	}
}
