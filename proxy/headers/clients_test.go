package headers

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden headers anew; look at what changed")

// TestClients takes messages with the header fields that mail programs write, in
// testdata/clients, and compares the header that goes out with the golden one beside
// each. The messages are our own; which fields stand in them, in which form, is from
// the programs' sources and from mail to public lists. A header that is not looked
// at again after -update proves little, so the rules are checked apart from it.
func TestClients(t *testing.T) {
	files, err := filepath.Glob("testdata/clients/*.eml")
	if err != nil || len(files) < 13 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".eml"), func(t *testing.T) {
			msg, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r := outgoing(t, string(msg), policy())
			head, body, _ := bytes.Cut(r.Message, []byte("\r\n\r\n"))
			head = append(head, "\r\n\r\n"...)
			if _, in, _ := bytes.Cut(msg, []byte("\r\n\r\n")); !bytes.Equal(in, body) {
				t.Errorf("body is changed:\n%q\n%q", in, body)
			}
			golden := strings.TrimSuffix(file, ".eml") + ".header"
			if *update {
				if err := os.WriteFile(golden, head, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(head, want) {
				t.Errorf("got:\n%s\nwant:\n%s", head, want)
			}
			checkHeader(t, r, policy())
			if r.Leaks != 0 {
				t.Errorf("nothing is signed, and yet there are leaks: %v", r.Leaks.Texts())
			}
			// What tells of the machine, the program, the place, or others.
			for _, secret := range []string{
				"example.org", ".local", "alices-", "thinkpad", "pathway", "mail.example", "gmail", "Mozilla", "Thunderbird", "Apple", "iPhone",
				"Outlook", "K-9", "K9", "utt", "Evolution", "KMail", "Boats", "Example &", "192.0.2", "+0100", "-0800", "dave@", "Dave",
			} {
				ct := regexp.MustCompile(`(?i)boundary="[^"]*"`) // the body names it, so it must stay
				if bytes.Contains(ct.ReplaceAll(head, nil), []byte(secret)) {
					t.Errorf("%q is in the header:\n%s", secret, head)
				}
			}
			// What makes it a mail of this program would be lost without a trace if
			// the sample did not have it.
			if n := len(r.To); n == 0 {
				t.Error("nobody in To")
			}
		})
	}
}

var (
	datePattern = regexp.MustCompile(`^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:00 \+0000$`)
	idForm      = regexp.MustCompile(`^<[0-9a-f]{32}@mailproxy\.invalid>$`)
)

// checkHeader looks at an outgoing header by the rules of the policy alone.
func checkHeader(t *testing.T, r *rewritten, p Policy) {
	t.Helper()
	fields, _, bad := split(r.Message)
	if bad != nil {
		t.Fatalf("line %d of the header %s", bad.line, bad.reason)
	}
	count := map[string]int{}
	for _, f := range fields {
		if !slices.Contains(allowed, f.name) || !p.KeepAutocrypt && slices.Contains(keptCrypto, f.name) {
			t.Errorf("field %q leaves", f.name)
		}
		count[f.name]++
		value := f.value()
		for _, line := range f.lines {
			if strings.ContainsAny(line, "\r\n\x00\v\f") {
				t.Errorf("%s has the line %q", f.name, line)
			}
		}
		switch f.name {
		case "From":
			a, err := parser.Parse(value)
			if err != nil || a.Address != r.From || !slices.ContainsFunc(append(p.Aliases, p.Sender), func(m Mailbox) bool {
				return m.Address == a.Address && strings.TrimSpace(m.Name) == strings.TrimSpace(a.Name)
			}) {
				t.Errorf("From is %q, %v", value, err)
			}
		case "Date":
			if d, err := time.Parse("Mon, 02 Jan 2006 15:04:05 -0700", value); err != nil || !datePattern.MatchString(value) || d.Second() != 0 {
				t.Errorf("Date is %q", value)
			}
		case "Message-ID":
			if !idForm.MatchString(value) || value != "<"+r.MessageID+">" {
				t.Errorf("Message-ID is %q", value)
			}
		case "In-Reply-To", "References":
			if ids := messageIDs(value); len(ids) == 0 || slices.ContainsFunc(ids, func(id string) bool { return p.Seen == nil || !p.Seen(id) }) {
				t.Errorf("%s is %q", f.name, value)
			}
		case "To", "Cc", "Reply-To":
			list, err := parser.ParseList(value)
			if err != nil {
				t.Errorf("%s is %q: %v", f.name, value, err)
			}
			for _, a := range list {
				if a.Name != "" || strings.Contains(value, ";") || strings.Contains(value, "(") && !strings.Contains(a.Address, "(") {
					t.Errorf("%s has more than addresses: %q", f.name, value)
				}
			}
		case "MIME-Version":
			if value != "1.0" {
				t.Errorf("MIME-Version is %q", value)
			}
		}
	}
	for name, n := range count {
		if n > 1 && name != "Autocrypt" && name != "OpenPGP" {
			t.Errorf("%s is there %d times", name, n)
		}
	}
	for _, name := range []string{"From", "Date", "Message-ID"} {
		if count[name] != 1 {
			t.Errorf("%s is there %d times", name, count[name])
		}
	}
}
