// Package web is the status page: a small web server on loopback that shows its user
// whether mail flows, what became of each message, and what the network is worth, and
// takes the few decisions that the command line takes too.
//
// Only a browser that was given a one-time link by the command line gets in. What is
// asked of the page is answered from memory and disk: a request causes no packet and
// changes no time at which one leaves. Pages are made here by html/template; the
// scripts only put newer parts of a page in the place of older ones, and draw the
// charts. It knows no daemon but what Source says of it; proxy imports it, and is its
// Source; cmd/mailproxy imports it for what the doctor finds, which the page shows too.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Options say what a page works with. Source is needed.
type Options struct {
	Source Source
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil discards
	// Every is how often a page that is open is compared with what is so by now.
	// Zero means a second.
	Every time.Duration
}

// A Server serves the page from Serve to Close.
type Server struct {
	source Source
	log    *slog.Logger
	now    func() time.Time
	every  time.Duration
	gate   *gate
	plot   *plot
	key    string // of the names that contacts have in addresses of pages
	http   *http.Server

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex // guards closed, and that nothing is added to wg after it
	closed  bool
	wg      sync.WaitGroup // the requests that are being answered
	address net.Addr       // of the listener; nil before Serve. Guarded by mu
}

// New returns a page that serves nothing yet.
func New(o Options) *Server {
	s := &Server{source: o.Source, log: o.Logger, now: o.Now, every: o.Every}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.every == 0 {
		s.every = time.Second
	}
	s.gate, s.plot = newGate(s.now), newPlot()
	s.key = secret()
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler: s.count(s.guard(s.routes())), ConnContext: connected,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return s
}

// Serve answers the connections of l, which must be on loopback, until Close.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.Join(http.ErrServerClosed, l.Close())
	}
	s.address = l.Addr()
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	var sampling sync.WaitGroup
	defer sampling.Wait()
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	sampling.Go(func() { s.sample(ctx) })
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("status page: %w", err)
	}
	return nil
}

// Close ends all connections and waits for what is being answered.
func (s *Server) Close() error {
	s.cancel()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.http.Close()
	s.wg.Wait()
	return err
}

// URL returns an address that opens the page once, for as long as TokenLife. Its
// secret is in the fragment, which browsers send to nobody: the page's script takes it
// out of the address bar, and hands it over in the body of a request.
func (s *Server) URL() (string, error) {
	s.mu.Lock()
	address := s.address
	s.mu.Unlock()
	if address == nil {
		return "", errors.New("the status page is not served")
	}
	return "http://" + address.String() + "/open#" + s.gate.newToken(), nil
}

// count counts requests, for Close to wait for.
func (s *Server) count(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		s.wg.Add(1)
		s.mu.Unlock()
		defer s.wg.Done()
		h.ServeHTTP(w, r)
	})
}
