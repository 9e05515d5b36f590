// Package scripts has commands for the scripts (testscript) by which operators' programs
// are tested. Only tests import it: those of cmd/mailspool and cmd/mixnode.
package scripts

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// A Command is one of a script's.
type Command = func(ts *testscript.TestScript, neg bool, args []string)

// With returns the program's own commands, and those that are here: freeport, waitport,
// waitfile and replace.
func With(own map[string]Command) map[string]Command {
	all := map[string]Command{"freeport": freePort, "waitport": waitPort, "waitfile": waitFile, "replace": replace}
	maps.Copy(all, own)
	return all
}

// Patience is longer than anything in a script takes.
const Patience = time.Minute

// Wait returns when done is, and ends the script if that takes very long.
func Wait(ts *testscript.TestScript, what string, done func() bool) {
	for end := time.Now().Add(Patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s: not in %v", what, Patience)
		}
	}
}

// freeport VARIABLE... sets each to a port of loopback that is free.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Setenv(name, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
		ts.Check(l.Close())
	}
}

// waitport PORT waits until something listens there.
func waitPort(ts *testscript.TestScript, _ bool, args []string) {
	Wait(ts, "port "+args[0], func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+args[0])
		return err == nil && c.Close() == nil
	})
}

// waitfile DIR SUFFIX waits until a file whose name ends so is in the directory.
func waitFile(ts *testscript.TestScript, _ bool, args []string) {
	Wait(ts, args[0]+"/*"+args[1], func() bool {
		list, err := os.ReadDir(ts.MkAbs(args[0]))
		for _, e := range list {
			if strings.HasSuffix(e.Name(), args[1]) {
				return true
			}
		}
		return err != nil && !os.IsNotExist(err)
	})
}

// replace FILE OLD NEW replaces what must be in the file.
func replace(ts *testscript.TestScript, _ bool, args []string) {
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	if !bytes.Contains(b, []byte(args[1])) {
		ts.Fatalf("%s has no %q:\n%s", args[0], args[1], b)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Replace(b, []byte(args[1]), []byte(args[2]), 1), 0o600))
}
