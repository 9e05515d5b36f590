package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"mailproxy/internal/child"
)

// options say what to do.
type options struct {
	kills   int
	scale   float64
	seed    uint64
	life    time.Duration // the longest of a child that is killed
	drain   time.Duration // the longest that the end may take
	pending int           // senders pause while so many accepted copies are on their way
	dir     string
	verbose bool
	out     io.Writer
}

// sendersEach is how many mail programs send as each account at once.
const sendersEach = 2

// stuckAfter is how long a child may show nothing before it counts as stuck: to
// start, or to bring anything on its way at the end.
const stuckAfter = 30 * time.Second

// settle is how long the world is watched once all has arrived, for copies that
// should not.
const settle = 3 * time.Second

// torturer is the state of the parent.
type torturer struct {
	options
	ledger *ledger
	random *rand.Rand // when to kill
	lives  int

	registered bool // both accounts are: senders may send
	readied    int  // lives in which the listeners came up
}

// torture kills children as often as it is told and returns what came of the
// mail. Its error says that the world did not go on, or that it was not let.
func torture(ctx context.Context, o options) (*result, error) {
	t := &torturer{options: o, ledger: newLedger(), random: rand.New(rand.NewPCG(o.seed, 0))}
	start := time.Now()
	for killed := range o.kills {
		if err := t.killOne(ctx); err != nil {
			return nil, fmt.Errorf("after %d kills: %w", killed, err)
		}
		if !o.verbose && (killed+1)%10 == 0 {
			t.say("%d kills", killed+1)
		}
	}
	killing := time.Since(start)
	if err := t.drainAll(ctx); err != nil {
		return nil, err
	}
	if err := t.lastLook(ctx); err != nil {
		return nil, err
	}
	r, err := t.judge()
	if err == nil {
		r.killing, r.ending = killing, time.Since(start)-killing
	}
	return r, err
}

func (t *torturer) say(format string, a ...any) {
	t.ledger.mu.Lock()
	mails, copies, arrived := len(t.ledger.mails), t.ledger.copies, t.ledger.arrived
	t.ledger.mu.Unlock()
	fmt.Fprintf(t.out, "%-28s %5d mails begun, %5d copies accepted, %5d seen\n", fmt.Sprintf(format, a...)+":", mails, copies, arrived)
}

// A life is a running child.
type life struct {
	*child.Process
	number  int
	reports chan report // closed when it has ended
	err     error       // of Wait; to be read once reports is closed
}

// start starts a child in the directory of the one before.
func (t *torturer) start() (*life, error) {
	t.lives++
	cmd, err := child.Command(worldPart, childConfig{Dir: t.dir, Scale: t.scale, Life: t.lives})
	if err != nil {
		return nil, err
	}
	stderr, err := os.OpenFile(filepath.Join(t.dir, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the child's log: %w", err)
	}
	defer stderr.Close() // the child has its own
	fmt.Fprintf(stderr, "== life %d\n", t.lives)
	cmd.Stderr = stderr
	p, err := child.Launch(worldPart, cmd)
	if err != nil {
		return nil, err
	}
	c := &life{Process: p, number: t.lives, reports: make(chan report)}
	go func() {
		for {
			var r report
			if p.Read(&r) != nil { // it has ended; the last line may be cut
				break
			}
			c.reports <- r
		}
		c.err = p.Wait()
		close(c.reports)
	}()
	return c, nil
}

// stop ends the child with a signal and waits for it.
func (c *life) stop(sig syscall.Signal) error {
	if err := c.Signal(sig); err != nil {
		return err
	}
	for range c.reports { // unblocks its reader
	}
	return nil
}

// clients run mail programs against a child, from when it is ready until their
// stop is called.
type clients struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	send   func() // starts the senders, once
}

func (k *clients) stop() {
	k.cancel()
	k.wg.Wait()
}

// clients starts the readers; the senders wait for registration.
func (t *torturer) clients(ctx context.Context, s *session) *clients {
	ctx, cancel := context.WithCancel(ctx)
	k := &clients{cancel: cancel}
	random := func(role, number int) *rand.Rand {
		return rand.New(rand.NewPCG(t.seed, uint64(s.life)<<16|uint64(role)<<8|uint64(number)))
	}
	for i, a := range s.Accounts {
		k.wg.Go(func() { s.read(ctx, a, random(1, i)) })
	}
	k.send = sync.OnceFunc(func() {
		for i, a := range s.Accounts {
			for j := range sendersEach {
				k.wg.Go(func() { s.send(ctx, a, random(2, i*sendersEach+j)) })
			}
		}
	})
	return k
}

// A moment says when to kill.
type moment int

const (
	whenever  moment = iota
	afterSMTP        // has answered 250
	afterIMAP        // has shown a mail
)

// killOne lives one life: from the start of a child to its death at a random
// moment.
func (t *torturer) killOne(ctx context.Context) error {
	at := time.Duration(t.random.Float64() * float64(t.life))
	what := []moment{whenever, whenever, afterSMTP, afterIMAP}[t.random.IntN(4)]
	after := time.Duration(t.random.Float64() * float64(5*time.Millisecond))
	c, err := t.start()
	if err != nil {
		return err
	}
	start := time.Now()
	var k *clients
	defer func() {
		if k != nil {
			k.stop()
		}
	}()
	timer := time.NewTimer(at)
	defer timer.Stop()
	var event <-chan struct{}
	wasReady := false
	for {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), c.stop(syscall.SIGKILL))
		case r, ok := <-c.reports:
			if !ok {
				return fmt.Errorf("life %d ended by itself: %w", c.number, c.err)
			}
			switch {
			case r.Ready != nil:
				s, err := newSession(*r.Ready, c.number, t)
				if err != nil {
					return errors.Join(err, c.stop(syscall.SIGKILL))
				}
				wasReady = true
				k = t.clients(ctx, s)
			case r.Registered:
				t.registered = true
			}
			if k != nil && t.registered {
				k.send()
			}
			continue
		case <-timer.C:
			if what != whenever {
				// From here on with the next event, or if none comes soon, anyway.
				taken, arrived := t.ledger.changes()
				event = taken
				if what == afterIMAP {
					event = arrived
				}
				what = whenever
				timer.Reset(time.Second)
				continue
			}
		case <-event:
			time.Sleep(after)
		}
		break
	}
	if err := c.stop(syscall.SIGKILL); err != nil {
		return err
	}
	var exit *exec.ExitError
	if !errors.As(c.err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		return fmt.Errorf("life %d ended by itself before it was killed: %w", c.number, c.err)
	}
	if wasReady {
		t.readied++
	}
	if t.verbose {
		t.say("life %d, %.2f s, ready %v", c.number, time.Since(start).Seconds(), wasReady)
	}
	return nil
}

// drainAll lets a child live until all accepted mail is there and confirmed,
// then stops it in an orderly way.
func (t *torturer) drainAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.drain)
	defer cancel()
	return t.live(ctx, "all that was accepted to arrive", func(s *session, reports <-chan report) error {
		k := t.clients(ctx, s)
		defer k.stop()
		last, progress, shown := "", time.Now(), time.Now()
		var quiet time.Time // since when nothing is on its way
		for {
			var r report
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(stuckAfter):
				t.ledger.blame("stuck: the child does not tell its state any more")
				return errStuck
			case report, ok := <-reports:
				if !ok {
					return errGone
				}
				r = report
			}
			if r.State == nil {
				continue
			}
			pending := t.ledger.pending()
			now := fmt.Sprint(pending, *r.State)
			switch {
			case now != last:
				last, progress, quiet = now, time.Now(), time.Time{}
			case pending <= 0 && r.State.idle() && quiet.IsZero():
				quiet = time.Now()
			case pending <= 0 && r.State.idle() && time.Since(quiet) > settle:
				return nil
			case time.Since(progress) > stuckAfter:
				t.ledger.blame("stuck: nothing moves since %s: %d copies not seen, %+v", progress.UTC().Format(stampFormat), pending, *r.State)
				return errStuck
			}
			if time.Since(shown) > 5*time.Second {
				shown = time.Now()
				t.say("waiting for the rest")
				fmt.Fprintf(t.out, "  %d in the outbox, %d without a receipt, %d incomplete, %d held\n",
					r.State.Waiting, r.State.Unconfirmed, r.State.Incomplete, r.State.Held)
			}
		}
	})
}

var (
	// errStuck ends a life whose goroutines are to be seen.
	errStuck = errors.New("stuck")
	errGone  = errors.New("the child ended by itself")
)

// lastLook starts a child once more and reads everything.
func (t *torturer) lastLook(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.drain)
	defer cancel()
	return t.live(ctx, "the last look", func(s *session, reports <-chan report) error {
		go func() { // none of them matters here, but the child must not wait
			for range reports {
			}
		}()
		for _, a := range s.Accounts {
			if err := s.readAll(ctx, a); err != nil {
				return err
			}
		}
		return nil
	})
}

// live starts a child, calls use once it is ready, and stops it in an orderly
// way. A child that is stuck is made to show its goroutines in its log. What
// does not arrive is for judge to say: errStuck is no error here.
func (t *torturer) live(ctx context.Context, what string, use func(*session, <-chan report) error) error {
	c, err := t.start()
	if err != nil {
		return err
	}
	var s *session
	select {
	case r, ok := <-c.reports:
		if !ok || r.Ready == nil {
			return errors.Join(fmt.Errorf("life %d, for %s: %w: %w", c.number, what, errGone, c.err), c.stop(syscall.SIGKILL))
		}
		if s, err = newSession(*r.Ready, c.number, t); err == nil {
			err = use(s, c.reports)
		}
	case <-time.After(stuckAfter):
		err = fmt.Errorf("its listeners are not up after %v", stuckAfter)
	}
	sig := syscall.SIGTERM
	if err != nil && ctx.Err() == nil {
		sig = syscall.SIGQUIT // the Go runtime shows all goroutines
	}
	kill := time.AfterFunc(stuckAfter, func() { _ = c.Signal(syscall.SIGQUIT) })
	stopErr := c.stop(sig)
	kill.Stop()
	switch {
	case errors.Is(err, errStuck):
		return stopErr
	case err != nil:
		return errors.Join(fmt.Errorf("life %d, for %s: %w; its goroutines are in %s", c.number, what, err, logFile), stopErr)
	case c.err != nil:
		return fmt.Errorf("life %d, for %s, did not stop in order: %w; see %s", c.number, what, c.err, logFile)
	}
	return stopErr
}
