package metrics

import (
	"bytes"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

// counter counts how often it was asked, and says so.
type counter struct{ asked int }

var askedDesc = prometheus.NewDesc("asked_total", "How often this was asked.", nil, nil)

func (c *counter) Describe(ch chan<- *prometheus.Desc) { ch <- askedDesc }
func (c *counter) Collect(ch chan<- prometheus.Metric) {
	c.asked++
	ch <- prometheus.MustNewConstMetric(askedDesc, prometheus.CounterValue, float64(c.asked))
}

func TestServes(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var log bytes.Buffer
	s, err := Start(Config{Listen: ":0"}, slog.New(slog.NewTextHandler(&log, nil)), &counter{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.URL(), "http://127.0.0.1:") {
		t.Errorf("a port alone is served at %s, not at loopback", s.URL())
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]string{path: "asked_total 1\n", "/": "404", "/debug/pprof/": "404"} {
		resp, err := client.Get(strings.TrimSuffix(s.URL(), "/metrics") + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q, %v, want %q", path, text, err, want)
		}
		if strings.Contains(string(text), "go_") || strings.Contains(string(text), "process_") {
			t.Errorf("%s: figures that nobody asked for:\n%s", path, text)
		}
	}
	busy := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/metrics")
	if _, err := Start(Config{Listen: busy}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "set metrics.listen to another address") {
		t.Errorf("a port that is taken: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", log.String())
	}
	if c, err := net.Dial("tcp", busy); err == nil {
		c.Close()
		t.Error("it listens after Close")
	}
}

func TestServesNothing(t *testing.T) {
	s, err := Start(Config{Detail: true}, slog.New(slog.DiscardHandler), &counter{})
	if err != nil || s.URL() != "" {
		t.Fatalf("%q, %v", s.URL(), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestListenRefused(t *testing.T) {
	for _, listen := range []string{"9464", "127.0.0.1", "127.0.0.1:port", "192.0.2.1:9464"} {
		if s, err := Start(Config{Listen: listen}, slog.New(slog.DiscardHandler)); err == nil {
			s.Close()
			t.Errorf("%q is taken for an address", listen)
		}
	}
	same := &counter{}
	if _, err := Start(Config{Listen: ":0"}, slog.New(slog.DiscardHandler), same, same); err == nil {
		t.Error("one collector was registered twice")
	}
}

// TestWarnsOfOthers: what is not loopback is said.
func TestWarnsOfOthers(t *testing.T) {
	var log bytes.Buffer
	s, err := Start(Config{Listen: "0.0.0.0:0"}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !strings.Contains(log.String(), "whoever reaches this address") {
		t.Errorf("log: %q", log.String())
	}
}

func TestHold(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).Truncate(time.Minute)
	c := &counter{}
	h := Hold(c, time.Minute, func() time.Time { return now })
	for i, test := range []struct {
		at   time.Duration
		want float64
	}{{0, 1}, {time.Second, 1}, {59 * time.Second, 1}, {60 * time.Second, 2}, {110 * time.Second, 2}, {121 * time.Second, 3}} {
		now = time.Unix(1_700_000_000, 0).Truncate(time.Minute).Add(test.at)
		if got := testutil.ToFloat64(h); got != test.want {
			t.Errorf("question %d, at %v: %v, want %v", i, test.at, got, test.want)
		}
	}
}

// TestBlur: the steps are right in the long run, and where they are nobody knows.
func TestBlur(t *testing.T) {
	const step = 100
	for range 5 {
		b := NewBlur(step)
		last, n := uint64(0), uint64(0)
		for ; n < 300*step; n++ {
			shown := b.Of(n)
			if shown < last || shown%step != 0 {
				t.Fatalf("%d is shown after %d", shown, last)
			}
			last = shown
		}
		// 300 gaps of 100 ± 58: five standard deviations and more.
		if math.Abs(float64(last)-float64(n)) > 5500 {
			t.Errorf("%d is shown for %d", last, n)
		}
	}
	var places []uint64
	for range 50 {
		b, n := NewBlur(step), uint64(0)
		for ; b.Of(n) == 0; n++ {
		}
		places = append(places, n)
	}
	least, most := places[0], places[0]
	for _, p := range places {
		least, most = min(least, p), max(most, p)
	}
	if most-least < step/2 {
		t.Errorf("the first step is always between %d and %d", least, most)
	}
	if b := NewBlur(step); b.Of(0) != 0 {
		t.Error("something is shown for nothing")
	}
}

func TestCoarse(t *testing.T) {
	for _, test := range []struct {
		n    int
		want float64
	}{{0, 0}, {1, 0.05}, {1000, 0.05}, {1001, 0.1}, {19_001, 1}, {20_000, 1}} {
		if got := Coarse(test.n, 20_000); got != test.want {
			t.Errorf("%d of 20,000: %v, want %v", test.n, got, test.want)
		}
	}
}
