package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"mailproxy/imap"
	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
)

// The child's environment: where the store is, and where it listens.
const (
	childDir    = "MAILPROXY_MAILBOXCRASH_DIR"
	childSocket = "MAILPROXY_MAILBOXCRASH_SOCKET"
)

// The account, and its password.
const (
	account  = "ann@north.test"
	password = "correct horse"
)

// shared are the folders that all clients use, beside those of their own.
var shared = []string{mailbox.Inbox, mailbox.Archive, mailbox.Trash}

// storeOptions are those of the daemon: encrypted at rest.
func storeOptions(dir string) store.Options {
	return store.Options{Dir: filepath.Join(dir, "store"), Key: make([]byte, store.KeySize)}
}

// runChild serves IMAP until it is killed, if this process is to be it.
func runChild() bool {
	dir := os.Getenv(childDir)
	if dir == "" {
		return false
	}
	fmt.Fprintln(os.Stderr, "child:", serve(dir, os.Getenv(childSocket)))
	os.Exit(1)
	return true
}

// serve returns why it cannot.
func serve(dir, socket string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	o := storeOptions(dir)
	o.Logger = log
	st, err := store.Open(o)
	if err != nil {
		return err
	}
	mb, err := mailbox.Open(st, mailbox.Options{Logger: log})
	if err != nil {
		return err
	}
	if _, err := mb.CreateAccount(account); err != nil && !errors.Is(err, mailbox.ErrExists) {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return imap.New(imap.Options{
		Mailboxes: mb, AllowPlaintext: true, Logger: log, MaxMessage: 25 << 20,
		Auth: func(_ context.Context, user, pass string) (string, error) {
			if user != account || pass != password {
				return "", mailbox.ErrBadPassword
			}
			return account, nil
		},
	}).Serve(l)
}
