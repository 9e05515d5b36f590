package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// live sends an open page what has changed of it, as server-sent events (HTML, section
// 9.2): "part" is a piece of the page, "plot" what its charts show.
func (s *Server) live(w http.ResponseWriter, r *http.Request, who *session) {
	v, ok := viewNamed(r.URL.Query().Get("view"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	shown := map[string]string{}
	plotted := -1
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	for {
		var b bytes.Buffer
		d, err := s.data(r.Context(), v, who)
		if err != nil {
			s.log.Error("web: page", "err", err)
			return // the browser says that what it shows is old, and tries again
		}
		for _, name := range v.live {
			if err := s.part(&b, name, d, shown); err != nil {
				s.log.Error("web: page", "err", err)
				return
			}
		}
		if v.plots {
			if series, n := s.plot.series(d.State); n != plotted {
				plotted = n
				event(&b, "plot", series)
			}
		}
		if b.Len() == 0 {
			b.WriteString(": still here\n\n")
		}
		if _, err := w.Write(b.Bytes()); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.ctx.Done():
			return
		case <-who.over:
			return
		case <-tick.C:
		}
	}
}

// part adds a piece of the page to b, if it is not as it was shown.
func (s *Server) part(b *bytes.Buffer, name string, d data, shown map[string]string) error {
	var html bytes.Buffer
	if err := templates.ExecuteTemplate(&html, name, d); err != nil {
		return err
	}
	if text := html.String(); shown[name] != text {
		shown[name] = text
		event(b, "part", struct {
			Name string `json:"name"`
			HTML string `json:"html"`
		}{name, text})
	}
	return nil
}

func event(b *bytes.Buffer, name string, v any) {
	text, err := json.Marshal(v) // of strings and numbers
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(b, "event: %s\ndata: %s\n\n", name, text)
}

const (
	plotEvery = 5 * time.Second // between two points
	plotMost  = 360             // points: half an hour
)

// A plot remembers what left, for the charts.
type plot struct {
	mu     sync.Mutex // guards all below
	points []point
	taken  int // how many points there ever were
}

// A point is what was sent by then, since the start.
type point struct {
	at                 time.Time
	mail, reads, cover uint64
	loops, loopsBack   uint64
	networks           int
}

func newPlot() *plot { return &plot{} }

// sample takes a point every now and then until ctx ends, so that a page that is
// opened later has something to show.
func (s *Server) sample(ctx context.Context) {
	tick := time.NewTicker(plotEvery)
	defer tick.Stop()
	for {
		s.plot.add(s.now(), s.source.State())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *plot) add(now time.Time, s State) {
	t := point{at: now, networks: len(s.Networks)}
	for _, n := range s.Networks {
		t.mail += n.Queries
		t.reads += n.Reads
		t.cover += n.Loops + n.LoopsSent
		t.loops += n.LoopsSent
		t.loopsBack += n.LoopsBack
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.points = append(p.points, t); len(p.points) > plotMost {
		p.points = p.points[1:]
	}
	p.taken++
}

// series is what the charts are drawn from: packets per second of each kind, and
// counts of round trips.
type series struct {
	At     []int64   `json:"at"` // Unix seconds
	Mail   []float64 `json:"mail"`
	Reads  []float64 `json:"reads"`
	Cover  []float64 `json:"cover"`
	Width  float64   `json:"width"` // of a bin, in seconds
	Delays []uint64  `json:"delays"`
}

// series returns them, and a number that changes with them.
func (p *plot) series(s State) (out series, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := 1; i < len(p.points); i++ {
		a, b := p.points[i-1], p.points[i]
		sec := b.at.Sub(a.at).Seconds()
		if sec <= 0 || a.networks != b.networks || b.mail < a.mail || b.reads < a.reads || b.cover < a.cover {
			continue // the clock was set, or an account has come or gone, with all that was sent before
		}
		out.At = append(out.At, b.at.Unix())
		out.Mail = append(out.Mail, float64(b.mail-a.mail)/sec)
		out.Reads = append(out.Reads, float64(b.reads-a.reads)/sec)
		out.Cover = append(out.Cover, float64(b.cover-a.cover)/sec)
	}
	for _, net := range s.Networks {
		out.Width = net.Delays.Width.Seconds()
		if len(out.Delays) < len(net.Delays.Counts) {
			out.Delays = append(out.Delays, make([]uint64, len(net.Delays.Counts)-len(out.Delays))...)
		}
		for i, c := range net.Delays.Counts {
			out.Delays[i] += c
		}
	}
	return out, p.taken
}
