// Package control lets a program's command line talk to its daemon: HTTP with JSON
// bodies on a Unix socket in the daemon's directory, which its owner alone can open.
// So the files of a running daemon are never opened by two.
//
// It knows no command; what is asked and answered is for those who import it: proxy,
// cmd/mailproxy and cmd/mailspool.
package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// maxPath is the longest path of a Unix socket that all systems take.
const maxPath = 100

// maxRequest bounds the body of a request, in bytes.
const maxRequest = 1 << 16

// resultTrailer is the HTTP trailer with the answer that follows a stream.
const resultTrailer = "Result"

// ErrNotRunning is wrapped by the error of a request that no daemon answers.
var ErrNotRunning = errors.New("no daemon answers")

// A Socket is where one daemon listens.
type Socket struct {
	Program string // as in "mailproxy run"
	Dir     string // the daemon's directory
	// Start says how a daemon that does not run is started; empty: by Program and run.
	Start string
	// Why returns the reason for which none is to run, or nil. It may be nil.
	Why func() error
}

// notRunning is the error where no daemon answered, for cause.
func (s Socket) notRunning(cause error) error {
	silent := &silence{cause: cause, text: fmt.Sprintf("%s does not run with %s", s.Program, s.Dir)}
	if s.Why != nil {
		if why := s.Why(); why != nil {
			silent.cause = why
			silent.text += ": " + why.Error()
			return silent
		}
	}
	start := s.Start
	if start == "" {
		start = fmt.Sprintf("%q", s.Program+" run")
	}
	silent.text += "; start it with " + start + " and try again"
	// That there is no socket, or nobody at it, is what was said already.
	if !errors.Is(cause, fs.ErrNotExist) && !errors.Is(cause, syscall.ECONNREFUSED) {
		silent.text += ": " + cause.Error()
	}
	return silent
}

// A silence is ErrNotRunning in words for a user.
type silence struct {
	text  string
	cause error
}

// Error implements error.
func (e *silence) Error() string { return e.text }

// Unwrap returns ErrNotRunning and the cause.
func (e *silence) Unwrap() []error { return []error{ErrNotRunning, e.cause} }

// Path returns the socket's path: in the directory, or if that path is too long for
// a socket, in a directory of the user's own among the temporary files.
func (s Socket) Path() (string, error) {
	abs, err := filepath.Abs(s.Dir)
	if err != nil {
		return "", fmt.Errorf("find control socket: %w", err)
	}
	if p := filepath.Join(abs, "control.sock"); len(p) <= maxPath {
		return p, nil
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(os.TempDir(), fmt.Sprintf("%s-%d-%s", s.Program, os.Getuid(), hex.EncodeToString(sum[:6])), "control.sock"), nil
}

// check refuses a directory among the temporary files that others can use: one of
// them may have made it first, to answer there in the daemon's place and be told
// passwords.
func (s Socket) check(path string) error {
	parent := filepath.Dir(path)
	if abs, err := filepath.Abs(s.Dir); err != nil || parent == abs {
		return err
	}
	info, err := os.Lstat(parent)
	if err != nil {
		return err
	}
	if !info.IsDir() || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("others can use %s, and may have made it: remove it, or choose a directory with a shorter path", parent)
	}
	if !ownedBy(info, os.Geteuid()) {
		return fmt.Errorf("%s is another user's, who may have made it to be asked instead of the daemon: have it removed, or choose a directory with a shorter path", parent)
	}
	return nil
}

// Serve answers requests with h until ctx ends and the last is answered; their
// contexts end with ctx. The caller must be the only one with the directory: a
// socket that is there is taken for one that a crash left.
func (s Socket) Serve(ctx context.Context, h http.Handler) error {
	path, err := s.Path()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	if err := s.check(path); err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("protect control socket: %w", err), l.Close())
	}
	counted := &counter{Handler: h}
	defer counted.wait()
	hs := &http.Server{Handler: counted, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = hs.Close() }) // Serve returns on it
	defer stop()
	if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// counter waits for the requests that are being answered, which http.Server.Close
// does not.
type counter struct {
	http.Handler

	mu     sync.Mutex // guards closed, and that nothing is added to wg after it
	closed bool
	wg     sync.WaitGroup
}

// ServeHTTP implements http.Handler.
func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	c.wg.Add(1)
	c.mu.Unlock()
	defer c.wg.Done()
	c.Handler.ServeHTTP(w, r)
}

func (c *counter) wait() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.wg.Wait()
}

// Handle has fn answer what is posted to path, as it is in the body of the request.
func Handle[In, Out any](mux *http.ServeMux, log *slog.Logger, path string, fn func(ctx context.Context, in In) (Out, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var in In
		var out Out
		err := read(r, &in)
		if err == nil {
			out, err = fn(r.Context(), in)
		}
		Answer(w, log, out, err)
	})
}

// read reads the body of a request, which has nothing in it that in has not.
func read(r *http.Request, in any) error {
	dec := json.NewDecoder(io.LimitReader(r.Body, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(in); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	return nil
}

type failure struct {
	Error string `json:"error"`
}

// Answer answers with body, or with err if there is one.
func Answer(w http.ResponseWriter, log *slog.Logger, body any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		body = failure{err.Error()}
	}
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Debug("control: client went away", "err", err)
	}
}

// Stream answers with what fn writes, and what it returns after that.
func Stream(w http.ResponseWriter, log *slog.Logger, fn func(io.Writer) (any, error)) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Trailer", resultTrailer)
	body, err := fn(w)
	var end struct {
		failure
		Body any `json:"body"`
	}
	if end.Body = body; err != nil {
		end.Error, end.Body = err.Error(), nil
	}
	text, err := json.Marshal(end)
	if err != nil {
		log.Error("control: answer cannot be encoded", "err", err)
		panic(http.ErrAbortHandler)
	}
	// A header has no line breaks, and JSON none that matter.
	w.Header().Set(resultTrailer, url.QueryEscape(string(text)))
}

// A Client talks to the daemon of a socket.
type Client struct {
	http   http.Client
	socket Socket
}

// Client returns a client of the daemon.
func (s Socket) Client() *Client {
	return &Client{socket: s, http: http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // a command asks once
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			path, err := s.Path()
			if err != nil {
				return nil, err
			}
			if err := s.check(path); err != nil {
				return nil, err
			}
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", path)
		},
	}}}
}

// Do asks, and reads the answer into out. It fails with the daemon's own words, or
// with ErrNotRunning.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.ask(ctx, method, path, in)
	if err != nil {
		return err
	}
	return decode(resp, out)
}

// Send is Do for a request whose body is a stream, which the daemon may read for as
// long as it takes.
func (c *Client) Send(ctx context.Context, path string, body io.Reader, out any) error {
	resp, err := c.request(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	return decode(resp, out)
}

func decode(resp *http.Response, out any) error {
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("ask daemon: %w", err)
	}
	return nil
}

// Fetch asks for a stream, writes it to w, and reads what follows it into out.
func (c *Client) Fetch(ctx context.Context, path string, w io.Writer, out any) error {
	resp, err := c.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("take what the daemon sends: %w", err)
	}
	var end struct {
		failure
		Body json.RawMessage `json:"body"`
	}
	text, err := url.QueryUnescape(resp.Trailer.Get(resultTrailer))
	if err == nil {
		err = json.Unmarshal([]byte(text), &end)
	}
	switch {
	case err != nil:
		return fmt.Errorf("the daemon broke off: %w", err)
	case end.Error != "":
		return errors.New(end.Error)
	}
	if err := json.Unmarshal(end.Body, out); err != nil {
		return fmt.Errorf("ask daemon: %w", err)
	}
	return nil
}

// ask asks with a JSON body, and returns an answer that is no failure.
func (c *Client) ask(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return nil, fmt.Errorf("ask daemon: %w", err)
		}
	}
	return c.request(ctx, method, path, &body)
}

func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.socket.Program+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask daemon: %w", err)
	}
	resp, err := c.http.Do(req)
	var cause *url.Error // which quotes an address that nobody knows
	if errors.As(err, &cause) {
		err = cause.Err
	}
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" && errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("the daemon of %s is another user's: run this as that user: %w", c.socket.Dir, err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, c.socket.notRunning(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var e failure
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
		return nil, fmt.Errorf("ask daemon: it answered %s", resp.Status)
	}
	return nil, errors.New(e.Error)
}
