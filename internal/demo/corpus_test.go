package demo

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailproxy/proxy/progress"
)

// corpusVariable names a directory with more RFC 5322 files for TestCorpus.
const corpusVariable = "MAILPROXY_CORPUS"

// corpus returns messages that others wrote: those of CPython's own tests, where
// a Python installation has them, what the Go distribution has, and the files in
// the directory that corpusVariable names.
func corpus(t *testing.T) (names []string, messages [][]byte) {
	t.Helper()
	add := func(name string, m []byte) {
		if len(bytes.TrimSpace(m)) > 0 {
			names, messages = append(names, name), append(messages, m)
		}
	}
	if out, err := exec.Command("python3", filepath.Join("testdata", "messages.py")).Output(); err == nil {
		for i, line := range strings.Fields(string(out)) {
			m, err := base64.StdEncoding.DecodeString(line)
			if err != nil {
				t.Fatalf("messages of CPython: %v", err)
			}
			add(fmt.Sprintf("CPython %d", i), m)
		}
	} else {
		t.Logf("no Python with its tests: %v", err)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Logf("no Go distribution: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "src", "mime", "multipart", "testdata", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv(corpusVariable); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(more) == 0 {
			t.Fatalf("%s: no files in %s", corpusVariable, dir)
		}
		files = append(files, more...)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			continue
		}
		m, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		add(file, m)
	}
	return names, messages
}

// passing are the fields that arrive as they were sent.
var passing = []string{
	"Subject", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID", "Content-Description",
}

// TestCorpus sends real mail, and mail malformed on purpose, on the same way as
// "mailproxy demo --send".
func TestCorpus(t *testing.T) {
	t.Parallel()
	names, messages := corpus(t)
	if len(messages) < 50 {
		t.Skipf("found %d messages of others only; install Python with its tests, or set %s to a directory of mail", len(messages), corpusVariable)
	}
	if slow > 1 { // whose network takes a third of the mail in the same time
		for i := range len(messages) / slow {
			names[i], messages[i] = names[i*slow], messages[i*slow]
		}
		names, messages = names[:len(names)/slow], messages[:len(messages)/slow]
	}
	w := newWorld(t, func(c *Config) {
		c.Parameters = c.Parameters.Scaled(2)
		c.Receipts = false // twice the mail otherwise
	})
	alice := w.account(t, Alice)
	open := map[int][]byte{} // delivered to be, by index
	reasons := map[string]int{}
	for i, m := range messages {
		sent := WithFrom(m, Alice)
		err := w.Submit(alice, Bob, sent)
		var answer *AnswerError
		switch {
		case errors.As(err, &answer):
			if answer.Code/100 != 5 || len(strings.Fields(answer.Text)) < 5 {
				t.Errorf("%s is refused with %v, which says no reason", names[i], answer)
			}
			reasons[answer.Error()]++
		case err != nil:
			t.Fatalf("submit %s: %v", names[i], err)
		default:
			open[i] = arriving(sent)
		}
	}
	accepted := len(open)
	end := time.Now().Add(2 * patience)
	for w.delivered(Bob) < accepted && time.Now().Before(end) {
		time.Sleep(20 * time.Millisecond)
	}
	overIMAP, overPOP3 := w.fetch(t, Bob, "INBOX"), w.retr(t, Bob)
	t.Logf("%d messages: %d delivered, %d refused", len(messages), len(overIMAP), len(messages)-accepted)
	for reason, n := range reasons {
		t.Logf("refused %d: %s", n, reason)
	}
	if len(overIMAP) != accepted || len(overPOP3) != accepted {
		t.Errorf("%d were accepted, %d are there over IMAP, %d over POP3", accepted, len(overIMAP), len(overPOP3))
	}
	if n := w.count(progress.Failed, Alice, Bob); n != 0 {
		t.Errorf("%d failed", n)
	}
	for i, got := range overIMAP {
		if i < len(overPOP3) && !bytes.Equal(got, overPOP3[i]) {
			t.Errorf("message %d differs between IMAP and POP3:\n%q\n%q", i+1, got, overPOP3[i])
		}
	}
	for _, problem := range unmatched(overIMAP, open) {
		t.Error(problem)
	}
}

// unmatched gives each message that arrived one that was sent and could have become
// it, and says for which that cannot be done.
func unmatched(arrived [][]byte, sent map[int][]byte) (problems []string) {
	could := make([][]int, len(arrived)) // what each can have been
	reason := make([][]string, len(arrived))
	for i, got := range arrived {
		_, body := headerAndBody(got)
		reason[i] = []string{"no message sent has its body"}
		for k, m := range sent {
			if _, want := headerAndBody(m); !bytes.Equal(body, want) {
				continue
			}
			why := harmed(m, got)
			if len(why) == 0 {
				could[i] = append(could[i], k)
			} else {
				reason[i] = why
			}
		}
	}
	// Several have the same body; augmenting paths find the most pairs.
	taken := map[int]int{} // which arrived, by what was sent
	var give func(i int, tried map[int]bool) bool
	give = func(i int, tried map[int]bool) bool {
		for _, k := range could[i] {
			if tried[k] {
				continue
			}
			tried[k] = true
			if other, ok := taken[k]; !ok || give(other, tried) {
				taken[k] = i
				return true
			}
		}
		return false
	}
	for i, got := range arrived {
		if !give(i, map[int]bool{}) {
			problems = append(problems, fmt.Sprintf("message %d arrived: %q\n%.2000q", i+1, reason[i], got))
		}
	}
	for k, m := range sent {
		if _, ok := taken[k]; !ok {
			problems = append(problems, fmt.Sprintf("message %d was sent and is not among those that arrived:\n%.2000q", k, m))
		}
	}
	return problems
}

// arriving returns a message as SMTP carries it: with CRLF, also at the end.
func arriving(m []byte) []byte {
	out := make([]byte, 0, len(m))
	for i, c := range m {
		if c == '\n' && (i == 0 || m[i-1] != '\r') {
			out = append(out, '\r')
		}
		out = append(out, c)
	}
	if !bytes.HasSuffix(out, []byte("\r\n")) {
		out = append(out, "\r\n"...)
	}
	return out
}

// harmed returns what is wrong with the header of a message that arrived.
func harmed(sent, got []byte) (wrong []string) {
	same := func(name, have, want string) {
		if have != want {
			wrong = append(wrong, fmt.Sprintf("%s is %q, was %q", name, have, want))
		}
	}
	for _, name := range passing {
		same(name, words(field(got, name)), words(field(sent, name)))
	}
	if field(sent, "MIME-Version") != "" {
		same("MIME-Version", field(got, "MIME-Version"), "1.0")
	}
	same("From", field(got, "From"), "<"+Alice+">")
	for _, name := range []string{"To", "Cc"} {
		want, ok := addressesIn(sent, name)
		if !ok {
			continue // malformed: what there is to be read of it is the header policy's
		}
		if have, ok := addressesIn(got, name); !ok || !slices.Equal(have, want) {
			wrong = append(wrong, fmt.Sprintf("%s has the addresses %q, had %q", name, have, want))
		}
	}
	if want, err := mail.ParseDate(field(sent, "Date")); err == nil {
		have, err := mail.ParseDate(field(got, "Date"))
		if err != nil || !have.Equal(want.Truncate(time.Minute)) {
			wrong = append(wrong, fmt.Sprintf("Date is %v, was %v", have, want))
		}
	}
	return wrong
}

// addressesIn returns the addresses in all fields of that name, each once, and
// whether they can be read.
func addressesIn(m []byte, name string) (out []string, ok bool) {
	for _, f := range fields(m) {
		if !strings.EqualFold(f[0], name) || f[1] == "" {
			continue
		}
		list, err := mail.ParseAddressList(f[1])
		if err != nil {
			return nil, false
		}
		for _, a := range list {
			if !slices.Contains(out, a.Address) {
				out = append(out, a.Address)
			}
		}
	}
	return out, true
}

// words returns text with each run of white space, and of what is made white
// space in a header, as one space.
func words(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\v\f\x00", r) }), " ")
}
