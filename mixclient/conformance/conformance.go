// Package conformance holds the tests that every engine behind
// mixclient.Network must pass. Engines' tests import it; nothing else does.
package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailproxy/mixclient"
)

// Provider is the domain of the spool service that a Setup must offer. The
// service answers each request with "re:" and the request's first 64 bytes.
const Provider = "conformance.test"

// Answer is what the service at Provider answers.
func Answer(request []byte) []byte {
	return append([]byte("re:"), request[:min(64, len(request))]...)
}

// Announced is what it announces.
func Announced() []byte { return []byte("the service's notice") }

// A Setup is a fresh network for one test. It also has an echo service.
type Setup struct {
	Network mixclient.Network
	// Break makes all packets vanish from now on; Mend ends that.
	Break, Mend func()
	// Patience is longer than any query takes, or takes to be given up.
	Patience time.Duration
}

// Run runs the tests, each on a Setup of its own.
func Run(t *testing.T, setup func(t *testing.T) Setup) {
	tests := []struct {
		name string
		run  func(*testing.T, Setup)
	}{
		{"Services", services},
		{"Notice", notice},
		{"Query", queryAnswered},
		{"QueryLimits", queryLimits},
		{"QueryUnknownService", queryUnknown},
		{"QueriesAtOnce", queriesAtOnce},
		{"QueryCancelled", queryCancelled},
		{"Trace", trace},
		{"Reads", reads},
		{"Lost", lost},
		{"Close", closed},
		{"StatusAndEvents", status},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := setup(t)
			t.Cleanup(func() {
				if err := s.Network.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test.run(t, s)
		})
	}
}

func spoolOf(t *testing.T, n mixclient.Network) mixclient.Service {
	t.Helper()
	list, err := n.Services(t.Context(), mixclient.KindSpool)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.Provider == Provider {
			return s
		}
	}
	t.Fatalf("no spool service of %s in %v", Provider, list)
	return mixclient.Service{}
}

func (s Setup) context(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), s.Patience)
	t.Cleanup(cancel)
	return ctx
}

func services(t *testing.T, s Setup) {
	spoolOf(t, s.Network)
	for kind, want := range map[string]bool{mixclient.KindEcho: true, "no-such-kind": false} {
		list, err := s.Network.Services(t.Context(), kind)
		if err != nil || (len(list) > 0) != want {
			t.Errorf("services of kind %q: %v, %v", kind, list, err)
		}
	}
}

func notice(t *testing.T, s Setup) {
	queryAnswered(t, s) // after which the snapshot is known
	n, ok := s.Network.Notice(spoolOf(t, s.Network))
	if !ok || !bytes.Equal(n.Bytes, Announced()) || n.Since.IsZero() {
		t.Errorf("the service announces %q since %v, %v", n.Bytes, n.Since, ok)
	}
	if n, ok := s.Network.Notice(mixclient.Service{Kind: mixclient.KindSpool, Node: "no such node"}); ok {
		t.Errorf("an unknown service announces %q", n.Bytes)
	}
}

func queryAnswered(t *testing.T, s Setup) {
	request := []byte("hello")
	reply, err := s.Network.Query(s.context(t), spoolOf(t, s.Network), request)
	if err != nil {
		t.Fatal(err)
	}
	want := Answer(request)
	if !bytes.HasPrefix(reply, want) {
		t.Errorf("reply %.20q, want %q", reply, want)
	}
	if rest := reply[min(len(want), len(reply)):]; len(bytes.Trim(rest, "\x00")) != 0 {
		t.Errorf("reply is padded with %.20q, want zeros", rest)
	}
}

func queryLimits(t *testing.T, s Setup) {
	limits := s.Network.Limits()
	if limits.Request < 8192 || limits.Reply < 8192 {
		t.Fatalf("limits %+v do not hold a block of 8 KiB", limits)
	}
	if _, err := s.Network.Query(s.context(t), spoolOf(t, s.Network), make([]byte, limits.Request+1)); !errors.Is(err, mixclient.ErrTooLarge) {
		t.Errorf("query beyond the limit: %v, want ErrTooLarge", err)
	}
	request := make([]byte, limits.Request)
	rand.Read(request)
	echoes, err := s.Network.Services(t.Context(), mixclient.KindEcho)
	if err != nil || len(echoes) == 0 {
		t.Fatalf("echo services: %v, %v", echoes, err)
	}
	reply, err := s.Network.Query(s.context(t), echoes[0], request)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(reply, request) {
		t.Error("echo of the largest request is not what was sent")
	}
}

func queryUnknown(t *testing.T, s Setup) {
	for _, to := range []mixclient.Service{
		{Kind: mixclient.KindSpool, Provider: "other.test", Node: "no-such-node"},
		{Kind: "no-such-kind", Node: spoolOf(t, s.Network).Node},
	} {
		if _, err := s.Network.Query(s.context(t), to, nil); !errors.Is(err, mixclient.ErrUnknownService) {
			t.Errorf("query to %+v: %v, want ErrUnknownService", to, err)
		}
	}
}

func queriesAtOnce(t *testing.T, s Setup) {
	to := spoolOf(t, s.Network)
	ctx := s.context(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			request := fmt.Appendf(nil, "query %d.", i)
			reply, err := s.Network.Query(ctx, to, request)
			if err != nil {
				t.Errorf("query %d: %v", i, err)
			} else if !bytes.HasPrefix(reply, Answer(request)) {
				t.Errorf("query %d got the reply %.20q", i, reply)
			}
		})
	}
	wg.Wait()
}

func queryCancelled(t *testing.T, s Setup) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Network.Query(ctx, spoolOf(t, s.Network), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled query: %v, want context.Canceled", err)
	}
	queryAnswered(t, s) // and nobody else suffers

	// At whatever moment it is cancelled: whoever was not told that it has its slot
	// relies on it not being sent.
	var left [100]struct{ taken, ended, broken atomic.Bool }
	for i := range left {
		ctx, cancel := context.WithCancel(mixclient.WithTrace(s.context(t), &mixclient.Trace{
			Taken: func() {
				left[i].taken.Store(true)
				left[i].broken.Store(left[i].ended.Load())
			},
			Sent: func(mixclient.Timing) {
				if !left[i].taken.Load() {
					left[i].broken.Store(true)
				}
			},
		}))
		wait := time.AfterFunc(time.Duration(mathrand.IntN(2000))*time.Microsecond, cancel)
		_, err := s.Network.Query(ctx, spoolOf(t, s.Network), nil)
		left[i].ended.Store(true)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("query %d: %v", i, err)
		}
		wait.Stop()
		cancel()
	}
	queryAnswered(t, s) // it comes after all that were sent
	for i := range left {
		if left[i].broken.Load() {
			t.Errorf("query %d was sent, and Query had returned before that was told", i)
		}
	}
}

func trace(t *testing.T, s Setup) {
	var sent, done []mixclient.Timing
	var taken []time.Time
	var mu sync.Mutex
	ctx := mixclient.WithTrace(s.context(t), &mixclient.Trace{
		Taken: func() { mu.Lock(); defer mu.Unlock(); taken = append(taken, time.Now()) },
		Sent:  func(x mixclient.Timing) { mu.Lock(); defer mu.Unlock(); sent = append(sent, x) },
		Done:  func(x mixclient.Timing) { mu.Lock(); defer mu.Unlock(); done = append(done, x) },
	})
	if _, err := s.Network.Query(ctx, spoolOf(t, s.Network), []byte("x")); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(taken) != 1 || len(sent) != 1 || len(done) != 1 {
		t.Fatalf("trace: taken %d times, sent %d times, done %d times, want once each", len(taken), len(sent), len(done))
	}
	d := done[0]
	if taken[0].Before(d.Asked) || taken[0].After(d.Sent) {
		t.Errorf("taken at %v, asked at %v, sent at %v", taken[0], d.Asked, d.Sent)
	}
	if d.Asked.After(d.Sent) || d.Sent.After(d.Received) || d.Up < 0 || d.Down < 0 {
		t.Errorf("timing is out of order: %+v", d)
	}
	if spent, drawn := d.Received.Sub(d.Sent), d.Up+d.Down; spent < drawn-time.Millisecond {
		t.Errorf("the reply took %v, less than the drawn delays of %v", spent, drawn)
	}
}

func reads(t *testing.T, s Setup) {
	to := spoolOf(t, s.Network)
	var mu sync.Mutex
	given, done := 0, map[int]int{}
	enough := make(chan struct{})
	s.Network.SetReads(func() (mixclient.Read, bool) {
		mu.Lock()
		defer mu.Unlock()
		given++
		i := given
		if i%5 == 0 || i > 12 {
			return mixclient.Read{}, false // nothing to read: a loop goes instead
		}
		request := fmt.Appendf(nil, "read %d.", i)
		return mixclient.Read{To: to, Request: request, Done: func(reply []byte, _ mixclient.Timing, err error) {
			if err != nil || !bytes.HasPrefix(reply, Answer(request)) {
				t.Errorf("read %d: %.20q, %v", i, reply, err)
			}
			mu.Lock()
			defer mu.Unlock()
			done[i]++
			if len(done) == 10 {
				close(enough)
			}
		}}, true
	})
	select {
	case <-enough:
	case <-time.After(s.Patience):
		t.Fatal("reads were not answered")
	}
	mu.Lock()
	defer mu.Unlock()
	for i, n := range done {
		if n != 1 {
			t.Errorf("read %d: Done called %d times", i, n)
		}
	}
}

func lost(t *testing.T, s Setup) {
	to := spoolOf(t, s.Network)
	queryAnswered(t, s)
	s.Break()
	if _, err := s.Network.Query(s.context(t), to, []byte("into the void")); !errors.Is(err, mixclient.ErrLost) {
		t.Errorf("query through a broken network: %v, want ErrLost", err)
	}
	s.Mend()
	for range 10 { // a link may need a moment to find that it works again
		_, err := s.Network.Query(s.context(t), to, []byte("again"))
		if err == nil {
			return
		}
		if !errors.Is(err, mixclient.ErrLost) {
			t.Fatal(err)
		}
	}
	t.Error("the mended network answers nothing")
}

func closed(t *testing.T, s Setup) {
	to := spoolOf(t, s.Network)
	s.Break()
	result := make(chan error, 1)
	go func() {
		_, err := s.Network.Query(context.WithoutCancel(t.Context()), to, nil)
		result <- err
	}()
	for s.Network.Status().Waiting+s.Network.Status().InFlight == 0 {
		time.Sleep(time.Millisecond) // until the query is there; it cannot end before Close or its loss
	}
	if err := s.Network.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, mixclient.ErrClosed) && !errors.Is(err, mixclient.ErrLost) {
		t.Errorf("pending query after Close: %v, want ErrClosed", err)
	}
	if _, err := s.Network.Query(t.Context(), to, nil); !errors.Is(err, mixclient.ErrClosed) {
		t.Errorf("query after Close: %v, want ErrClosed", err)
	}
	for range s.Network.Events() { // must end: Close closes it
	}
	if err := s.Network.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func status(t *testing.T, s Setup) {
	select {
	case e := <-s.Network.Events():
		if !e.Connected {
			t.Errorf("first event: %+v, want connected", e)
		}
	case <-time.After(s.Patience):
		t.Fatal("no event")
	}
	before := s.Network.Status()
	queryAnswered(t, s)
	after := s.Network.Status()
	if !after.Connected || after.Queries <= before.Queries {
		t.Errorf("status before a query %+v, after it %+v", before, after)
	}
}
