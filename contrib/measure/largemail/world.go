//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"mailproxy/contrib/measure/resident"
	"mailproxy/internal/child"
	"mailproxy/proxy"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
)

// A measurement is the spool, the daemon and what the mail programs know.
type measurement struct {
	options
	dir   string
	watch *watcher
	want  [][]byte // SHA-256 of the bodies
	size  int      // bytes of the largest mail as it was sent
	took  time.Duration
	began time.Time

	ready
	trust *tls.Config
	child *child.Process
	free  func() bool // of watching for the end of the whole

	store  *badgerstore.Store
	spool  *server.Server
	http   *http.Server
	served chan error
}

// maxRequest bounds what is read of a question to the spool.
const maxRequest = 64 << 10

// start starts the spool and the daemon, and makes the mails once to know what they
// are.
func start(ctx context.Context, o options, dir string) (*measurement, error) {
	m := &measurement{options: o, dir: dir, served: make(chan error, 1)}
	for n := range o.messages {
		var d digest
		if err := writeMail(&d, n, o.bytes); err != nil {
			return nil, err
		}
		m.want, m.size = append(m.want, d.body.Sum(nil)), max(m.size, d.size)
	}
	if err := m.startSpool(); err != nil {
		return nil, err
	}
	if err := m.startDaemon(ctx); err != nil {
		return nil, errors.Join(err, m.stop())
	}
	m.watch = watchProcess(m.child.PID())
	return m, nil
}

func (m *measurement) socket() string { return filepath.Join(m.dir, "spool.sock") }

func (m *measurement) startSpool() (err error) {
	if m.store, err = badgerstore.Open(badgerstore.Options{Dir: filepath.Join(m.dir, "spool")}); err != nil {
		return err
	}
	// Room for all blocks, should they be read later than they come.
	m.spool, err = server.New(server.Options{Store: m.store, Provider: provider, Limits: server.Limits{MaxBlocks: 1 << 20}})
	if err != nil {
		return errors.Join(err, m.store.Close())
	}
	l, err := net.Listen("unix", m.socket())
	if err != nil {
		return errors.Join(err, m.spool.Close(), m.store.Close())
	}
	m.http = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
		if err != nil {
			return // the daemon has gone
		}
		_, _ = w.Write(m.spool.Answer(r.Context(), request)) // who does not read it asks again
	})}
	go func() { m.served <- m.http.Serve(l) }()
	return nil
}

func (m *measurement) startDaemon(ctx context.Context) error {
	cmd, err := child.Command(daemonPart, childConfig{Dir: m.daemonDir(), Spool: m.socket(), Slot: m.slot})
	if err != nil {
		return err
	}
	if !m.logs {
		cmd.Stderr = nil
	}
	if m.child, err = child.Launch(daemonPart, cmd); err != nil {
		return err
	}
	m.free = context.AfterFunc(ctx, func() { _ = m.child.End() }) // stop, which follows, says what went wrong
	if err := m.child.Read(&m.ready); err != nil {
		return fmt.Errorf("%w; -log shows why", err)
	}
	ca, err := os.ReadFile(m.CAFile)
	if err != nil {
		return err
	}
	m.trust = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	m.trust.RootCAs.AppendCertsFromPEM(ca)
	return nil
}

func (m *measurement) daemonDir() string { return filepath.Join(m.dir, "user") }

// stop ends everything, the daemon first.
func (m *measurement) stop() error {
	var err error
	if m.watch != nil {
		err = m.watch.stop()
	}
	if m.child != nil {
		m.free()
		err = errors.Join(err, m.child.Stop())
	}
	err = errors.Join(err, m.http.Close())
	if serr := <-m.served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return errors.Join(err, m.spool.Close(), m.store.Close())
}

// arrive waits until all mails are in bob's INBOX, and shows how far they are.
func (m *measurement) arrive(ctx context.Context) (err error) {
	c, err := m.imap(bob)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	shown := time.Now()
	for {
		n, err := count(c)
		if err != nil {
			return err
		}
		if n == m.messages {
			m.took = time.Since(m.began)
			return nil
		}
		if time.Since(shown) > 10*time.Second {
			shown = time.Now()
			st, err := proxy.Control(m.daemonDir()).Status(ctx)
			if err != nil {
				return err
			}
			blocks := 0
			for _, a := range st.Accounts[1].Arriving {
				blocks += a.Here
			}
			fmt.Printf("        %5.0f s: %d mails arrived, %d on the way, %d blocks of others are here; %s\n",
				time.Since(m.began).Seconds(), n, len(st.Sending), blocks, m.watch.soFar())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (m *measurement) report() error {
	m.watch.mu.Lock()
	defer m.watch.mu.Unlock()
	all := m.watch.all
	fmt.Printf("\nmessages=%d size_mib=%.1f way_s=%.0f peak_rss_mib=%.0f peak_anon_mib=%.0f\n",
		m.messages, float64(m.size)/(1<<20), m.took.Seconds(), resident.MiB(all.peak), resident.MiB(all.anon))
	return nil
}
