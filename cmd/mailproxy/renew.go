package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"mailproxy/internal/durable"
	"mailproxy/internal/netdoc"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
)

// A renewal looks for a newer network document where the configuration says. When it
// does depends on the clock and on chance, and on nothing that the user does: whoever
// serves the document, or watches the line, learns that this computer runs mailproxy,
// which they may know anyway, and no more.
type renewal struct {
	cfg proxy.Config
	log *slog.Logger
}

const (
	// renewEvery is the mean time between two looks; each is drawn from half to one
	// and a half of it.
	renewEvery = 24 * time.Hour
	// renewSoon bounds how soon a look comes that is due at the start, so that it does
	// not tell when mailproxy was started.
	renewSoon = time.Hour
	// lookedFile is changed at each look.
	lookedFile = "network.looked"
)

// run looks until ctx ends, and tells renewed of each document that it has written.
func (r renewal) run(ctx context.Context, renewed chan<- struct{}) {
	wait := r.first(time.Now(), rand.Float64())
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = renewEvery/2 + time.Duration(rand.Float64()*float64(renewEvery))
		newer, err := r.look(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.log.Warn("mailproxy: no newer network document; the one in use stays", "err", err)
		case newer:
			select {
			case renewed <- struct{}{}:
			default: // it is about to look at the file
			}
		}
	}
}

// first says when the first look is, of a computer that may be off most of the day.
func (r renewal) first(now time.Time, chance float64) time.Duration {
	soon := time.Duration(chance * float64(renewSoon))
	info, err := os.Stat(filepath.Join(r.cfg.Dir, lookedFile))
	if err != nil || info.ModTime().After(now) {
		return soon
	}
	return max(0, info.ModTime().Add(renewEvery).Sub(now)) + soon
}

// look fetches the document, and writes it in place of the one in use if it may follow
// that.
func (r renewal) look(ctx context.Context) (newer bool, err error) {
	dial, err := r.cfg.Network.Dialer()
	if err != nil {
		return false, err
	}
	note, err := netdoc.Fetch(ctx, r.cfg.Network.URL, dial)
	if err != nil {
		return false, err
	}
	if err := durable.WriteFile(filepath.Join(r.cfg.Dir, lookedFile), nil, 0o600); err != nil {
		return false, err
	}
	return r.take(note)
}

// take writes a document that was fetched, unless it is the one in use or an older one.
func (r renewal) take(note []byte) (newer bool, err error) {
	have, err := os.ReadFile(r.cfg.Network.Document)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("read network document: %w", err)
	}
	if bytes.Equal(have, note) {
		return false, nil
	}
	trust := directory.Trust{Keys: r.cfg.Network.Keys, Threshold: r.cfg.Network.Threshold}
	doc, err := directory.Open(note, trust)
	if err != nil {
		return false, fmt.Errorf("the network document of %s is not believed: %w", r.cfg.Network.URL, err)
	}
	if old, err := directory.Open(have, trust); err == nil {
		if !doc.Made.After(old.Made) { // a server that was not told of the newest
			return false, nil
		}
		// One that changes what all must change together holds from the next start on:
		// whoever takes it up says so.
		if doc.Network != old.Network {
			return false, fmt.Errorf("%s gives the document of network %q, and not of %q", r.cfg.Network.URL, doc.Network, old.Network)
		}
	}
	return true, durable.WriteFile(r.cfg.Network.Document, note, 0o600)
}
