package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"runtime/pprof"

	"mailproxy/contrib/measure/daemon"
	"mailproxy/imap"
	"mailproxy/internal/child"
	"mailproxy/internal/store"
	"mailproxy/proxy"
	"mailproxy/proxy/mailbox"
)

// The parts of this program that are measured, in processes of their own.
const (
	mailPart   = "mail"
	daemonPart = "daemon"
)

var parts = map[string]child.Part{
	mailPart:           child.Func(runMail),
	daemonPart:         child.Func(runDaemon),
	daemon.NetworkPart: child.Func(daemon.RunNetwork),
}

// runMail serves mail as proxy.Daemon does: the same store, with a key, and the
// same front end.
func runMail(dir string) (err error) {
	debug.SetGCPercent(proxy.GCPercent) // as cmd/mailproxy does
	key := make([]byte, store.KeySize)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	st, err := store.Open(store.Options{Dir: dir, Key: key, Reserve: 256 << 20, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	boxes, err := mailbox.Open(st, mailbox.Options{Logger: log})
	if err != nil {
		return err
	}
	if _, err := boxes.CreateAccount(user); err != nil {
		return err
	}
	front := imap.New(imap.Options{Mailboxes: boxes, AllowPlaintext: true, Logger: log, Auth: func(_ context.Context, u, p string) (string, error) {
		if u != user || p != password {
			return "", mailbox.ErrBadPassword
		}
		return user, nil
	}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, front.Close())
	}
	served := make(chan error, 1)
	go func() { served <- front.Serve(ln) }()
	var p profiler
	if err = child.Say(ln.Addr().String()); err == nil {
		err = child.Serve(p.set)
	}
	return errors.Join(err, p.end(), front.Close(), <-served)
}

// A profiler writes processor profiles, one after the other.
type profiler struct{ file *os.File }

// set ends the profile that is being written, and begins one in the file, if that has a
// name.
func (p *profiler) set(name string) (struct{}, error) {
	err := p.end()
	if name == "" || err != nil {
		return struct{}{}, err
	}
	if p.file, err = os.Create(name); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, pprof.StartCPUProfile(p.file)
}

func (p *profiler) end() error {
	if p.file == nil {
		return nil
	}
	pprof.StopCPUProfile()
	err := p.file.Close()
	p.file = nil
	return err
}
