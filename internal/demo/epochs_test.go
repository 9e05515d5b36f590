package demo

import (
	"fmt"
	"testing"
	"time"

	"mailproxy/proxy/progress"
)

// TestMailAcrossEpochs sends mail over several changes of the mixes' keys, while
// each mix of a layer and a directory are away for a while, one after the other.
// Everything arrives, once.
func TestMailAcrossEpochs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Parameters.Epoch = epochOf(c.Parameters, 8*time.Second) })
	epoch := time.Duration(w.Network.Document.Parameters.Epoch)
	first := w.Network.Document.Parameters.EpochAt(time.Now())
	sent := 0
	send := func() {
		sent++
		w.send(t, Alice, Bob, fmt.Sprintf("mail %d", sent), "over the end of an hour")
	}
	away := []string{"mix1a", "directory2", "mix1b"}
	for _, name := range append(away, "") {
		if name != "" {
			if err := w.Network.Stop(name); err != nil {
				t.Fatal(err)
			}
		}
		for end := time.Now().Add(epoch / 2); time.Now().Before(end); time.Sleep(epoch / 16) {
			send()
		}
		if name != "" {
			if err := w.Network.Restart(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for w.Network.Document.Parameters.EpochAt(time.Now()) < first+3 {
		send()
		time.Sleep(epoch / 8)
	}
	eventually(t, "all mail", func() bool { return w.delivered(Bob) >= sent })
	if got := w.delivered(Bob); got != sent {
		t.Errorf("%d mails delivered of %d", got, sent)
	}
	if n := w.count(progress.Failed, Alice, Bob); n != 0 {
		t.Errorf("%d reports of failure", n)
	}
	for _, n := range w.Network.Nodes() {
		if n.Counters.Failed.Load() != 0 || n.Counters.BadCommands.Load() != 0 {
			t.Errorf("%s counts %d packets with nonsense in them, %d not taken", n.Name(), n.Counters.BadCommands.Load(), n.Counters.Failed.Load())
		}
	}
}
