// Package metrics lets Prometheus read a node's figures, and keeps them from telling
// more than an operator needs: Hold shows what a collector says once a period, and
// Blur a count in steps.
//
// It has no figures of its own and knows no node: what is measured has its collector
// beside it. mixnet/node, spool/server, internal/nodedir and cmd import it.
package metrics

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config is the part of a node's configuration about its figures. An empty Listen
// means that nobody can ask.
type Config struct {
	Listen string `toml:"listen" comment:"where Prometheus may ask for figures, such as ':9464' for that port of loopback; empty: nowhere"`
	Detail bool   `toml:"detail" comment:"also exact figures at any moment, which help an adversary who gets them: see docs/operating.md"`
}

// path is where the figures are.
const path = "/metrics"

// Bounds of a request. There is one asker, and he asks once in a while.
const (
	requestTimeout = 10 * time.Second
	requests       = 4 // at one time
	headerBytes    = 1 << 13
)

// A Server answers Prometheus from Start to Close.
type Server struct {
	http     *http.Server
	listener net.Listener
	wg       sync.WaitGroup
}

// Start serves the figures of the collectors, or, if nobody can ask, nothing. An
// address without a host means loopback.
func Start(cfg Config, log *slog.Logger, collectors ...prometheus.Collector) (*Server, error) {
	if cfg.Listen == "" {
		return &Server{}, nil
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("serve metrics: %w", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	// A registry of our own: the default one has what the libraries put there.
	registry := prometheus.NewPedanticRegistry()
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("serve metrics: %w", err)
		}
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("serve metrics: %w; set metrics.listen to another address, or to none", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		log.Warn("metrics: whoever reaches this address can read this node's figures", "address", a.String())
	}
	errs := slog.NewLogLogger(log.Handler(), slog.LevelError)
	mux := http.NewServeMux()
	mux.Handle("GET "+path, promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: errs, ErrorHandling: promhttp.HTTPErrorOnError,
		MaxRequestsInFlight: requests, Timeout: requestTimeout,
	}))
	s := &Server{listener: l, http: &http.Server{
		Handler: mux, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), MaxHeaderBytes: headerBytes,
		ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, WriteTimeout: 2 * requestTimeout, IdleTimeout: time.Minute,
	}}
	s.wg.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics: stopped listening", "err", err)
		}
	})
	return s, nil
}

// URL returns where the figures are, or "" if nobody can ask.
func (s *Server) URL() string {
	if s.http == nil {
		return ""
	}
	return "http://" + s.listener.Addr().String() + path
}

// Close stops the server and waits for it.
func (s *Server) Close() error {
	if s.http == nil {
		return nil
	}
	err := s.http.Close()
	s.wg.Wait()
	if err != nil {
		return fmt.Errorf("stop serving metrics: %w", err)
	}
	return nil
}
