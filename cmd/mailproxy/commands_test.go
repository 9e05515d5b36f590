package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// leaves returns all commands, "config set" for example, but those that are hidden.
func leaves(t *testing.T) map[string]*kong.Node {
	t.Helper()
	k, err := kong.New(new(cli), kong.Name("mailproxy"), kong.Vars{"version": ""})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*kong.Node{}
	for _, n := range k.Model.Leaves(true) {
		words := n.Name
		for up := n.Parent; up.Type == kong.CommandNode; up = up.Parent {
			words = up.Name + " " + words
		}
		all[words] = n
	}
	if len(all) < 20 {
		t.Fatalf("%d commands are found", len(all))
	}
	return all
}

// goodElsewhere are the commands whose good input is a test of what they ask of the
// daemon: our own providers never let a name change its key, so that no script has a
// contact to decide on.
var goodElsewhere = map[string]struct{ file, test string }{
	"contact accept": {"../../proxy/contactkeys_test.go", "TestChangedKeyAccepted"},
	"contact reject": {"../../proxy/contactkeys_test.go", "TestChangedKeyRejected"},
}

// TestEveryCommandHasScript holds each command to a script that gives it good input and
// one that gives it bad input.
func TestEveryCommandHasScript(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var scripts strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		scripts.Write(b)
		scripts.WriteByte('\n')
	}
	for words := range leaves(t) {
		first, _, _ := strings.Cut(words, " ")
		for _, kind := range []struct{ input, prefix string }{{"good", ""}, {"bad", "! "}} {
			if e, ok := goodElsewhere[words]; ok && kind.prefix == "" {
				if b, err := os.ReadFile(e.file); err != nil || !strings.Contains(string(b), "func "+e.test+"(") {
					t.Errorf("mailproxy %s: there is no %s in %s: %v", words, e.test, e.file, err)
				}
				continue
			}
			line := kind.prefix + "exec mailproxy " + words
			if !regexp.MustCompile(`(?m)^(\[[^\]]+\] )*` + kind.prefix + `exec (sh -c ')?mailproxy ` + regexp.QuoteMeta(words) + `( |$)`).MatchString(scripts.String()) {
				t.Errorf("no script gives %s input to \"mailproxy %s\": add a line %q to cmd/mailproxy/testdata/script/%s.txt, and what it is to print",
					kind.input, words, line+" ...", first)
			}
		}
	}
}

// withoutJSON are the commands that answer in a form of their own.
var withoutJSON = map[string]string{
	"run":                  "tells what happens until it ends; status has the JSON",
	"demo":                 "tells a story; --ready-file has the JSON",
	"cert export":          "its output is the certificate",
	"account mobileconfig": "its output is the profile",
	"help":                 "its output is what --help prints",
	"man":                  "its output is the page",
	"completion":           "its output is the completion",
}

// TestEveryCommandHasJSON holds all others to --json.
func TestEveryCommandHasJSON(t *testing.T) {
	for words, n := range leaves(t) {
		has := false
		for _, f := range n.Flags {
			if f.Name == "json" {
				has = true
				if !f.IsBool() || !strings.HasPrefix(f.Help, "Answer as JSON") {
					t.Errorf("mailproxy %s: --json is another flag than elsewhere; embed command.JSONFlag", words)
				}
			}
		}
		if _, without := withoutJSON[words]; !has && !without {
			t.Errorf("mailproxy %s has no --json: embed command.JSONFlag, or name it in withoutJSON with the reason", words)
		}
	}
}

// TestHelpIsReadable holds each command and flag to a sentence.
func TestHelpIsReadable(t *testing.T) {
	for words, n := range leaves(t) {
		check := func(what, help string) {
			if help == "" || !strings.ContainsAny(help[len(help)-1:], ".)") || strings.ToUpper(help[:1]) != help[:1] && !strings.HasPrefix(help, "mbox") {
				t.Errorf("mailproxy %s: the help of %s is %q, want a sentence", words, what, help)
			}
			if strings.Contains(help, "''") || strings.Contains(help, "``") {
				t.Errorf("mailproxy %s: the help of %s is %q, of which two signs are shown as a quotation mark", words, what, help)
			}
		}
		check("it", n.Help)
		for _, f := range n.Flags {
			check("--"+f.Name, f.Help)
		}
		for _, p := range n.Positional {
			check(p.Name, p.Help)
		}
	}
}
