package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"

	"mailproxy/contrib/measure/torture"
	"mailproxy/imap"
	"mailproxy/internal/child"
	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
)

// serverPart is the part of the process that is killed.
const serverPart = "mailboxcrash"

var parts = map[string]child.Part{serverPart: child.Func(serve)}

// The account, and its password.
const (
	account  = "ann@north.test"
	password = "correct horse"
)

// shared are the folders that all clients use, beside those of their own.
var shared = []string{mailbox.Inbox, mailbox.Archive, mailbox.Trash}

// storeOptions are those of the daemon: encrypted at rest.
func storeOptions(dir string) store.Options {
	return store.Options{Dir: dir, Key: make([]byte, store.KeySize)}
}

// serve serves IMAP until it is killed, or returns why it cannot.
func serve(at torture.Service) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	o := storeOptions(at.Store)
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
	l, err := net.Listen("unix", at.Socket)
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
