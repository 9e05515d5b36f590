package invitation

import (
	"crypto/sha256"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mailproxy/internal/codec"
)

func sample() Invitation {
	return Invitation{
		Document: "https://north.example/network.note", Keys: []string{"oak+0a1b2c3d+AQID", "elm+11223344+BAUG"}, Threshold: 2,
		Provider: "north.example", Code: "MFRGGZDFMZTWQ2LK",
	}
}

// sealed is an invitation with whatever is in it.
func sealed(t *testing.T, body []byte) string {
	t.Helper()
	sum := sha256.Sum256(body)
	return prefix + strings.ToLower(encoding.EncodeToString(append(body, sum[:checksumSize]...)))
}

func TestParse(t *testing.T) {
	s, err := sample().String()
	if err != nil {
		t.Fatal(err)
	}
	wrapped := ""
	for i := 0; i < len(s); i += 60 {
		wrapped += "> " + s[i:min(i+60, len(s))] + "\r\n"
	}
	for _, text := range []string{s, strings.ToUpper(s), " \t" + s + "\n", wrapped, s[:20] + "\u00a0\u200b" + s[20:]} {
		i, err := Parse(text)
		if err != nil || !reflect.DeepEqual(i, sample()) {
			t.Errorf("%q: %+v, %v", text, i, err)
		}
	}
	if strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		t.Errorf("%q has more than letters and digits", s)
	}
}

func TestParseBad(t *testing.T) {
	s, err := sample().String()
	if err != nil {
		t.Fatal(err)
	}
	trailing, err := codec.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		text string
		want error
	}{
		{"", ErrForeign}, {"hello", ErrForeign}, {"mailproxy", ErrForeign}, {"MFRGGZDFMZTWQ2LK", ErrForeign},
		{"mailproxy2" + s[len(prefix):], ErrVersion},
		{prefix, ErrDamaged}, {prefix + "aa", ErrDamaged}, {s[:len(s)-1], ErrDamaged}, {s[:len(s)/2], ErrDamaged},
		{s + "aaaaaaaa", ErrDamaged}, {s[:30] + "a" + s[31:] + "!", ErrDamaged},
		{sealed(t, []byte("not cbor")), ErrDamaged}, {sealed(t, append(trailing, 0)), ErrDamaged},
		{prefix + strings.Repeat("a", MaxSize), ErrDamaged},
	} {
		if i, err := Parse(test.text); !errors.Is(err, test.want) || !reflect.DeepEqual(i, Invitation{}) {
			t.Errorf("%.60q: %+v, %v, want %v", test.text, i, err, test.want)
		}
	}
	for n := range len(s) - len(prefix) { // any one letter
		at := len(prefix) + n
		other := byte('a')
		if s[at] == other {
			other = 'b'
		}
		if _, err := Parse(s[:at] + string(other) + s[at+1:]); err == nil {
			t.Fatalf("letter %d may be any", at)
		}
	}
}

// TestSize is about one that Parse would refuse.
func TestSize(t *testing.T) {
	i := sample()
	i.Keys = slices.Repeat([]string{strings.Repeat("k", maxText)}, maxKeys)
	if s, err := i.String(); err == nil || !strings.Contains(err.Error(), "are most") {
		t.Errorf("%d characters, %v", len(s), err)
	}
}

// TestUnusable is about invitations that say what cannot be done.
func TestUnusable(t *testing.T) {
	for what, change := range map[string]func(*Invitation){
		"no key":            func(i *Invitation) { i.Keys = nil },
		"many keys":         func(i *Invitation) { i.Keys = make([]string, maxKeys+1) },
		"no threshold":      func(i *Invitation) { i.Threshold = 0 },
		"high threshold":    func(i *Invitation) { i.Threshold = 3 },
		"no provider":       func(i *Invitation) { i.Provider = "" },
		"no domain":         func(i *Invitation) { i.Provider = "a b" },
		"upper case":        func(i *Invitation) { i.Provider = "North.Example" },
		"no document":       func(i *Invitation) { i.Document = "" },
		"http":              func(i *Invitation) { i.Document = "http://north.example/network.note" },
		"file address":      func(i *Invitation) { i.Document = "file:///etc/passwd" },
		"relative path":     func(i *Invitation) { i.Document = "network.note" },
		"password":          func(i *Invitation) { i.Document = "https://a:b@north.example/" },
		"control character": func(i *Invitation) { i.Code = "a\x1b[2J" },
		"long code":         func(i *Invitation) { i.Code = strings.Repeat("a", maxText+1) },
	} {
		i := sample()
		change(&i)
		if s, err := i.String(); err == nil {
			t.Errorf("%s: made %s", what, s)
		}
		body, err := codec.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(sealed(t, body)); err == nil || !strings.Contains(err.Error(), "tell your provider") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	s, err := sample().String()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s)
	f.Add(prefix)
	f.Add("> " + s[:40] + "\r\n> " + s[40:])
	f.Fuzz(func(t *testing.T, text string) {
		i, err := Parse(text)
		if err != nil {
			return
		}
		again, err := i.String()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Parse(again); err != nil || !reflect.DeepEqual(back, i) {
			t.Fatalf("%+v became %+v: %v", i, back, err)
		}
	})
}
