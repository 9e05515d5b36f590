package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Other users of the computer can have the daemon refuse them as often as they like, and
// the disk that the log is on is the one that mail waits for. So neither the log's lines
// nor the file of a daemon that no service manager looks after grow without a bound.
const (
	sparingLines    = 10        // of one message in each sparingEvery
	sparingEvery    = time.Hour // counted from a message's first line
	sparingMessages = 1000      // that are told apart
	mostLog         = 4 << 20   // bytes of logFile at the start, beyond which it becomes logFile + oldLog
	oldLog          = ".old"
)

// Logger returns the program's log, which is sparing unless the user wants to see all.
func (c *cli) Logger() *slog.Logger {
	log := c.Common.Logger()
	if c.Verbose {
		return log
	}
	return slog.New(newSparing(log.Handler()))
}

// sparing hands on the first lines of each message, and counts those after them until
// its time is over.
type sparing struct {
	slog.Handler
	told *told // shared by all handlers that were made of one
}

type told struct {
	mu       sync.Mutex // guards messages
	messages map[string]*turn
}

// A turn is what there was of one message since some time.
type turn struct {
	since       time.Time
	lines, left int // handed on, left out
}

func newSparing(h slog.Handler) sparing {
	return sparing{h, &told{messages: map[string]*turn{}}}
}

// Handle implements slog.Handler.
func (s sparing) Handle(ctx context.Context, r slog.Record) error {
	r, ok := s.told.take(r)
	if !ok {
		return nil
	}
	return s.Handler.Handle(ctx, r)
}

// take says whether a record is to be seen, and what of it.
func (t *told) take(r slog.Record) (slog.Record, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	message := r.Message
	now := t.messages[message]
	if now == nil && len(t.messages) >= sparingMessages {
		message = "" // all others are one
		now = t.messages[message]
	}
	left := 0
	// A clock that was set back begins anew too.
	if now == nil || r.Time.Sub(now.since).Abs() >= sparingEvery {
		if now != nil {
			left = now.left
		}
		now = &turn{since: r.Time}
		t.messages[message] = now
	}
	if now.lines == sparingLines {
		now.left++
		return r, false
	}
	now.lines++
	if left > 0 || now.lines == sparingLines {
		r = r.Clone()
	}
	if left > 0 {
		r.AddAttrs(slog.Int("left_out_before", left))
	}
	if now.lines == sparingLines {
		r.AddAttrs(slog.Duration("more_are_counted_for", sparingEvery))
	}
	return r, true
}

// WithAttrs implements slog.Handler.
func (s sparing) WithAttrs(attrs []slog.Attr) slog.Handler {
	return sparing{s.Handler.WithAttrs(attrs), s.told}
}

// WithGroup implements slog.Handler.
func (s sparing) WithGroup(name string) slog.Handler {
	return sparing{s.Handler.WithGroup(name), s.told}
}

// cutLog keeps one old log, and begins the log anew, where it has grown large. This
// process may be writing to it, as may the one that started it: so it is the same file
// afterwards, which all of them append to.
func cutLog(dir string) error {
	name := filepath.Join(dir, logFile)
	i, err := os.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the system keeps it
	}
	if err != nil {
		return fmt.Errorf("look at the log: %w", err)
	}
	if !i.Mode().IsRegular() || i.Size() <= mostLog {
		return nil
	}
	if err := copyEnd(name, name+oldLog); err != nil {
		return fmt.Errorf("keep the old log: %w", err)
	}
	if err := os.Truncate(name, 0); err != nil {
		return fmt.Errorf("begin the log anew: %w", err)
	}
	return nil
}

// copyEnd copies as much of the end of a file as is kept.
func copyEnd(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := in.Seek(-mostLog, io.SeekEnd); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(out, in, mostLog)
	return errors.Join(err, out.Close())
}
