package main

import (
	"errors"
	"path/filepath"

	"mailproxy/internal/child"
)

// A server is one that is measured, in a process of its own.
type server struct {
	name, address, version string
	// profile writes a processor profile to the file from now on, or with "" ends
	// it. It is nil where that cannot be had.
	profile func(file string) error
	stop    func() error
}

// startOurs starts our server with its store below dir.
func startOurs(dir string) (*server, error) {
	p, err := child.Start(mailPart, filepath.Join(dir, "ours"))
	if err != nil {
		return nil, err
	}
	var address string
	if err := p.Read(&address); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return &server{name: "ours", address: address, stop: p.Stop, profile: func(file string) error {
		return p.Ask(file, nil)
	}}, nil
}
