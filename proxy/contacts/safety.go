package contacts

import (
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"strings"
)

// Parameters of the safety number, those of Signal's.
const (
	safetyVersion    = 0
	safetyIterations = 5200
	safetyDigits     = 30 // for each of the two
)

// SafetyNumber returns 60 digits that two people compare to know that nobody
// stands between them: it is the same on both sides if, and only if, each has the
// other's identity key. The order of the two does not matter. It takes some
// milliseconds.
//
// It is Signal's numeric fingerprint (Signal blog, "Safety number updates",
// November 2016; libsignal's fingerprint.rs) with an identity key of 32 bytes
// (Ed25519) and the canonical address as identifier. Each side is SHA-512,
// iterated 5200 times, over version, key and identifier; 30 digits of it are shown.
func SafetyNumber(address1 string, identity1 ed25519.PublicKey, address2 string, identity2 ed25519.PublicKey) string {
	return safetyNumber([]byte(address1), identity1, []byte(address2), identity2)
}

func safetyNumber(id1, key1, id2, key2 []byte) string {
	a, b := fingerprint(id1, key1), fingerprint(id2, key2)
	if b < a {
		a, b = b, a
	}
	return a + b
}

// fingerprint returns one side's digits: SHA-512 of version, key, identifier and
// key, then of the hash before and the key, each five bytes modulo 100,000.
func fingerprint(id, key []byte) string {
	sum := binary.BigEndian.AppendUint16(nil, safetyVersion)
	sum = append(append(sum, key...), id...)
	for range safetyIterations {
		h := sha512.Sum512(append(sum, key...))
		sum = h[:]
	}
	var out strings.Builder
	for i := 0; out.Len() < safetyDigits; i += 5 {
		var eight [8]byte
		copy(eight[3:], sum[i:i+5])
		fmt.Fprintf(&out, "%05d", binary.BigEndian.Uint64(eight[:])%100_000)
	}
	return out.String()
}

// GroupDigits writes a safety number in groups of five, as it is read aloud.
func GroupDigits(number string) string {
	var groups []string
	for len(number) > 5 {
		groups, number = append(groups, number[:5]), number[5:]
	}
	return strings.Join(append(groups, number), " ")
}
