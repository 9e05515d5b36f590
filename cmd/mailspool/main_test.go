package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/sumdb/note"

	"mailproxy/mixnet/directory"
)

// TestMain makes this test's binary the command mailspool in the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mailspool": main})
}

// TestScripts runs testdata/script: the command line as a provider meets it.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeport": freePort, "signed": signed, "waitport": waitPort, "waitfile": waitFile, "replace": replace,
			"user": makeUser, "damage": damage,
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("ONE", operatorKey)
			return nil
		},
		RequireExplicitExec: true,
	})
}

// patience is longer than anything in a script takes.
const patience = time.Minute

func wait(ts *testscript.TestScript, what string, done func() bool) {
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s: not in %v", what, patience)
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

// operator signs the network documents of the scripts.
var operator, operatorKey = func() (string, string) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "one")
	if err != nil {
		panic(err)
	}
	return skey, vkey
}()

// signed FILE ENTRIES... makes a signed network document of entries.
func signed(ts *testscript.TestScript, _ bool, args []string) {
	d := &directory.Document{
		Format: directory.Format, Network: "test", Made: time.Now(), Parameters: directory.DefaultParameters(), SnapshotThreshold: 1,
	}
	for _, file := range args[1:] {
		nodes, err := directory.ParseEntries([]byte(ts.ReadFile(file)))
		ts.Check(err)
		for _, n := range nodes {
			ts.Check(d.AddNode(n))
		}
	}
	msg, err := directory.Sign(d, operator)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), msg, 0o644))
}

// waitport PORT waits until something listens there.
func waitPort(ts *testscript.TestScript, _ bool, args []string) {
	wait(ts, "port "+args[0], func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+args[0])
		return err == nil && c.Close() == nil
	})
}

// waitfile DIR SUFFIX waits until a file whose name ends so is in the directory.
func waitFile(ts *testscript.TestScript, _ bool, args []string) {
	wait(ts, args[0]+"/*"+args[1], func() bool {
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
