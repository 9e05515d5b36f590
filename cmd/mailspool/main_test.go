package main

import (
	"crypto/rand"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/sumdb/note"

	"mailproxy/internal/command/scripts"
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
		Cmds: scripts.With(map[string]scripts.Command{
			"signed": signed, "user": makeUser, "damage": damage,
		}),
		Setup: func(e *testscript.Env) error {
			e.Setenv("ONE", operatorKey)
			return nil
		},
		RequireExplicitExec: true,
	})
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
