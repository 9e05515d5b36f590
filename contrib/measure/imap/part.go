package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"strings"

	"mailproxy/imap"
	"mailproxy/internal/store"
	"mailproxy/proxy"
	"mailproxy/proxy/mailbox"
)

// partEnv names, in a child's environment, the part that it is to play.
const (
	partEnv     = "MAILPROXY_IMAP_PART"
	mailPart    = "mail"
	networkPart = "network"
	daemonPart  = "daemon"
)

// runPart plays a part until standard input ends.
func runPart(part string) error {
	if len(os.Args) != 2 {
		return fmt.Errorf("%d arguments, want 1", len(os.Args)-1)
	}
	if part != networkPart {
		debug.SetGCPercent(proxy.GCPercent) // as cmd/mailproxy does
	}
	switch part {
	case mailPart:
		return runMail(os.Args[1])
	case networkPart:
		return runNetwork(os.Args[1])
	case daemonPart:
		return runDaemon(os.Args[1])
	}
	return errors.New("there is no such part")
}

// runMail serves mail as proxy.Daemon does: the same store, with a key, and the
// same front end.
func runMail(dir string) (err error) {
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
	if err := say(ln.Addr().String()); err != nil {
		return errors.Join(err, front.Close(), <-served)
	}
	err = obey()
	return errors.Join(err, front.Close(), <-served)
}

// obey starts and ends processor profiles, as the parent asks, until it closes its
// end.
func obey() error {
	var file *os.File
	end := func() error {
		if file == nil {
			return nil
		}
		pprof.StopCPUProfile()
		err := file.Close()
		file = nil
		return err
	}
	for asked := bufio.NewScanner(os.Stdin); asked.Scan(); {
		name, ok := strings.CutPrefix(asked.Text(), "profile ")
		err := end()
		switch {
		case !ok:
			err = errors.New("no such request")
		case name != "" && err == nil:
			if file, err = os.Create(name); err == nil {
				err = pprof.StartCPUProfile(file)
			}
		}
		answer := ""
		if err != nil {
			answer = err.Error()
		}
		if err := say(answer); err != nil {
			return errors.Join(err, end())
		}
	}
	return end()
}
