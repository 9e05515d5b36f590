package main

import (
	"context"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"

	"mailproxy/internal/socks/sockstest"
	"mailproxy/proxy"
)

// socksproxy VARIABLE runs a SOCKS5 proxy until the script ends, and sets a variable to
// its address.
func socksProxy(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "socksproxy VARIABLE")
	p, err := sockstest.Start("127.0.0.1:0", nil)
	ts.Check(err)
	ts.Defer(func() { _ = p.Close() })
	ts.Setenv(args[0], p.Address())
}

// waitreason CONFIG PATTERN waits until the first account of a daemon is offline for a
// reason that has the pattern in it, or is connected if the pattern is empty.
func waitReason(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "waitreason CONFIG PATTERN")
	cfg, err := proxy.LoadConfig(ts.MkAbs(args[0]))
	ts.Check(err)
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	wait(ts, args[1], func() bool {
		s, err := proxy.Control(cfg.Dir).Status(context.Background())
		if err != nil || len(s.Accounts) == 0 {
			return false
		}
		n := s.Accounts[0].Network
		return n.Connected == (args[1] == "") && pattern.MatchString(n.Reason)
	})
}
