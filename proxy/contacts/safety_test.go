package contacts

import (
	"crypto/ed25519"
	"encoding/hex"
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
