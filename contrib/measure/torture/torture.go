// Package torture kills a service again and again while clients use it, and has what is
// left looked at after each kill.
//
// The service is a part of the program (package child) that serves on a Unix socket.
// What its clients were told they know in this process, which is never killed. What is
// served, and what must be left of it, is for the program: mailboxcrash and spoolcrash
// beside it import this.
package torture

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mailproxy/internal/child"
)

// Options say how often to kill, and when.
type Options struct {
	Kills int
	Life  time.Duration // the longest, from the first acknowledgement
	Dir   string        // for all state; "": a temporary one
	Keep  bool          // do not remove Dir in the end
	// AtAnswer has one life in three end with an acknowledgement.
	AtAnswer bool
}

// Flags makes flags of all but AtAnswer.
func (o *Options) Flags(service string, life time.Duration) {
	flag.IntVar(&o.Kills, "kills", 200, "how often to kill the "+service)
	flag.DurationVar(&o.Life, "life", life, "longest life of the "+service+", from its first answer")
	flag.StringVar(&o.Dir, "dir", "", "directory for the store, removed in the end; default: a temporary one")
	flag.BoolVar(&o.Keep, "keep", false, "keep the directory")
}

// A Service is where the part that is killed works: its configuration.
type Service struct{ Store, Socket string }

// A Client uses the service over a connection. It returns when that has ended, as it
// does with alive.
type Client func(alive context.Context, c net.Conn)

// A Target is what clients do to the service, and what they know of it.
type Target interface {
	// Clients returns those of the next life.
	Clients() []Client
	// Started tells whether there is something to lose.
	Started() bool
	// Check opens the store that a kill has left, and compares it with what is known.
	Check(ctx context.Context) error
	// Print prints what is known, Line the figures of the last line; OK says whether
	// all is as it must be.
	Print(w io.Writer)
	Line(kills int) string
	OK() bool
}

// A Loop kills.
type Loop struct {
	Options
	part   string
	target Target
	acked  chan struct{} // told of acknowledgements
}

// New returns a loop that kills the part of this name.
func New(o Options, part string, target Target) *Loop {
	return &Loop{Options: o, part: part, target: target, acked: make(chan struct{}, 1)}
}

// Service says where the service works.
func (l *Loop) Service() Service {
	return Service{Store: filepath.Join(l.Dir, "store"), Socket: filepath.Join(l.Dir, "socket")}
}

// Acknowledged is to be called after each acknowledgement.
func (l *Loop) Acknowledged() {
	select {
	case l.acked <- struct{}{}:
	default:
	}
}

// Run kills as often as it is to, and prints what came of it. ok says whether all was
// as it must be.
func (l *Loop) Run(ctx context.Context) (ok bool, err error) {
	if l.Kills < 1 || l.Life <= 0 {
		return false, errors.New("kills and life must be above 0")
	}
	if l.Dir == "" {
		if l.Dir, err = os.MkdirTemp("", "mailproxy-"+l.part); err != nil {
			return false, err
		}
	}
	if !l.Keep {
		defer func() { err = errors.Join(err, os.RemoveAll(l.Dir)) }()
	}
	began := time.Now()
	for n := range l.Kills {
		if err := l.Live(ctx, n); err != nil {
			return false, fmt.Errorf("life %d: %w", n+1, err)
		}
		if err := l.target.Check(ctx); err != nil {
			return false, fmt.Errorf("after kill %d: %w", n+1, err)
		}
		if (n+1)%10 == 0 {
			fmt.Fprintf(os.Stderr, "%d kills in %v: %s\n", n+1, time.Since(began).Round(time.Second), l.target.Line(n+1))
		}
	}
	l.target.Print(os.Stdout)
	fmt.Println(l.target.Line(l.Kills))
	return l.target.OK(), nil
}

// errEnded says that the service ended before it was killed.
var errEnded = errors.New("the service ended by itself")

// Live starts the service, has its clients use it, and kills it.
func (l *Loop) Live(ctx context.Context, n int) error {
	service := l.Service()
	if err := os.Remove(service.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cmd, err := child.Command(l.part, service)
	if err != nil {
		return err
	}
	var said bytes.Buffer // to be read when the service has ended
	cmd.Stderr = &said
	p, err := child.Launch(l.part, cmd)
	if err != nil {
		return err
	}
	l.forget() // what the life before has left
	var how error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		how = p.Wait()
	}()
	alive, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for _, use := range l.target.Clients() {
		wg.Go(func() {
			c := dial(alive, service.Socket)
			if c == nil {
				return
			}
			defer c.Close()
			defer context.AfterFunc(alive, func() { c.Close() })()
			use(alive, c)
		})
	}
	early := l.untilMoment(ctx, n, ended)
	killed := p.Kill()
	stop()
	wg.Wait()
	<-ended
	if errors.Is(early, errEnded) {
		early = fmt.Errorf("%w: %v: %s", early, how, said.String())
	}
	return errors.Join(early, killed)
}

// untilMoment returns when it is time to kill, or why the service must not go on. One
// life in three may end in its start-up, recovery included; the others have, however
// busy the machine is, something to lose. The first is as long as any, so that all is
// made that clients need.
func (l *Loop) untilMoment(ctx context.Context, n int, ended <-chan struct{}) error {
	moment := time.Duration(rand.Int64N(int64(l.Life)))
	if n == 0 {
		moment = l.Life
	}
	for started := n%3 == 2; !started; started = l.target.Started() {
		if err := l.pause(ctx, l.acked, nil, ended); err != nil {
			return err
		}
	}
	if err := l.pause(ctx, nil, time.After(moment), ended); err != nil {
		return err
	}
	if l.AtAnswer && n%3 == 1 {
		l.forget()
		return l.pause(ctx, l.acked, time.After(l.Life), ended)
	}
	return nil
}

// pause waits for either of two events.
func (l *Loop) pause(ctx context.Context, acked <-chan struct{}, after <-chan time.Time, ended <-chan struct{}) error {
	select {
	case <-acked:
	case <-after:
	case <-ended:
		return errEnded
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// forget drops an acknowledgement that nobody has waited for.
func (l *Loop) forget() {
	select {
	case <-l.acked:
	default:
	}
}

// dial waits for the service; nil if it never comes.
func dial(alive context.Context, socket string) net.Conn {
	for alive.Err() == nil {
		if c, err := net.Dial("unix", socket); err == nil {
			return c
		}
		time.Sleep(time.Millisecond) // it is starting
	}
	return nil
}
