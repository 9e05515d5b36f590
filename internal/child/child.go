// Package child runs a part of a program in a process of its own: what is measured,
// apart from what measures it; what is killed, apart from what knows what it promised.
//
// The program starts itself once more, with the part's name and configuration in the
// environment. The two speak in lines of JSON, over the child's standard input and
// output. A part that is not killed ends when its input does, and so never outlives its
// parent.
//
// It is no supervisor: nothing is started again, and what a system runs is started by
// the system (proxy/service). It is a leaf; the programs in contrib/measure and tests
// import it.
package child

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
)

// variable holds a role as JSON, in the environment of a child.
const variable = "MAILPROXY_CHILD"

// A role is what a child is there for.
type role struct {
	Part   string          `json:"part"`
	Config json.RawMessage `json:"config"`
}

// A Part is what a child does, with its configuration as JSON.
type Part func(config []byte) error

// Func makes a part of a function that takes its configuration as it was given to
// Command.
func Func[C any](run func(config C) error) Part {
	return func(config []byte) error {
		var c C
		if err := json.Unmarshal(config, &c); err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}
		return run(c)
	}
}

// Main plays the part that this process is there for, and ends the process: with status
// 1, and the error on standard error, if the part fails. In a process that is no child
// it does nothing. It comes first in main and in TestMain.
func Main(parts map[string]Part) {
	raw, ok := os.LookupEnv(variable)
	if !ok {
		return
	}
	// A terminal interrupts parent and child alike; the parent says when this one ends.
	signal.Ignore(os.Interrupt)
	var r role
	err := os.Unsetenv(variable) // what this process starts is no child of that kind
	if err == nil {
		err = json.Unmarshal([]byte(raw), &r)
	}
	if err == nil {
		part := parts[r.Part]
		if part == nil {
			part = func([]byte) error { return fmt.Errorf("there is no such part") }
		}
		err = part(r.Config)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", r.Part, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// saying keeps lines to the parent apart.
var saying sync.Mutex

// Say tells the parent something, as a line that it gets by Read. Several goroutines
// may say things. It fails when the parent is gone.
func Say(v any) error {
	saying.Lock()
	defer saying.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		return fmt.Errorf("tell the parent: %w", err)
	}
	return nil
}

// Wait returns when the parent has closed its end, or is gone.
func Wait() {
	_, _ = io.Copy(io.Discard, os.Stdin) // either way it has ended
}

// An answer is what a request of Ask brings back.
type answer struct {
	Error string          `json:"error,omitempty"`
	Reply json.RawMessage `json:"reply"`
}

// Serve answers the parent's requests, one after the other, until the parent closes its
// end. What a request ends with, error included, goes to the parent.
func Serve[Q, A any](do func(request Q) (A, error)) error {
	for in := bufio.NewReader(os.Stdin); ; {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		var request Q
		var a answer
		if err = json.Unmarshal(line, &request); err == nil {
			var reply A
			if reply, err = do(request); err == nil {
				a.Reply, err = json.Marshal(reply)
			}
		}
		if err != nil {
			a = answer{Error: err.Error()}
		}
		if err := Say(a); err != nil {
			return err
		}
	}
}
