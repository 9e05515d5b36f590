package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

// serving serves mux at a socket until the test ends, or stop is called.
func serving(t *testing.T, mux http.Handler) (s Socket, stop func()) {
	t.Helper()
	s = Socket{Program: "program", Dir: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, mux) }()
	path, err := s.Path()
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() == 0o600 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	var stopped bool
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

func TestAnswers(t *testing.T) {
	type number struct{ N int }
	mux := http.NewServeMux()
	Handle(mux, quiet, "/double", func(_ context.Context, in number) (number, error) {
		if in.N < 0 {
			return number{}, errors.New("too small")
		}
		return number{2 * in.N}, nil
	})
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		Stream(w, quiet, func(w io.Writer) (any, error) {
			if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<17)); err != nil {
				return nil, err
			}
			if r.URL.Query().Has("fail") {
				return nil, errors.New("broke\noff")
			}
			return number{7}, nil
		})
	})
	mux.HandleFunc("GET /abort", func(w http.ResponseWriter, _ *http.Request) {
		Stream(w, quiet, func(w io.Writer) (any, error) {
			_, _ = w.Write(make([]byte, 1<<17))
			panic(http.ErrAbortHandler)
		})
	})
	mux.HandleFunc("POST /count", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		Answer(w, quiet, number{int(n)}, err)
	})
	s, stop := serving(t, mux)
	c := s.Client()
	var out number
	if err := c.Send(t.Context(), "/count", io.LimitReader(zeros{}, 1<<20), &out); err != nil || out.N != 1<<20 {
		t.Errorf("a body of 1 MiB: %d, %v", out.N, err)
	}
	if err := c.Send(t.Context(), "/nowhere", strings.NewReader("x"), &out); err == nil {
		t.Error("a path that there is not was answered")
	}
	if err := c.Do(t.Context(), "POST", "/double", number{21}, &out); err != nil || out.N != 42 {
		t.Errorf("%d, %v", out.N, err)
	}
	if err := c.Do(t.Context(), "POST", "/double", number{-1}, &out); err == nil || err.Error() != "too small" {
		t.Errorf("a refusal comes as %v", err)
	}
	if err := c.Do(t.Context(), "POST", "/double", struct{ M int }{1}, &out); err == nil || !strings.Contains(err.Error(), "unknown field") {
		t.Errorf("an unknown field: %v", err)
	}
	var got bytes.Buffer
	if err := c.Fetch(t.Context(), "/stream", &got, &out); err != nil || got.Len() != 1<<17 || out.N != 7 {
		t.Errorf("stream: %d bytes, %d, %v", got.Len(), out.N, err)
	}
	if err := c.Fetch(t.Context(), "/stream?fail", io.Discard, &out); err == nil || err.Error() != "broke\noff" {
		t.Errorf("a stream that fails: %v", err)
	}
	if err := c.Fetch(t.Context(), "/abort", io.Discard, &out); err == nil {
		t.Error("a stream without an end is taken for whole")
	}
	stop()
	if err := c.Do(t.Context(), "POST", "/double", number{1}, &out); !errors.Is(err, ErrNotRunning) || err.Error() != "program does not run with "+s.Dir+`; start it with "program run" and try again` {
		t.Errorf("a daemon that is gone: %v", err)
	}
	gone := errors.New("it has moved")
	s.Why = func() error { return gone }
	if err := s.Client().Do(t.Context(), "GET", "/", nil, &out); !errors.Is(err, ErrNotRunning) || !errors.Is(err, gone) ||
		err.Error() != "program does not run with "+s.Dir+": it has moved" {
		t.Errorf("a daemon that is not to run: %v", err)
	}
}

// TestWaits ends a daemon in the middle of an answer: whoever closes the store after
// Serve must find nobody using it.
func TestWaits(t *testing.T) {
	began := make(chan struct{})
	ended := false
	s, stop := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		time.Sleep(50 * time.Millisecond)
		ended = true
	}))
	failed := make(chan error, 1)
	go func() { failed <- s.Client().Do(context.Background(), "GET", "/", nil, new(int)) }()
	<-began
	stop()
	if !ended {
		t.Error("Serve returned before the answer was done")
	}
	if err := <-failed; err == nil {
		t.Error("the client was told that all is well")
	}
}

// TestSocketDirectoryOfAnother has another user of the machine make the directory
// of the control socket first.
func TestSocketDirectoryOfAnother(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there the directory's owner decides")
	}
	t.Setenv("TMPDIR", t.TempDir())
	s := Socket{Program: "program", Dir: filepath.Join(t.TempDir(), strings.Repeat("long", maxPath/4))}
	path, err := s.Path()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.check(path); err != nil {
		t.Errorf("our own directory: %v", err)
	}
	info, err := os.Lstat(filepath.Dir(path))
	if err != nil || !ownedBy(info, os.Geteuid()) || ownedBy(info, os.Geteuid()+1) {
		t.Errorf("its owner is not known: %v", err)
	}
	if os.Geteuid() == 0 { // who alone can make it another's
		if err := os.Chown(filepath.Dir(path), 1234, -1); err != nil {
			t.Fatal(err)
		}
		if err := s.Serve(t.Context(), http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), "is another user's") {
			t.Errorf("Serve = %v", err)
		}
		if err := s.Client().Do(t.Context(), "GET", "/", nil, new(int)); err == nil || !strings.Contains(err.Error(), "is another user's") {
			t.Errorf("Do = %v", err)
		}
		if err := os.Chown(filepath.Dir(path), 0, -1); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil { // past the umask
		t.Fatal(err)
	}
	if err := s.Serve(t.Context(), http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), "others can use") {
		t.Errorf("Serve = %v", err)
	}
	if err := s.Client().Do(t.Context(), "GET", "/", nil, new(int)); err == nil || !strings.Contains(err.Error(), "others can use") {
		t.Errorf("Do = %v", err)
	}
}

// zeros reads without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
