package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/rogpeppe/go-internal/testscript"

	"mailproxy/internal/control"
	"mailproxy/proxy"
)

// The commands of the scripts, beside those of testscript.

// patience is longer than anything in a script takes on a busy machine: a mail to
// someone new takes nine seconds on one that does nothing else.
const patience = 4 * time.Minute

func usage(ts *testscript.TestScript, neg bool, args []string, n int, text string) {
	if neg || len(args) != n {
		ts.Fatalf("usage: %s", text)
	}
}

func wait(ts *testscript.TestScript, what string, done func() bool) {
	for end := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s: not in %v", what, patience)
		}
	}
}

// waitfile FILE waits until there is such a file.
func waitFile(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "waitfile FILE")
	wait(ts, args[0], func() bool { _, err := os.Stat(ts.MkAbs(args[0])); return err == nil })
}

// waitdaemon CONFIG waits until the daemon with that configuration answers.
func waitDaemon(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "waitdaemon CONFIG")
	cfg, err := proxy.LoadConfig(ts.MkAbs(args[0]))
	ts.Check(err)
	wait(ts, args[0], func() bool { _, err := proxy.Control(cfg.Dir).Status(context.Background()); return err == nil })
}

// either PROGRAM ARGUMENT... runs a program that may fail.
func either(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: either PROGRAM ARGUMENT...")
	}
	if err := ts.Exec(args[0], args[1:]...); err != nil {
		ts.Logf("[%v]", err)
	}
}

// stopatend CONFIG stops the daemon with that configuration when the script ends, also if
// it fails: one that join has started is no child of the script's.
func stopAtEnd(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "stopatend CONFIG")
	cfg, err := proxy.LoadConfig(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() {
		err := proxy.Control(cfg.Dir).Stop(context.Background())
		if err != nil && !errors.Is(err, control.ErrNotRunning) {
			ts.Logf("stop the daemon: %v", err)
		}
	})
}

// json VARIABLE FILE PATH sets a variable to a value in a file, "accounts.0.password".
func jsonValue(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "json VARIABLE FILE PATH")
	var v any
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(args[1])))
	d.UseNumber()
	ts.Check(d.Decode(&v))
	for _, step := range strings.Split(args[2], ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[step]
		case []any:
			i, err := strconv.Atoi(step)
			ts.Check(err)
			if i >= len(in) {
				ts.Fatalf("%s has no %s", args[1], args[2])
			}
			v = in[i]
		}
	}
	if v == nil {
		ts.Fatalf("%s has no %s", args[1], args[2])
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

var listenLine = regexp.MustCompile(`(?m)^(smtps?|imaps?|pop3s?|web) = '127\.0\.0\.1:[0-9]+'`)

// freeports CONFIG has the daemon take any free ports: those of the file are for
// one such daemon on a machine.
func freePorts(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "freeports CONFIG")
	file := ts.MkAbs(args[0])
	b, err := os.ReadFile(file)
	ts.Check(err)
	if n := len(listenLine.FindAll(b, -1)); n != 7 {
		ts.Fatalf("%s has %d listeners:\n%s", file, n, b)
	}
	ts.Check(os.WriteFile(file, listenLine.ReplaceAll(b, []byte(`${1} = '127.0.0.1:0'`)), 0o600))
}

// listen VARIABLE takes a port until the script ends, and sets a variable to its
// address.
func listen(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "listen VARIABLE")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

func trust(ts *testscript.TestScript, ca string) *tls.Config {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ts.ReadFile(ca))) {
		ts.Fatalf("%s holds no certificate", ca)
	}
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// sendmail SERVER CA FROM PASSWORD TO FILE submits a mail by SMTP with STARTTLS; TO
// may be several, with commas.
func sendMail(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 6, "sendmail SERVER CA FROM PASSWORD TO FILE")
	server, ca, from, password, to := args[0], args[1], args[2], args[3], args[4]
	c, err := smtp.Dial(server)
	ts.Check(err)
	defer c.Close()
	ts.Check(c.StartTLS(trust(ts, ca)))
	ts.Check(c.Auth(smtp.PlainAuth("", from, password, "127.0.0.1")))
	ts.Check(c.Mail(from))
	for r := range strings.SplitSeq(to, ",") {
		ts.Check(c.Rcpt(r))
	}
	w, err := c.Data()
	ts.Check(err)
	_, err = w.Write([]byte(ts.ReadFile(args[5])))
	ts.Check(err)
	ts.Check(w.Close())
	ts.Check(c.Quit())
}

// waitflags SERVER CA USER PASSWORD FOLDER FLAGS waits until the only message of a
// folder has these flags, sorted.
func waitFlags(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 6, "waitflags SERVER CA USER PASSWORD FOLDER FLAGS")
	c, err := imapclient.DialStartTLS(args[0], &imapclient.Options{TLSConfig: trust(ts, args[1])})
	ts.Check(err)
	defer c.Close()
	ts.Check(c.Login(args[2], args[3]).Wait())
	wait(ts, args[4]+" with "+args[5], func() bool {
		_, err := c.Select(args[4], nil).Wait()
		ts.Check(err)
		list, err := c.Fetch(goimap.SeqSetNum(1), &goimap.FetchOptions{Flags: true}).Collect()
		ts.Check(err)
		var flags []string
		for _, m := range list {
			for _, f := range m.Flags {
				flags = append(flags, string(f))
			}
		}
		slices.Sort(flags)
		return strings.Join(flags, " ") == args[5]
	})
}

// waitmail SERVER CA USER PASSWORD TEXT waits until a message with TEXT is in the
// INBOX, seen by IMAP with STARTTLS.
func waitMail(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 5, "waitmail SERVER CA USER PASSWORD TEXT")
	c, err := imapclient.DialStartTLS(args[0], &imapclient.Options{TLSConfig: trust(ts, args[1])})
	ts.Check(err)
	defer c.Close()
	ts.Check(c.Login(args[2], args[3]).Wait())
	whole := &goimap.FetchItemBodySection{Peek: true}
	wait(ts, "mail with "+args[4], func() bool {
		in, err := c.Select("INBOX", nil).Wait()
		ts.Check(err)
		if in.NumMessages == 0 {
			return false
		}
		var all goimap.SeqSet
		all.AddRange(1, in.NumMessages)
		list, err := c.Fetch(all, &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{whole}}).Collect()
		ts.Check(err)
		for _, m := range list {
			if bytes.Contains(m.FindBodySection(whole), []byte(args[4])) {
				ts.Logf("%s", m.FindBodySection(whole))
				return true
			}
		}
		return false
	})
}
