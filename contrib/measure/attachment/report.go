package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"mailproxy/internal/demo"
	"mailproxy/mixclient/builtin"
)

// report prints what became of the large mail, which is the one with number large,
// and of the small ones.
func (m *measurement) report(large int) error {
	mail, j := m.mails[large], m.journey(large)
	took := mail.seen.Sub(mail.answered)

	var blocks []time.Time // in the spool, by slot
	var ours, others, cover int
	for _, s := range m.between(demo.Alice, builtin.QueryProcess, mail.answered, mail.seen) {
		mine, other := m.carried(s, j.Message)
		if other {
			others++
			continue
		}
		if mine {
			ours++
		} else if ours < int(j.Count) {
			cover++
		}
		blocks = append(blocks, s.Timing.Sent.Add(s.Timing.Up))
	}
	var reads []visit
	var gotOurs, gotOthers, nothing int
	// A read that was under way when the mail was submitted may bring a block too.
	for _, s := range m.between(demo.Bob, builtin.ReadProcess, mail.answered.Add(-time.Minute), mail.seen) {
		mine, other := m.got(s.Timing, j.Message)
		there := s.Timing.Sent.Add(s.Timing.Up)
		switch {
		case other:
			gotOthers++
			continue
		case mine:
			gotOurs++
		case there.After(mail.answered):
			nothing++
		}
		reads = append(reads, visit{there, there.Add(s.Timing.Down)})
	}
	end, ok := ideal(int(j.Count), blocks, reads)
	if !ok {
		return errors.New("the slots that were recorded do not suffice for what they carried")
	}
	best := end.Sub(mail.answered)
	status := m.Client(demo.Alice).Status()
	fmt.Printf("\n%d blocks in %.1f s; with the same slots nothing could have taken less than %.1f s\n", j.Count, took.Seconds(), best.Seconds())
	fmt.Printf("alice's λ_P slots meanwhile: %d for its blocks (%d of them repeated), %d for other mail, %d for cover before the last block had left\n",
		ours, ours-int(j.Count), others, cover)
	fmt.Printf("bob's reads meanwhile: %d brought its blocks, %d other mail's, %d nothing new\n", gotOurs, gotOthers, nothing)
	fmt.Printf("packets lost: alice %d, bob %d\n", status.Lost, m.Client(demo.Bob).Status().Lost)
	left := j.Sent[0].Sent
	for _, t := range j.Sent {
		if t.Sent.After(left) {
			left = t.Sent
		}
	}
	fmt.Printf("the last block left after %.1f s\n", left.Sub(mail.answered).Seconds())

	extra := m.reportSmall(large)
	fmt.Printf("\nblocks=%d seconds=%.1f ideal_s=%.1f ratio=%.3f small_extra_slots_max=%d\n",
		j.Count, took.Seconds(), best.Seconds(), took.Seconds()/best.Seconds(), extra)
	return nil
}

// reportSmall prints a table of the small mails and returns the most slots that
// one of them was kept waiting for.
func (m *measurement) reportSmall(large int) (most int) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nsmall mail\ttotal\twait for its slot\textra\treads\t")
	big := m.journey(large)
	var alone, beside []time.Duration
	for i, mail := range m.mails {
		if i == 0 || i == large {
			continue // the first one took a look-up
		}
		j := m.journey(i)
		sent, read := j.Sent[0], j.Read[0]
		name, total := "alone", mail.seen.Sub(mail.answered)
		if i > large && mail.answered.Before(m.mails[large].seen) {
			name = "meanwhile"
			beside = append(beside, total)
		} else {
			alone = append(alone, total)
		}
		extra := 0
		for _, s := range m.between(demo.Alice, builtin.QueryProcess, j.Sealed.Add(builtin.Lead), sent.Sent) {
			if mine, _ := m.carried(s, big.Message); mine || s.Cover {
				extra++
			}
		}
		most = max(most, extra)
		reads := 0
		there := sent.Sent.Add(sent.Up)
		for _, r := range big.Read {
			if at := r.Sent.Add(r.Up); at.After(there) && at.Before(read.Sent.Add(read.Up)) {
				reads++
			}
		}
		fmt.Fprintf(t, "%s\t%.2f s\t%.2f s\t%d\t%d\t\n", name, total.Seconds(), sent.Sent.Sub(mail.answered).Seconds(), extra, reads)
	}
	_ = t.Flush() // what cannot be printed cannot be reported either
	for _, d := range []struct {
		name  string
		times []time.Duration
	}{{"alone", alone}, {"meanwhile", beside}} {
		if len(d.times) > 0 {
			slices.Sort(d.times)
			fmt.Printf("%d small mails %s: median %.2f s, longest %.2f s\n", len(d.times), d.name,
				d.times[len(d.times)/2].Seconds(), d.times[len(d.times)-1].Seconds())
		}
	}
	return most
}
