//go:build !linux

package main

import (
	"context"
	"errors"
)

func startDovecot(context.Context, string, options) (*server, error) {
	return nil, errors.New("Debian's Dovecot runs on Linux; -dovecot '' measures ours alone")
}
