// Package doctor looks for what may be the matter when mail does not flow: a list of
// small checks of the configuration, this computer and the daemon, each of which says
// what it saw and what to do.
//
// It changes nothing, and nothing that it does leaves the computer: of the network it
// knows what the running daemon says, and without one what is in files. It does not
// check the mail itself, which "mailproxy mailbox check" does. cmd/mailproxy imports it.
package doctor

import (
	"context"
	"fmt"
	"time"

	"mailproxy/proxy"
	"mailproxy/proxy/cert/truststore"
)

// A Level is how a check came out.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning" // mail flows, or will, and yet something should be done
	Problem Level = "problem" // mail does not flow, or is not safe, until something is done
)

// A Result is what a check saw.
type Result struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"` // what to do
}

// A Document is what the checks ask of a network document.
type Document struct {
	Network  string
	Made     time.Time
	Gateways []string
}

// A Patient is what is looked at. All but the errors and Status are needed.
type Patient struct {
	File      string // of the configuration
	Config    proxy.Config
	ConfigErr error // why the configuration cannot be read
	// Status is of the running daemon. It is nil if none answers: StatusErr is why, if
	// that is not because none runs.
	Status    *proxy.Status
	StatusErr error
	// Document reads the network document and checks its signatures.
	Document func(proxy.Config) (Document, error)
	// Free returns the free bytes of a directory's disk.
	Free     func(dir string) (int64, error)
	Computer truststore.Computer
	// Windows says that a file's mode does not tell who can read it.
	Windows bool
	Now     time.Time
}

// A check looks at one thing. It returns nothing if there is nothing to look at.
type check struct {
	name string
	// always says that the check needs no configuration.
	always bool
	look   func(*Patient, context.Context) []Result
}

// checks are all, in an order in which the first problem may explain those below it.
var checks = []check{
	{"configuration", true, (*Patient).configuration},
	{"data directory", false, (*Patient).directory},
	{"disk", false, (*Patient).disk},
	{"store key", false, (*Patient).storeKey},
	{"daemon", false, (*Patient).daemon},
	{"ports", false, (*Patient).ports},
	{"network document", false, (*Patient).document},
	{"gateway", false, (*Patient).gateway},
	{"clock", false, (*Patient).clock},
	{"loss", false, (*Patient).loss},
	{"accounts", false, (*Patient).accounts},
	{"keys of others", false, (*Patient).alarms},
	{"certificate", false, (*Patient).certificate},
	{"mail program", false, (*Patient).mailPrograms},
}

// Examine makes all checks.
func Examine(ctx context.Context, p *Patient) []Result {
	var all []Result
	for _, c := range checks {
		if p.ConfigErr != nil && !c.always {
			continue
		}
		for _, r := range c.look(p, ctx) {
			r.Check = c.name
			all = append(all, r)
		}
	}
	return all
}

// Problems counts the results of that level.
func Problems(all []Result) (n int) {
	for _, r := range all {
		if r.Level == Problem {
			n++
		}
	}
	return n
}

// one is a check's only result.
func one(level Level, hint, format string, args ...any) []Result {
	return []Result{{Level: level, Hint: hint, Text: fmt.Sprintf(format, args...)}}
}
