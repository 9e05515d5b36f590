//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailproxy/internal/child"
	"mailproxy/mixnet/directory"
)

// scaled are the parameters with shorter times.
var scaled = directory.DefaultParameters().Scaled(20)

func TestMain(m *testing.M) {
	child.Main(parts)
	os.Exit(m.Run())
}

func needProcesses(t *testing.T) {
	if _, err := exec.LookPath("taskset"); err != nil || runtime.GOOS != "linux" || runtime.NumCPU() < 2 {
		t.Skip("it takes Linux, taskset and two cores")
	}
}

// TestLoad runs the whole once, briefly: it finds by itself what arrives twice or
// early, and what was not sent.
func TestLoad(t *testing.T) {
	needProcesses(t)
	o := options{length: 300 * time.Millisecond, share: 0.2, network: scaled, profile: filepath.Join(t.TempDir(), "profile")}
	err := run(t.Context(), o)
	for tries := 0; errors.Is(err, errEmpty) && tries < 3; tries++ { // others slowed down what it counts on
		err = run(t.Context(), o)
	}
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(o.profile); err != nil || info.Size() == 0 {
		t.Errorf("profile: %v, %v", info, err)
	}
}

// TestMemory finds the tags that were written beforehand in the mix.
func TestMemory(t *testing.T) {
	needProcesses(t)
	if err := run(t.Context(), options{length: 300 * time.Millisecond, memory: true, rate: 500, network: scaled}); err != nil {
		t.Fatal(err)
	}
}

func TestNumbers(t *testing.T) {
	w, err := newWorld(t.TempDir(), scaled)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	m, err := w.makePackets(5)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range m.len() {
		b := make([]byte, m.size)
		m.fill(b, i)
		if seen[string(b[:100])] || !bytes.Equal(b[:100], m.header(i)[:100]) {
			t.Errorf("packet %d is not itself", i)
		}
		seen[string(b[:100])] = true
	}
	if _, err := w.sinks[0].number(m.header(0)); err == nil {
		t.Error("a header that is not for the sink has a number")
	}
}

// TestErrorsOf looks for the packet that is missing, and refuses one that is early.
func TestErrorsOf(t *testing.T) {
	w, err := newWorld(t.TempDir(), scaled)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	w.key = w.sinks[0].key.Public() // so that what is sent can be unwrapped here, as the mix would
	w.sinks = w.sinks[:1]
	m, err := w.makePackets(3)
	if err != nil {
		t.Fatal(err)
	}
	at := func(late ...time.Duration) *flow {
		f := newFlow(w, m, nil)
		f.next.Store(3)
		for i, d := range late {
			b := make([]byte, m.size)
			m.fill(b, i)
			if _, err := w.sinks[0].key.Unwrap(b); err != nil {
				t.Fatal(err)
			}
			f.sent[i] = 1000
			f.note(0, b)
			f.arrivals[i].at = int64(1000 + m.delays[i] + d)
		}
		return f
	}
	late, calm, lost, err := at(time.Millisecond, 3*time.Millisecond).errorsOf(nil)
	if err != nil || len(calm) != 2 || lost != 1 || len(late) != 2 || late[0] != time.Millisecond || late[1] != 3*time.Millisecond {
		t.Errorf("errors %v, %d lost, %v", late, lost, err)
	}
	if _, _, _, err := at(time.Millisecond, -time.Millisecond).errorsOf(nil); err == nil {
		t.Error("a packet that left before its time is not found")
	}
	f := at(time.Millisecond)
	f.arrivals = append(f.arrivals, f.arrivals[0])
	if _, _, _, err := f.errorsOf(nil); err == nil {
		t.Error("a packet that arrived twice is not found")
	}
}

func TestSum(t *testing.T) {
	const text = `File: mixload
Type: cpu
-----------+-------------------------------------------------------
      30ms   github.com/cloudflare/circl/dh/x25519.ladderStepAmd64
             mailproxy/mixnet/sphinx.(*PrivateKey).Unwrap
             mailproxy/mixnet/node.(*Node).handle
-----------+-------------------------------------------------------
      10ms   internal/runtime/syscall/linux.Syscall6
             internal/poll.(*FD).Write
             crypto/tls.(*Conn).Write (inline)
             mailproxy/mixnet/wire.(*Link).send
-----------+-------------------------------------------------------
    1.50s   runtime.gcBgMarkWorker
-----------+-------------------------------------------------------
      20ms   main.something
             main.else
-----------+-------------------------------------------------------
`
	sums, rest, err := sum(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]time.Duration{}
	for i := range shares {
		got[shares[i].what] = sums[i]
	}
	if got["unwrapping"] != 30*time.Millisecond || got["sockets: writing"] != 10*time.Millisecond || got["collecting garbage"] != 1500*time.Millisecond ||
		sums[len(shares)] != 20*time.Millisecond || rest["main.else"] != 20*time.Millisecond {
		t.Errorf("sums %v and %v, rest %v", got, sums[len(shares)], rest)
	}
}

func TestQuantile(t *testing.T) {
	var list []time.Duration
	for i := range 1000 {
		list = append(list, time.Duration(i+1))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 501, 0.99: 991, 1: 1000} {
		if got := quantile(list, q); got != want {
			t.Errorf("quantile %v: %d, want %d", q, got, want)
		}
	}
}

func TestFillTags(t *testing.T) {
	w, err := newWorld(t.TempDir(), scaled)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if err := w.fillTags(w.epoch, 70_001); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(w.keyDir, "*.tags"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files %v, %v", files, err)
	}
	b, err := os.ReadFile(files[1])
	if err != nil || len(b) != 70_001*tagSize || binary.LittleEndian.Uint64(b) == binary.LittleEndian.Uint64(b[len(b)-tagSize:]) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestShadow(t *testing.T) {
	const ms = int64(time.Millisecond)
	// At 80 % a stall of 10 ms is worked off in another 40.
	s := shadowOf([]stall{{200 * ms, 210 * ms}, {100 * ms, 110 * ms}, {140 * ms, 150 * ms}}, 0.8)
	if len(s) != 2 || s[0] != (stall{100 * ms, 190 * ms}) || s[1] != (stall{200 * ms, 250 * ms}) {
		t.Fatalf("shadow %v", s)
	}
	for at, want := range map[int64]bool{0: false, 89: false, 91: true, 120: true, 189: true, 195: true, 240: true, 251: false, 1000: false} {
		if got := s.on(at * ms); got != want {
			t.Errorf("shadow on a packet at %d ms: %v", at, got)
		}
	}
	if shadow(nil).on(5) {
		t.Error("no shadow is on something")
	}
}

// TestWatch stops a core's watcher for a while, which is what a core that is away
// looks like.
func TestWatch(t *testing.T) {
	w, err := startWatch(1)
	if err != nil {
		t.Skipf("this user may not: %v", err)
	}
	for _, s := range []os.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := w.cores[0].Signal(s); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	stalls, err := w.stop()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(stalls, func(s stall) bool { return s.end-s.start >= int64(50*time.Millisecond) }) {
		t.Errorf("stalls %v", stalls)
	}
}
