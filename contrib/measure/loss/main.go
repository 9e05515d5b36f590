// Loss measures what lost packets cost mail: that all of it arrives, once, and how
// much later than without loss.
//
//	go run ./contrib/measure/loss -loss 0.05 -mails 200
//
// Each world is a network, two providers and two people's engines in this process,
// over TCP on loopback. In half of the worlds each packet is dropped at random at
// every hop, from the client to its gateway and on to the client again: of a query
// and its reply, which are ten hops, only (1 - loss)^10 come back. That holds from
// the start, for registrations and look-ups too. In the other half nothing is
// dropped; they run at the same time. In each world alice writes to bob at random
// times, whether or not the mail before has arrived, and a mail program waits for it
// in IMAP IDLE. Only the first mail of a world, which takes a look-up of bob's keys, is
// waited for before the others are written; of mails to somebody known it would show
// nothing but that queue, so its time is given by itself.
//
// A mail's time is from SMTP's 250 to EXISTS. Mails come at a mean distance of
// -every; unless it is given, so that they and their repetitions take half of the
// sender's slots. When all have arrived and the outboxes are empty, it waits for
// as long as a packet may be under way, lest a second copy comes late. It fails if
// a mail is lost or there twice.
//
// -scale divides all times of the network and of the outbox. Two seconds in the time
// after which a packet counts as lost do not scale: with the default parameters that
// is 10 s at -scale 1, and 24 s, if multiplied again, at -scale 8, so repetitions
// come later than they would. Figures for users are those of -scale 1.
//
// In the table, "sent per mail" is how often each block left, and "queries lost" the
// share of all packets of the clients whose reply did not come.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"mailproxy/mixnet/directory"
)

// hops of a query and its reply: both gateway links, and the layers there and back.
const hops = 2 * (2 + directory.Layers)

func main() {
	var p plan
	flag.Float64Var(&p.loss, "loss", 0.05, "share of packets to drop at every hop")
	flag.IntVar(&p.mails, "mails", 200, "how many mails to send with loss, and as many without")
	flag.IntVar(&p.worlds, "worlds", 5, "over how many worlds to spread them")
	flag.Float64Var(&p.scale, "scale", 1, "by how much to divide all times")
	flag.DurationVar(&p.every, "every", 0, "mean time between a world's mails, before scaling (0: so that half of the slots are taken)")
	flag.DurationVar(&p.patience, "patience", 2*time.Hour, "how long to wait, after the last mail was sent, for what has not arrived")
	flag.Parse()
	if p.loss < 0 || p.loss > 0.5 || p.mails < 1 || p.worlds < 1 || p.scale <= 0 || p.every < 0 {
		fmt.Fprintln(os.Stderr, "loss: -loss must be between 0 and 0.5, the others above 0")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, p); err != nil {
		fmt.Fprintln(os.Stderr, "loss:", err)
		os.Exit(1)
	}
}

// A plan says what to measure.
type plan struct {
	loss            float64
	mails, worlds   int
	scale           float64
	every, patience time.Duration
}

// pause is the mean time between a world's mails by our clock.
func (p plan) pause() time.Duration {
	every := p.every
	if every == 0 {
		returned := math.Pow(1-p.loss, hops)
		every = time.Duration(2 / (directory.DefaultParameters().QueryRate * returned) * float64(time.Second))
	}
	return time.Duration(float64(every) / p.scale)
}

func run(ctx context.Context, p plan) error {
	p.worlds = min(p.worlds, p.mails)
	fmt.Printf("%d mails with loss and %d without, in %d worlds each, one in %v; times divided by %g\n",
		p.mails, p.mails, p.worlds, p.pause().Round(100*time.Millisecond), p.scale)
	with, without := make([]result, p.worlds), make([]result, p.worlds)
	var starting sync.Mutex // so that starts do not slow each other down
	var wg sync.WaitGroup
	for i := range p.worlds {
		mine := p.mails / p.worlds
		if i < p.mails%p.worlds {
			mine++
		}
		wg.Go(func() { with[i] = measure(ctx, &starting, p, p.loss, mine, fmt.Sprintf("world %d with loss", i+1)) })
		wg.Go(func() { without[i] = measure(ctx, &starting, p, 0, mine, fmt.Sprintf("world %d without", i+1)) })
	}
	wg.Wait()
	lossy, clean := join(with), join(without)
	for _, r := range []result{lossy, clean} {
		if r.err != nil {
			return r.err
		}
	}
	print(lossy, clean)
	fmt.Printf("loss=%g sent=%d delivered=%d lost=%d duplicated=%d median_s=%.2f median_without_s=%.2f p95_s=%.2f p95_without_s=%.2f scale=%g\n",
		p.loss, lossy.sent, lossy.delivered(), lossy.lost, lossy.duplicated,
		quantile(lossy.times, 0.5), quantile(clean.times, 0.5), quantile(lossy.times, 0.95), quantile(clean.times, 0.95), p.scale)
	for what, r := range map[string]result{"with loss": lossy, "without": clean} {
		if r.lost+r.duplicated+r.reports > 0 {
			return fmt.Errorf("%s, %d mails of %d are lost, %d there twice, %d reported as failed", what, r.lost, r.sent, r.duplicated, r.reports)
		}
	}
	return nil
}

// print prints a table of both halves.
func print(with, without result) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\n\tsent\tdelivered once\tlost\ttwice\treports\tsent per mail\tdropped at a hop\tqueries lost\tmedian\tp95\tlongest\tfirst mails, median\t")
	for _, row := range []struct {
		name string
		result
	}{{"with loss", with}, {"without", without}} {
		r := row.result
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%.2f\t%.3f\t%.3f\t%.2f s\t%.2f s\t%.2f s\t%.2f s\t\n", row.name, r.sent, r.delivered(), r.lost, r.duplicated, r.reports,
			float64(r.blocks)/float64(r.sent), share(r.dropped, r.frames), share(r.queriesLost, r.queries),
			quantile(r.times, 0.5), quantile(r.times, 0.95), quantile(r.times, 1), quantile(r.first, 0.5))
	}
	_ = t.Flush() // what cannot be printed cannot be reported either
	fmt.Println()
}

func share(part, of uint64) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}

// quantile returns the q-quantile in seconds, between the two nearest; 0 of none.
func quantile(times []time.Duration, q float64) float64 {
	if len(times) == 0 {
		return 0
	}
	times = slices.Sorted(slices.Values(times))
	at := q * float64(len(times)-1)
	low := int(at)
	high := min(low+1, len(times)-1)
	return times[low].Seconds() + (at-float64(low))*(times[high]-times[low]).Seconds()
}
