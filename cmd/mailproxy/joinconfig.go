package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"mailproxy/internal/durable"
	"mailproxy/internal/invitation"
	"mailproxy/internal/netdoc"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
)

// The part of join that makes the configuration of an invitation.

// configure writes the configuration and the network document, unless they are there.
func (j *joinCmd) configure(ctx context.Context, i invitation.Invitation) (proxy.Config, error) {
	cfg, missing := proxy.LoadConfig(j.Config)
	document := cfg.Network.Document
	var err error
	switch {
	case missing == nil:
		if !slices.Equal(slices.Sorted(slices.Values(cfg.Network.Keys)), slices.Sorted(slices.Values(i.Keys))) || cfg.Network.Threshold != i.Threshold {
			return cfg, fmt.Errorf("this computer has joined another network, by %s; leave it first (mailproxy leave), or name another file with --config", j.Config)
		}
		if j.SOCKS5 != "" && j.SOCKS5 != cfg.Network.SOCKS5 {
			return cfg, fmt.Errorf("the configuration %s is there already, with socks5 = %q: change it there (mailproxy config set network.socks5 %s), and start mailproxy again", j.Config, cfg.Network.SOCKS5, j.SOCKS5)
		}
		if _, err := loadNetwork(cfg); err == nil {
			j.did("the configuration is there already: %s", j.Config)
			return cfg, nil
		}
	case !errors.Is(missing, fs.ErrNotExist):
		return cfg, missing
	default:
		if cfg, err = j.newConfig(i); err != nil {
			return cfg, err
		}
		document = filepath.Join(filepath.Dir(j.Config), cfg.Network.Document)
	}
	doc, note, err := j.document(ctx, i, cfg.Network)
	if err != nil {
		return cfg, err
	}
	if !slices.Contains(providers(doc), i.Provider) {
		return cfg, fmt.Errorf("network %q has no provider %s: ask whoever invited you for a new invitation; nothing was done", doc.Network, i.Provider)
	}
	fresh := errors.Is(missing, fs.ErrNotExist) // and not its document alone
	if fresh {
		if err := choosePorts(&cfg.Listen, j.did); err != nil {
			return cfg, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(j.Config), 0o700); err != nil {
		return cfg, fmt.Errorf("make a directory for the configuration: %w", err)
	}
	if err := durable.WriteFile(document, note, 0o600); err != nil {
		return cfg, err
	}
	j.did("got the description of network %q, signed by %d of the %d operators that the invitation names", doc.Network, i.Threshold, len(i.Keys))
	if !fresh {
		return cfg, nil
	}
	if err := cfg.Write(j.Config); err != nil {
		return cfg, err
	}
	j.did("wrote the configuration: %s", j.Config)
	cfg, err = proxy.LoadConfig(j.Config)
	if err == nil {
		j.did("mail and keys will be in %s", cfg.Dir)
	}
	return cfg, err
}

// newConfig is the configuration for who has none.
func (j *joinCmd) newConfig(i invitation.Invitation) (cfg proxy.Config, err error) {
	cfg = proxy.DefaultConfig()
	cfg.Network = proxy.NetworkConfig{Document: "network.note", Keys: i.Keys, Threshold: i.Threshold, SOCKS5: j.SOCKS5}
	if _, err := cfg.Network.Dialer(); err != nil {
		return cfg, fmt.Errorf("--socks5: %w", err)
	}
	if i.File() == "" {
		cfg.Network.URL = i.Document
	}
	usual, err := j.usual()
	if err == nil && usual {
		cfg.Dir, err = proxy.DefaultDataDir()
	}
	return cfg, err
}

// document gets the network document and checks it, before anything else is done by it.
func (j *joinCmd) document(ctx context.Context, i invitation.Invitation, n proxy.NetworkConfig) (*directory.Document, []byte, error) {
	var note []byte
	var err error
	if file := i.File(); file != "" {
		if note, err = netdoc.Read(file); err != nil {
			return nil, nil, fmt.Errorf("%w; is the network's first computer this one?", err)
		}
	} else {
		dial, err := n.Dialer()
		if err != nil {
			return nil, nil, err
		}
		if note, err = netdoc.Fetch(ctx, i.Document, dial); err != nil {
			return nil, nil, fmt.Errorf("%w; %s. Nothing was done, and the invitation is good for another time", err, fetchHint(err))
		}
	}
	doc, err := directory.Open(note, directory.Trust{Keys: i.Keys, Threshold: i.Threshold})
	if err != nil {
		return nil, nil, fmt.Errorf("the network document of %s is not believed: %w; tell your provider. Nothing was done", i.Document, err)
	}
	return doc, note, nil
}

// fetchHint says what to do about a network document that could not be fetched.
func fetchHint(err error) string {
	var certificate *tls.CertificateVerificationError
	var connection *url.Error
	switch {
	case errors.As(err, &certificate):
		return "the server cannot prove that it is your provider's: try another line, such as a telephone's, and if that is no better, tell your provider"
	case errors.As(err, &connection):
		return "look whether you are online, and try again later"
	}
	return "tell your provider"
}
