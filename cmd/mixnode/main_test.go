package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mailproxy/internal/command/scripts"
	"mailproxy/mixnet/directory"
)

// TestMain makes this test's binary the command mixnode in the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mixnode": main})
}

// TestScripts runs testdata/script: the command line as an operator meets it.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: scripts.With(map[string]scripts.Command{
			"keyof": keyOf, "background": background, "signal": signalTo, "waitline": waitLine, "later": later,
		}),
		RequireExplicitExec: true,
	})
}

// keyof VARIABLE FILE sets the variable to what is in the file, a key.
func keyOf(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// A process is what background started, and how much of its log waitline has read.
type process struct {
	cmd  *exec.Cmd
	log  string
	read int
}

// processes are those of all scripts, by the script's directory and a name.
var processes sync.Map

func processOf(ts *testscript.TestScript, name string) *process {
	p, ok := processes.Load(ts.MkAbs(name))
	if !ok {
		ts.Fatalf("no process %s", name)
	}
	return p.(*process)
}

// background NAME LOG COMMAND... runs a command whose log can be read while it runs.
func background(ts *testscript.TestScript, _ bool, args []string) {
	log, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	path := ""
	for _, dir := range strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		if path = dir + "/" + args[2]; exists(path) {
			break
		}
	}
	cmd := exec.Command(path, args[3:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), log, log
	ts.Check(cmd.Start())
	processes.Store(ts.MkAbs(args[0]), &process{cmd: cmd, log: ts.MkAbs(args[1])})
	ts.Defer(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // which says that it was killed
		_ = log.Close()
	})
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// signal NAME SIGNAL sends a process HUP or TERM.
func signalTo(ts *testscript.TestScript, _ bool, args []string) {
	sig := map[string]os.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}[args[1]]
	ts.Check(processOf(ts, args[0]).cmd.Process.Signal(sig))
}

// waitline NAME PATTERN waits until the process writes a line that matches, and is
// not before one that an earlier waitline found.
func waitLine(ts *testscript.TestScript, _ bool, args []string) {
	p, re := processOf(ts, args[0]), regexp.MustCompile("(?m)"+args[1])
	scripts.Wait(ts, args[0]+" says "+args[1], func() bool {
		text, err := os.ReadFile(p.log)
		ts.Check(err)
		at := re.FindIndex(text[p.read:])
		if at != nil {
			p.read += at[1]
		}
		return at != nil
	})
}

// later DRAFT DURATION makes a draft seem made later.
func later(ts *testscript.TestScript, _ bool, args []string) {
	d, err := directory.ParseDraft([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	by, err := time.ParseDuration(args[1])
	ts.Check(err)
	d.Made = d.Made.Add(by)
	text, err := directory.EncodeDraft(d)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}
