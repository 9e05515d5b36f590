package contacts

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// TestSafetyNumberOfSignal is the vector of Signal's own tests (libsignal,
// rust/protocol/src/fingerprint.rs, DISPLAYABLE_FINGERPRINT_V1). Its keys are
// X25519 keys with a type byte before them.
func TestSafetyNumberOfSignal(t *testing.T) {
	const want = "300354477692869396892869876765458257569162576843440918079131"
	alice, err := hex.DecodeString("0506863bc66d02b40d27b8d49ca7c09e9239236f9d7d25d6fcca5ce13c7064d868")
	if err != nil {
		t.Fatal(err)
	}
	bob, err := hex.DecodeString("05f781b6fb32fed9ba1cf2de978d4d5da28dc34046ae814402b5c0dbd96fda907b")
	if err != nil {
		t.Fatal(err)
	}
	if got := safetyNumber([]byte("+14152222222"), alice, []byte("+14153333333"), bob); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// SCANNABLE_FINGERPRINT_V1 has the first 32 bytes of both.
	for _, c := range []struct {
		id, want string
		key      []byte
	}{
		{"+14152222222", "1e301a0353dce3dbe7684cb8336e85136cdc0ee96219494ada305d62a7bd61df", alice},
		{"+14153333333", "d62cbf73a11592015b6b9f1682ac306fea3aaf3885b84d12bca631e9d4fb3a4d", bob},
	} {
		if got := hex.EncodeToString(fingerprint([]byte(c.id), c.key)[:scanSize]); got != c.want {
			t.Errorf("the code has %s for %s, want %s", got, c.id, c.want)
		}
	}
	if got := safetyNumber([]byte("+14153333333"), bob, []byte("+14152222222"), alice); got != want {
		t.Errorf("the other way round: got %s, want %s", got, want)
	}
}

func TestSafetyNumber(t *testing.T) {
	keyA := ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	keyB := public("bob")
	n := SafetyNumber("a@north.test", keyA, bob, keyB)
	if len(n) != 60 || strings.Trim(n, "0123456789") != "" {
		t.Errorf("safety number is %q", n)
	}
	if SafetyNumber(bob, keyB, "a@north.test", keyA) != n {
		t.Error("it depends on the order")
	}
	if SafetyNumber("a@north.test", keyA, bob, public("mallory")) == n || SafetyNumber("b@north.test", keyA, bob, keyB) == n {
		t.Error("it does not depend on key and address")
	}
	g := GroupDigits(n)
	if len(g) != 71 || strings.ReplaceAll(g, " ", "") != n || g[5] != ' ' {
		t.Errorf("groups are %q", g)
	}
}

func TestParseNumber(t *testing.T) {
	n := strings.Repeat("0123456789", 6)
	for text, want := range map[string]error{
		n: nil, GroupDigits(n): nil, " " + strings.ReplaceAll(GroupDigits(n), " ", "-") + "\r\n": nil,
		"": ErrNumber, n[1:]: ErrNumber, n + "0": ErrNumber, n[:59] + "x": ErrNumber, "١" + n[1:]: ErrNumber,
	} {
		got, err := ParseNumber(text)
		if !errors.Is(err, want) || err == nil && got != n {
			t.Errorf("%q is %q, %v; want %v", text, got, err, want)
		}
	}
}

func TestCode(t *testing.T) {
	const alice = "alice@north.test"
	a, b, m := public("alice"), public("bob"), public("mallory")
	shown := Code(bob, b, alice, a) // by Bob
	if len(shown) > 120 || strings.Trim(shown, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567:1") != "" {
		t.Errorf("the code is %q", shown)
	}
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"right", shown, nil},
		{"as a program may give it", " " + strings.ToLower(shown) + "\n", nil},
		{"our own", Code(alice, a, bob, b), ErrOwnCode},
		{"ours for somebody else", Code(alice, a, "carol@north.test", m), ErrOwnCode},
		{"of a false bob", Code(bob, m, alice, a), ErrOtherCode},
		{"of carol", Code("carol@north.test", b, alice, a), ErrOtherCode},
		{"of bob, who has a false alice", Code(bob, b, alice, m), ErrOurKey},
		{"of bob, for carol", Code(bob, b, "carol@north.test", a), ErrOurKey},
		{"nothing", "", ErrScan},
		{"a web address", "https://example.org/", ErrScan},
		{"of a later version", strings.Replace(shown, ":1:", ":2:", 1), ErrScan},
		{"half", shown[:64], ErrScan},
		{"cut", shown[:len(shown)-2], ErrScan},
		{"longer", shown + ":" + shown[12:64], ErrScan},
		{"a number", SafetyNumber(alice, a, bob, b), ErrScan},
	} {
		if err := CheckCode(c.text, alice, a, bob, b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func FuzzSafety(f *testing.F) {
	const alice = "alice@north.test"
	right := Code(bob, public("bob"), alice, public("alice"))
	f.Add(right)
	f.Add(strings.Repeat("12345 ", 12))
	f.Add("MAILPROXY:1::")
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := ParseNumber(text); err == nil && (len(n) != 60 || strings.Trim(n, "0123456789") != "") {
			t.Errorf("%q is the number %q", text, n)
		}
		theirs, ours, err := parseCode(text)
		if err == nil && (len(theirs) != scanSize || len(ours) != scanSize) {
			t.Errorf("%q is a code of %d and %d bytes", text, len(theirs), len(ours))
		}
		if err != nil && !errors.Is(err, ErrScan) {
			t.Error(err)
		}
	})
}
