package proxy

import (
	"sync"
	"time"

	"mailproxy/mixclient"
	"mailproxy/proxy/web"
)

// delayBins is how many bins a histogram of round trips has. They reach to three times
// the mean, which 99.8 % of the sums of six exponential times do not pass.
const delayBins = 30

// delays counts how long reads took, on each engine. They are of one kind, mail or no
// mail, and their counts say nothing of anybody's mail.
type delays struct {
	mu   sync.Mutex // guards list
	list map[mixclient.Network]*web.Histogram
}

// note counts a read that was answered.
func (d *delays) note(n mixclient.Network, mean, took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.list[n]
	if h == nil {
		width := mean * 3 / (delayBins - 1)
		if width <= 0 {
			width = 100 * time.Millisecond // an engine that draws no delays
		}
		h = &web.Histogram{Width: width, Counts: make([]uint64, delayBins)}
		if d.list == nil {
			d.list = map[mixclient.Network]*web.Histogram{}
		}
		d.list[n] = h
	}
	h.Counts[min(max(0, int(took/h.Width)), delayBins-1)]++
}

// of returns what was counted of an engine.
func (d *delays) of(n mixclient.Network) web.Histogram {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.list[n]
	if h == nil {
		return web.Histogram{}
	}
	return web.Histogram{Width: h.Width, Counts: append([]uint64(nil), h.Counts...)}
}
