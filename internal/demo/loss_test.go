package demo

import (
	"fmt"
	"slices"
	"testing"

	"mailproxy/mixnet/local"
	"mailproxy/proxy/progress"
)

// TestLoss drops one packet in twenty at every hop: of ten queries with their
// replies, four. All mail arrives, once, and nobody is told anything else.
func TestLoss(t *testing.T) {
	t.Parallel()
	loss := local.NewLoss(0.05)
	w := newWorld(t, func(c *Config) { c.Tap = loss.Tap })
	// In a slow network fewer do; contrib/measure/loss sends all in real time.
	mails := max(40, int(200/slow/slower(w.Network.Document.Parameters)))
	if testing.Short() {
		mails = 40
	}
	var want []string
	for i := range mails {
		subject := fmt.Sprintf("mail %03d", i)
		want = append(want, subject)
		w.send(t, Alice, Bob, subject, "does this arrive?")
	}
	for got := 0; got < mails; got = w.delivered(Bob) { // patience is for one, not for all
		eventually(t, fmt.Sprintf("mail after %d of %d", got, mails), func() bool { return w.delivered(Bob) > got })
	}
	eventually(t, "the end of repetitions", func() bool { return w.Daemon.Status().Waiting == 0 })
	if got := subjects(w.fetch(t, Bob, "INBOX")); !slices.Equal(got, want) {
		t.Errorf("bob has %d mails, want %d, each once: %q", len(got), mails, got)
	}
	if n := w.count(progress.Failed, Alice, Bob); n != 0 {
		t.Errorf("%d reports of failure", n)
	}
	if seen, dropped := loss.Counts(); dropped < seen/30 || dropped > seen/15 {
		t.Errorf("%d of %d packets were dropped, want one in twenty", dropped, seen)
	}
	if sent := w.count(progress.Sent, Alice, Bob); sent < mails*5/4 {
		t.Errorf("%d blocks were sent for %d mails: none of them was lost", sent, mails)
	}
}
