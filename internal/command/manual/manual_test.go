package manual

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

type testCLI struct {
	Mail struct {
		Export struct {
			Format string `help:"What to write." enum:"mbox,maildir" default:"mbox"`
			Out    string `help:"File; it's new." type:"path" short:"o"`
			Name   string `help:"Whose."`
			JSON   bool   `help:"As JSON."`
			Sync   bool   `help:"Wait for the disk." default:"true" negatable:""`
		} `cmd:"" help:"Write: all of it."`
		Import struct {
			File string `arg:"" type:"existingfile" help:".mbox file."`
		} `cmd:"" help:"Take."`
	} `cmd:"" help:"The mail."`
	Shell struct {
		Which string `arg:"" enum:"one,two" help:"Which."`
	} `cmd:"" help:"A choice."`
	Secret  struct{} `cmd:"" hidden:"" help:"Nobody sees it."`
	Verbose bool     `help:"Say more." short:"v"`
	Unsaid  bool     `hidden:""`
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	k, err := kong.New(&testCLI{}, kong.Name("prog"), kong.Description("A program: it does - \\ nothing."))
	if err != nil {
		t.Fatal(err)
	}
	return k.Model
}

func completion(t *testing.T, shell string) string {
	t.Helper()
	var b strings.Builder
	if err := Complete(&b, model(t), shell); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "prog."+shell)
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// lines have a word before the key is pressed, and what is offered then.
var lines = []struct {
	typed []string // the last one is being typed
	want  []string
	files bool // the names of files are offered
}{
	{[]string{"m"}, []string{"mail"}, false},
	{[]string{"mail", ""}, []string{"export", "import"}, false},
	{[]string{"mail", "export", "--f"}, []string{"--format"}, false},
	{[]string{"-v", "mail", "export", "--form"}, []string{"--format"}, false},
	{[]string{"mail", "export", "--format", "m"}, []string{"maildir", "mbox"}, false},
	{[]string{"mail", "export", "--out", "a fi"}, []string{"a file"}, true},
	{[]string{"mail", "export", "-o", "a fi"}, []string{"a file"}, true},
	{[]string{"mail", "export", "--name", ""}, nil, false},
	{[]string{"mail", "import", "a fi"}, []string{"a file"}, true},
	{[]string{"shell", "t"}, []string{"two"}, false},
	{[]string{"sec"}, nil, false},
	{[]string{"--uns"}, nil, false},
}

// run runs a shell in a directory with one file, and returns the lines that it prints.
func run(t *testing.T, argv ...string) []string {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	c.Dir, c.Env = dir, append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v: %s\n%s", err, exit.Stderr, out)
	}
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		list = append(list, word)
	}
	slices.Sort(list)
	return list
}

func TestBash(t *testing.T) {
	file := completion(t, "bash")
	const script = `source "$1"; shift; COMP_WORDS=(prog "$@"); COMP_CWORD=$#; _prog; [ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}"`
	for _, l := range lines {
		got := run(t, append([]string{"bash", "--norc", "-c", script, "bash", file}, l.typed...)...)
		if !slices.Equal(got, l.want) {
			t.Errorf("%q: %q, want %q", l.typed, got, l.want)
		}
	}
	// The shell makes three words of one with an equals sign.
	if got := run(t, "bash", "--norc", "-c", script, "bash", file, "mail", "export", "--format", "=", "mb"); !slices.Equal(got, []string{"mbox"}) {
		t.Errorf("after an equals sign: %q", got)
	}
	if got := run(t, "bash", "--norc", "-c", script, "bash", file, "mail", "export", "--format", "="); len(got) != 2 {
		t.Errorf("right after an equals sign: %q", got)
	}
}

func TestFish(t *testing.T) {
	file := completion(t, "fish")
	for _, l := range lines {
		typed := strings.ReplaceAll(strings.Join(l.typed, " "), "a fi", `a\ fi`)
		got := run(t, "fish", "--no-config", "-c", `source $argv[1]; complete -C "prog $argv[2]"`, file, typed)
		// It offers the names of flags only after a hyphen, and short ones as well.
		if !slices.Equal(got, l.want) {
			t.Errorf("%q: %q, want %q", l.typed, got, l.want)
		}
	}
}

func TestZsh(t *testing.T) {
	file := completion(t, "zsh")
	// What the completion system would be called with is printed in its place.
	const script = `compdef() { :; }
_describe() { local w; for w in "${found[@]}"; do w=${w%%:*}; [[ $w == ${words[CURRENT]}* ]] && [[ ${words[CURRENT]} == -* || $w != -* ]] && print -r -- $w; done; true }
_files() { local f; for f in *; do [[ $f == ${words[CURRENT]}* ]] && print -r -- $f; done; true }
compadd() { shift; local w; for w in "$@"; do [[ $w == ${words[CURRENT]}* ]] && print -r -- $w; done; true }
source "$1"; shift; words=(prog "$@"); CURRENT=${#words}; _prog; true`
	for _, l := range lines {
		got := run(t, append([]string{"zsh", "-f", "-c", script, "zsh", file}, l.typed...)...)
		if !slices.Equal(got, l.want) {
			t.Errorf("%q: %q, want %q", l.typed, got, l.want)
		}
	}
}

func TestOtherShell(t *testing.T) {
	if err := Complete(io.Discard, model(t), "csh"); !errors.Is(err, ErrShell) {
		t.Errorf("csh: %v", err)
	}
}

func TestMan(t *testing.T) {
	var b strings.Builder
	more := []Section{{Title: "Exit status", Paras: []Para{{Tag: "0", Text: "Done."}, {Text: "'Twas so."}}}}
	if err := Man(&b, model(t), "prog v1", more); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{
		`.TH PROG 1 "" "prog v1" "prog"`, "prog \\- A program\n", `it does \- \e nothing.`,
		".SS mail export\n", ".SS mail import <file>\n", "\\fB\\-o, \\-\\-out=STRING\\fP\n", `\&.mbox file.`,
		"One of mbox, maildir. Without it: mbox.", "\\fB\\-\\-[no\\-]sync\\fP\n", `Wait for the disk. It is so unless \-\-no\-sync is given.`, ".SH EXIT STATUS\n", "\\&'Twas so.",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
	for _, hidden := range []string{"secret", "unsaid"} {
		if strings.Contains(page, hidden) {
			t.Errorf("the page has %q", hidden)
		}
	}
	if strings.Count(page, `\-\-verbose`) != 1 {
		t.Error("what all commands have is not said once")
	}
	file := filepath.Join(t.TempDir(), "prog.1")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	// Its warnings go to the error output.
	if text := strings.Join(run(t, "sh", "-c", `command -v groff >/dev/null || exit 0; groff -man -ww -Tascii -P-c -P-b -P-u "$1" 2>&1`, "sh", file), "\n"); text != "" && (strings.Contains(text, "warning") || !strings.Contains(text, "mail import <file>")) {
		t.Errorf("groff: %s", text)
	}
}
