package server_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailproxy/spool/server"
)

const day = 24 * time.Hour

// swept is a Store with one block, of the start, which only keeps what sweeps are asked
// for.
type swept struct {
	server.Store
	last atomic.Pointer[time.Time]
	gone atomic.Bool
}

func (s *swept) Stats(context.Context) (server.Stats, error) { return server.Stats{Blocks: 1}, nil }

func (s *swept) SetLastSweep(_ context.Context, t time.Time) error { s.last.Store(&t); return nil }

func (s *swept) LastSweep(context.Context) (t time.Time, err error) {
	if last := s.last.Load(); last != nil {
		t = *last
	}
	return t, nil
}

func (s *swept) Sweep(_ context.Context, old, forget, now time.Time) (int, error) {
	if start.Before(old) && !s.gone.Swap(true) {
		return 1, nil
	}
	return 0, nil
}

// A service that starts with a clock that is weeks ahead removes nothing for a day,
// says so at every sweep, and believes the clock if it is put right, goes on evenly,
// or is trusted by the operator.
func TestSweepAfterStartWithWrongClock(t *testing.T) {
	for _, tt := range []struct {
		what   string
		known  bool // the store knows when it was last swept
		wrong  time.Duration
		change func(s *server.Server, wrong *atomic.Int64)
		after  time.Duration // sees whether the block is gone
		gone   bool
	}{
		{"just started", true, 30 * day, nil, 23 * time.Hour, false},
		{"off for weeks", true, 30 * day, nil, 26 * time.Hour, true},
		{"restored", false, 30 * day, nil, 23 * time.Hour, false},
		{"restored, a day later", false, 30 * day, nil, 26 * time.Hour, true},
		{"put right", true, 30 * day, func(_ *server.Server, w *atomic.Int64) { w.Store(0) }, 13 * day, false},
		{"put right, and old", true, 30 * day, func(_ *server.Server, w *atomic.Int64) { w.Store(0) }, 15 * day, true},
		{"never wrong", true, 0, nil, 13 * day, false},
		{"set back", true, -30 * day, nil, 26 * time.Hour, false},
		{"jumps again", true, 30 * day, func(_ *server.Server, w *atomic.Int64) { w.Store(int64(40 * day)) }, 26 * time.Hour, false},
		{"trusted", true, 30 * day, func(s *server.Server, _ *atomic.Int64) { s.TrustClock(context.Background()) }, 3 * time.Hour, true},
	} {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, st := time.Now(), new(swept)
				if tt.known {
					st.SetLastSweep(t.Context(), start.Add(-time.Hour))
				}
				var wrong atomic.Int64
				wrong.Store(int64(tt.wrong))
				var log bytes.Buffer
				s, err := server.New(server.Options{
					Store: st, Provider: "north.test", Logger: slog.New(slog.NewTextHandler(&log, nil)),
					Now: func() time.Time { return start.Add(time.Since(began) + time.Duration(wrong.Load())) },
				})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(150 * time.Minute)
				if st.gone.Load() {
					t.Error("the block is gone at once")
				}
				if n := strings.Count(log.String(), "the clock has jumped"); (n == 2) != (tt.wrong != 0) {
					t.Errorf("it was said %d times", n)
				}
				if tt.change != nil {
					tt.change(s, &wrong)
				}
				time.Sleep(tt.after - time.Since(began))
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if st.gone.Load() != tt.gone {
					t.Errorf("after %v the block is gone: %v", tt.after, st.gone.Load())
				}
			})
		})
	}
}
