package contacts

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Parameters of the safety number, those of Signal's.
const (
	safetyVersion    = 0
	safetyIterations = 5200
	safetyDigits     = 30 // for each of the two
	scanSize         = 32 // bytes of each of the two in a code that is scanned
)

var (
	// ErrNumber is wrapped by the error for what is no safety number, by its form.
	ErrNumber = errors.New("a safety number has 60 digits")
	// ErrScan is wrapped by the error for what is no code of mailproxy.
	ErrScan = errors.New("this is not the content of a safety code of mailproxy")
	// ErrOwnCode is returned for the code that the user's own side shows.
	ErrOwnCode = errors.New("this is the code that your own side shows: take the one that the other person's mailproxy shows")
	// ErrOtherCode is returned for the code of somebody else, or of another key.
	ErrOtherCode = errors.New("the code is that of another key, or of another person")
	// ErrOurKey is returned for the code of the right key whose owner has another one
	// for the user.
	ErrOurKey = errors.New("the code is that of the right key, but the other person's mailproxy has another key for you")
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
	a, b := digits(fingerprint(id1, key1)), digits(fingerprint(id2, key2))
	if b < a {
		a, b = b, a
	}
	return a + b
}

// fingerprint returns one side's hash: SHA-512 of version, key, identifier and key,
// then of the hash before and the key.
func fingerprint(id, key []byte) []byte {
	sum := binary.BigEndian.AppendUint16(nil, safetyVersion)
	sum = append(append(sum, key...), id...)
	for range safetyIterations {
		h := sha512.Sum512(append(sum, key...))
		sum = h[:]
	}
	return sum
}

// digits returns what is shown of a hash: each five bytes modulo 100,000.
func digits(sum []byte) string {
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

// ParseNumber reads a safety number as people write it, with spaces, hyphens and line
// breaks anywhere. Its error wraps ErrNumber.
func ParseNumber(text string) (string, error) {
	number := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -\t\r\n\u00a0", r) {
			return -1
		}
		return r
	}, text)
	if other := strings.Trim(number, "0123456789"); other != "" {
		return "", fmt.Errorf("%w, and there is something else in this one", ErrNumber)
	}
	if len(number) != 2*safetyDigits {
		return "", fmt.Errorf("%w, and this one has %d", ErrNumber, len(number))
	}
	return number, nil
}

// codePrefix begins what a code of mailproxy says, with the version of its form. All of
// it is of the characters that a QR code holds at 5.5 bits each.
const codePrefix = "MAILPROXY:1:"

// codeText is base32 (RFC 4648 section 6) without padding.
var codeText = base32.StdEncoding.WithPadding(base32.NoPadding)

// Code returns the content of the QR code that the one with address own shows to the
// other, who has it compared by CheckCode: the first 32 bytes of the hash of each side,
// the one who shows it first. So they are put together in Signal's own scannable form
// (libsignal's fingerprint.rs, ScannableFingerprint), there in other bytes.
func Code(own string, ownIdentity ed25519.PublicKey, other string, otherIdentity ed25519.PublicKey) string {
	return codePrefix + codeText.EncodeToString(fingerprint([]byte(own), ownIdentity)[:scanSize]) +
		":" + codeText.EncodeToString(fingerprint([]byte(other), otherIdentity)[:scanSize])
}

// CheckCode compares what the other's mailproxy shows as its code with the keys that
// are known here. It returns nil if each has the other's key; else an error that wraps
// ErrScan, ErrOwnCode, ErrOtherCode or ErrOurKey.
func CheckCode(text, own string, ownIdentity ed25519.PublicKey, other string, otherIdentity ed25519.PublicKey) error {
	theirs, ours, err := parseCode(text)
	if err != nil {
		return err
	}
	ownSum, otherSum := fingerprint([]byte(own), ownIdentity)[:scanSize], fingerprint([]byte(other), otherIdentity)[:scanSize]
	switch {
	case bytes.Equal(theirs, otherSum) && bytes.Equal(ours, ownSum):
		return nil
	case bytes.Equal(theirs, ownSum):
		return ErrOwnCode
	case !bytes.Equal(theirs, otherSum):
		return ErrOtherCode
	}
	return ErrOurKey
}

// parseCode reads a code: the hash of who showed it, and of who is to scan it. Programs
// that scan may change the case, and add space around it.
func parseCode(text string) (theirs, ours []byte, err error) {
	rest, ok := strings.CutPrefix(strings.ToUpper(strings.TrimSpace(text)), codePrefix)
	if !ok {
		return nil, nil, fmt.Errorf("%w: it does not begin with %s", ErrScan, codePrefix)
	}
	for i, part := range strings.Split(rest, ":") {
		sum, err := codeText.DecodeString(part)
		if err != nil || len(sum) != scanSize || i > 1 {
			return nil, nil, fmt.Errorf("%w: it is damaged, or not all of it is here", ErrScan)
		}
		theirs, ours = ours, sum
	}
	if theirs == nil {
		return nil, nil, fmt.Errorf("%w: half of it is missing", ErrScan)
	}
	return theirs, ours, nil
}
