// Latency measures how long mail takes, with the parameters that real users get:
// how soon the listeners are up and both accounts registered, then from SMTP's 250
// to the moment when a mail program in IMAP IDLE is told of the mail.
//
//	go run ./contrib/measure/latency -known 20 -first 10
//
// Each world is a network, two providers and two people's engines in this process,
// over TCP on loopback, and knows nothing of the others. In each, alice writes to
// bob for the first time, which takes a look-up of his keys, and then some mails
// more, each only after the one before has arrived and a random pause. Several
// worlds run at once: nearly all of the time is waiting.
//
// For each mail it prints the total (by this program's own clock, from the 250 to
// EXISTS), and where the daemon's events say that it went: waits for slots, delays
// that were drawn for the mixes, the computing time that a provider asks of senders
// to whom its user has not written, and our own overhead, which is made of sealing
// (until queries waited for their slots), carrying (what packets took beyond the
// drawn delays), storing (until the mail was in INBOX) and showing (until IMAP
// told of it). These are measured one by one; it fails if they do not add up.
// "missed" counts slots that passed by: of the sender's, while the query waited
// already; of the recipient's reads, that by the drawn delays came just after the
// block, and in truth just before, and would have been back with it earlier than
// the one that was. The wait for the next is in slots.
//
// The last line has the medians and, in overhead_max_ms, the largest overhead of
// any mail; listeners_s and registered_s are the slowest of all worlds.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

func main() {
	known := flag.Int("known", 20, "how many mails to a known contact to send, singly")
	first := flag.Int("first", 10, "how many first mails to a new contact to send, each in a world of its own")
	atOnce := flag.Int("at-once", 5, "how many worlds run at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *known, *first, *atOnce); err != nil {
		fmt.Fprintln(os.Stderr, "latency:", err)
		os.Exit(1)
	}
}

// A result is what one world measured.
type result struct {
	listeners, registered time.Duration
	mails                 []mail
	err                   error
}

func run(ctx context.Context, known, first, atOnce int) error {
	worlds := max(first, 1)
	fmt.Printf("%d worlds, %d at once: %d first mails to a new contact, %d to a known one\n", worlds, atOnce, first, known)
	results := make([]result, worlds)
	places := make(chan struct{}, atOnce)
	var starting sync.Mutex // so that starts do not slow each other down
	var wg sync.WaitGroup
	for i := range results {
		mine := known / worlds
		if i < known%worlds {
			mine++
		}
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			results[i] = measure(ctx, &starting, mine)
			fmt.Printf("world %d of %d is done\n", i+1, worlds)
		})
	}
	wg.Wait()
	var mails []mail
	var listeners, registered []time.Duration
	for i, r := range results {
		if r.err != nil {
			return fmt.Errorf("world %d: %w", i+1, r.err)
		}
		listeners, registered = append(listeners, r.listeners), append(registered, r.registered)
		for _, m := range r.mails {
			if !m.first || first > 0 { // with -first 0 it only made the contact known
				mails = append(mails, m)
			}
		}
	}
	print(mails)
	fmt.Printf("\nlisteners up after %s (%s to %s), both accounts registered after %s (%s to %s)\n",
		seconds(median(listeners)), seconds(slices.Min(listeners)), seconds(slices.Max(listeners)),
		seconds(median(registered)), seconds(slices.Min(registered)), seconds(slices.Max(registered)))
	sum := fmt.Sprintf("listeners_s=%.2f registered_s=%.2f", slices.Max(listeners).Seconds(), slices.Max(registered).Seconds())
	for _, kind := range []struct {
		name  string
		first bool
	}{{"known", false}, {"first", true}} {
		var totals []time.Duration
		for _, m := range mails {
			if m.first == kind.first {
				totals = append(totals, m.total)
			}
		}
		if len(totals) == 0 {
			continue
		}
		fmt.Printf("%d mails to a %s contact: median %s (%s to %s)\n", len(totals), map[bool]string{false: "known", true: "new"}[kind.first],
			seconds(median(totals)), seconds(slices.Min(totals)), seconds(slices.Max(totals)))
		sum += fmt.Sprintf(" %s_median_s=%.2f", kind.name, median(totals).Seconds())
	}
	var overheads []time.Duration
	for _, m := range mails {
		overheads = append(overheads, m.Overhead)
		if err := m.check(); err != nil {
			return err
		}
	}
	if len(mails) == 0 {
		return nil
	}
	fmt.Printf("our own overhead: median %s (%s to %s); each breakdown adds up\n\n",
		seconds(median(overheads)), seconds(slices.Min(overheads)), seconds(slices.Max(overheads)))
	fmt.Printf("%s overhead_max_ms=%.0f\n", sum, slices.Max(overheads).Seconds()*1e3)
	return nil
}

// print prints a table of all mails.
func print(mails []mail) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\ncontact\ttotal\tslots\tdelays\twork\toverhead\tsealing\tcarrying\tstoring\tshowing\tmissed\t")
	for _, m := range mails {
		kind := "known"
		if m.first {
			kind = "new"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t\n", kind, seconds(m.total), seconds(m.Slots), seconds(m.Delays),
			seconds(m.Work), seconds(m.Overhead), seconds(m.Sealing), seconds(m.Carrying), seconds(m.Storing), seconds(m.Showing), m.missed)
	}
	_ = t.Flush() // what cannot be printed cannot be reported either
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

// median returns the middle one, or the mean of the middle two.
func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return (d[(len(d)-1)/2] + d[len(d)/2]) / 2
}
