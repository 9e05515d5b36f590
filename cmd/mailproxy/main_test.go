package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test's binary the command mailproxy: in the scripts, and in
// the PATH of the other tests.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mailproxy": main})
}

// TestScripts runs testdata/script: the command line as a user meets it.
func TestScripts(t *testing.T) {
	t.Parallel()
	world, fast := newSharedWorld(t), newSharedWorld(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitfile": waitFile, "waitdaemon": waitDaemon, "json": jsonValue,
			"freeports": freePorts, "stopatend": stopAtEnd, "either": either, "listen": listen, "sendmail": sendMail, "waitmail": waitMail,
			"waitflags": waitFlags, "socksproxy": socksProxy, "waitreason": waitReason, "world": world.command,
			"alarmed": fast.alarmed, "provider": provider,
		},
		RequireExplicitExec: true,
	})
}
