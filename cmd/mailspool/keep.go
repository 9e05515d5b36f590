package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"mailproxy/internal/control"
	"mailproxy/internal/nodedir"
	"mailproxy/internal/store"
	"mailproxy/spool/badgerstore"
)

// Exit statuses, beside 1.
const (
	exitWrong   = 2 // verify found something
	exitRunning = 3 // the service must run and does not, or must not and does
)

// exit is an error with the status by which the program ends.
type exit struct {
	error
	code int
}

// ExitCode implements kong.ExitCoder.
func (e exit) ExitCode() int { return e.code }

// Unwrap returns the error.
func (e exit) Unwrap() error { return e.error }

// at is what all commands have that are about a service that is there.
type at struct {
	Config string `help:"Configuration file of the service." required:"" type:"path" short:"c" env:"MAILSPOOL_CONFIG" placeholder:"FILE"`
	JSON   bool   `help:"Answer in JSON."`
}

// dir returns the service's directory.
func (a *at) dir() (string, error) {
	dir, err := nodedir.Find(a.Config)
	if err != nil {
		return "", fmt.Errorf("find the service: %w", err)
	}
	return dir, nil
}

// ask asks the running service.
func (a *at) ask(ctx context.Context, method, path string, in, out any) error {
	dir, err := a.dir()
	if err != nil {
		return err
	}
	return running(socket(dir).Client().Do(ctx, method, path, in, out))
}

// running gives the error that the service does not run its status.
func running(err error) error {
	if errors.Is(err, control.ErrNotRunning) {
		return exit{err, exitRunning}
	}
	return err
}

// A keeper looks after a store: of the running service, or one that nobody has
// open.
type keeper interface {
	verify(ctx context.Context, dropDamaged bool) (verified, error)
	gc(ctx context.Context) (collected, error)
	backup(ctx context.Context, w io.Writer) (saved, error)
}

// keep has fn look after the store: by the service if it runs.
func (a *at) keep(ctx context.Context, c *cli, fn func(keeper) error) (err error) {
	dir, err := a.dir()
	if err != nil {
		return err
	}
	client := socket(dir).Client()
	err = client.Do(ctx, http.MethodGet, pathWork, nil, new(price))
	if err == nil {
		return fn(serviceStore{client})
	}
	if !errors.Is(err, control.ErrNotRunning) {
		return err
	}
	st, err := openStore(dir, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return fn(ownStore{st})
}

// openStore opens the store of a service that does not run.
func openStore(dir string, c *cli) (*badgerstore.Store, error) {
	files := filepath.Join(dir, storeDir)
	if _, err := os.Stat(files); err != nil {
		return nil, fmt.Errorf("there is no store to look after: %w", err)
	}
	if err := sameOwner(dir); err != nil {
		return nil, err
	}
	key, err := nodedir.Key(filepath.Join(dir, storeKey), store.KeySize, files)
	if err != nil {
		return nil, err
	}
	st, err := badgerstore.Open(badgerstore.Options{Dir: files, Key: key, Logger: c.Logger()})
	if errors.Is(err, store.ErrLocked) {
		return nil, exit{fmt.Errorf("the service is starting or stopping, or does not answer: try again: %w", err), exitRunning}
	}
	return st, hint(err)
}

// hint adds to an error about the store what to do.
func hint(err error) error {
	switch {
	case errors.Is(err, store.ErrWrongKey):
		return fmt.Errorf("%w: %s is of another store; restore the right one from a backup", err, storeKey)
	case errors.Is(err, store.ErrDamaged), errors.Is(err, badgerstore.ErrHalf):
		return fmt.Errorf("%w; see \"A store that is damaged\" in docs/operating.md", err)
	case errors.Is(err, badgerstore.ErrDamaged):
		return fmt.Errorf("%w; \"mailspool verify\" says how many there are, and with --drop-damaged gives them up", err)
	}
	return err
}

// serviceStore is the running service's.
type serviceStore struct{ client *control.Client }

func (s serviceStore) verify(ctx context.Context, dropDamaged bool) (out verified, err error) {
	err = s.client.Do(ctx, http.MethodPost, pathVerify, verifyStore{dropDamaged}, &out)
	return out, err
}

func (s serviceStore) gc(ctx context.Context) (out collected, err error) {
	err = s.client.Do(ctx, http.MethodPost, pathGC, collect{}, &out)
	return out, err
}

func (s serviceStore) backup(ctx context.Context, w io.Writer) (out saved, err error) {
	err = s.client.Fetch(ctx, pathBackup, w, &out)
	return out, err
}

// ownStore is this process's.
type ownStore struct{ *badgerstore.Store }

func (s ownStore) verify(ctx context.Context, dropDamaged bool) (verified, error) {
	r, err := s.Verify(ctx, nil)
	if err != nil {
		return verified{}, hint(err)
	}
	out := verified{
		Names: r.Names, Spools: r.Spools, Blocks: r.Blocks, Bytes: r.Bytes, Remembered: r.Remembered, LogRecords: r.LogSize,
		Invites: r.Invites, Millis: r.Took.Milliseconds(), Wrong: r.Wrong, Problems: append([]string{}, r.Problems...), Damaged: r.Damaged(),
	}
	if dropDamaged {
		out.Dropped, err = s.DropDamaged(ctx, r)
	}
	return out, err
}

func (s ownStore) gc(ctx context.Context) (collected, error) {
	freed, err := s.GC(ctx)
	return collected{Freed: freed}, hint(err)
}

func (s ownStore) backup(ctx context.Context, w io.Writer) (saved, error) {
	began, counted := time.Now(), &counter{w: w}
	blocks, err := s.Backup(ctx, counted, nil)
	return saved{Blocks: blocks, Bytes: counted.n, Millis: time.Since(began).Milliseconds()}, hint(err)
}

// counter counts the bytes that go to w.
type counter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
