package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"mailproxy/mixnet/directory"
)

// tableCorrupt is the share of the table's second entropy.
const tableCorrupt = 0.3

// tableRows are networks that differ from the defaults in what a row is for.
func tableRows() []network {
	rows := []network{defaults()}
	add := func(change func(*network)) {
		n := defaults()
		change(&n)
		rows = append(rows, n)
	}
	for _, users := range []int{2, 10, 100, 20_000, 200_000} {
		add(func(n *network) {
			n.users = users
			switch users {
			case 20_000:
				n.width, n.gateways, n.services = 4, 4, 4
			case 200_000:
				n.width, n.gateways, n.services = 16, 16, 16
			}
		})
	}
	for _, delay := range []time.Duration{50, 100, 200, 1000, 2000, 5000} {
		add(func(n *network) { n.MixDelay = directory.Duration(delay * time.Millisecond) })
	}
	for _, f := range []float64{0.25, 0.5, 2, 4} {
		add(func(n *network) { n.QueryRate, n.ReadRate, n.LoopRate = f*n.QueryRate, f*n.ReadRate, f*n.LoopRate })
	}
	for _, layers := range []int{1, 2, 4} {
		add(func(n *network) { n.layers = layers })
	}
	for _, width := range []int{1, 4, 16} {
		add(func(n *network) { n.width = width })
	}
	return rows
}

// tableHead is the head of the Markdown table.
const tableHead = "| users | delay | λ_P, λ_R, λ_L | layers × width | bits | least | 30 % corrupt | known p50, p95 | first p50, p95 | GB a day | packets/s: gateway, mix, service |\n" +
	"|--:|--:|:-:|:-:|--:|--:|--:|--:|--:|--:|--:|\n"

// table prints rows in Markdown, and the figures of the first.
func table(w io.Writer, rows []network, e effort) error {
	if err := e.check(); err != nil {
		return err
	}
	if _, err := io.WriteString(w, tableHead); err != nil {
		return err
	}
	var last func() error
	for _, n := range rows {
		if err := n.check(); err != nil {
			return err
		}
		t, err := newTraffic(n, e)
		if err != nil {
			return err
		}
		h, l, c := t.entropy(0, e), latencies(n, e), n.load()
		_, err = fmt.Fprintf(w, "| %d | %v | %.3g, %.3g, %.3g | %d × %d | %.1f | %.1f | %.1f | %.1f s, %.1f s | %.1f s, %.1f s | %.2f | %.0f, %.0f, %.0f |\n",
			n.users, time.Duration(n.MixDelay), n.QueryRate, n.ReadRate, n.LoopRate, n.layers, n.width,
			h.mean, h.p5, t.entropy(tableCorrupt, e).mean, l.known.p50, l.known.p95, l.first.p50, l.first.p95,
			c.clientDay/1e9, c.gateway, c.mix, c.service)
		if err != nil {
			return err
		}
		if last == nil {
			last = func() error { return figures(w, n, h, l, c) }
		}
	}
	if last == nil {
		return errors.New("the table has no rows")
	}
	return last()
}
