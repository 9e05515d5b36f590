package authority

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"mailproxy/mixnet/directory"
)

const prefix = "mixnet_directory_"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

var (
	infoDesc        = desc("info", "Which directory this is.", "name")
	votesDesc       = desc("votes_total", "Votes made, one in each round.")
	signedDesc      = desc("snapshots_signed_total", "Snapshots that this directory has signed.")
	finishedDesc    = desc("snapshots_total", "Snapshots that this directory has taken up.")
	roundDesc       = desc("round", "Round of voting, from 0, in which the last snapshot that was finished here was finished.")
	refusedDesc     = desc("descriptors_refused_total", "Descriptors refused.")
	snapshotDesc    = desc("snapshot_known", "Whether there is a snapshot of an epoch.", "epoch")
	startDesc       = desc("snapshot_start_timestamp_seconds", "When the epoch of the last snapshot begins.")
	signaturesDesc  = desc("snapshot_signatures", "Directories that have signed the last snapshot, as far as it came here.")
	nodesDesc       = desc("snapshot_nodes", "Nodes in the last snapshot.")
	expectedDesc    = desc("nodes", "Nodes of the network document that publish descriptors.")
	descriptorsDesc = desc("descriptors", "Nodes that have published their key of an epoch here.", "epoch")
	divergentDesc   = desc("snapshots_signed_differently", "Epochs of which signatures on two or more snapshots were seen.")
	caughtDesc      = desc("liar", "Whether a directory was seen to sign two snapshots of one epoch.", "directory")
	documentDesc    = desc("document_made_timestamp_seconds", "When the newest network document was made.")
	documentsDesc   = desc("documents", "Network documents in use: more than one while a new one is being taken up.")
)

// Collector returns the directory's figures for Prometheus. All of them are public,
// as what a directory does is.
func (a *Authority) Collector() prometheus.Collector { return collector{a} }

type collector struct{ a *Authority }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		infoDesc, votesDesc, signedDesc, finishedDesc, roundDesc, refusedDesc, snapshotDesc, startDesc, signaturesDesc,
		nodesDesc, expectedDesc, descriptorsDesc, divergentDesc, caughtDesc, documentDesc, documentsDesc,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	a := c.a
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	send(infoDesc, gauge, 1, a.self.Name)
	send(votesDesc, counter, float64(a.Counters.Votes.Load()))
	send(signedDesc, counter, float64(a.Counters.Signed.Load()))
	send(finishedDesc, counter, float64(a.Counters.Finished.Load()))
	send(roundDesc, gauge, float64(a.Counters.Round.Load()))
	send(refusedDesc, counter, float64(a.Counters.Refused.Load()))

	docs := a.views.Documents()
	present := a.p.EpochAt(a.cfg.Now())
	for label, e := range map[string]directory.Epoch{"present": present, "next": present + 1} {
		known := 0.0
		if a.views.Signed(e) != nil {
			known = 1
		}
		send(snapshotDesc, gauge, known, label)
	}
	if last := a.views.Latest(); last != nil {
		send(startDesc, gauge, float64(a.p.EpochStart(last.Epoch).Unix()))
		send(nodesDesc, gauge, float64(last.Len()))
		if s := a.views.Signed(last.Epoch); s != nil {
			send(signaturesDesc, gauge, float64(len(s.Signatures)))
		}
	}
	send(expectedDesc, gauge, float64(expected(docs[0])))
	send(documentDesc, gauge, float64(docs[0].Made.Unix()))
	send(documentsDesc, gauge, float64(len(docs)))

	send(divergentDesc, gauge, float64(a.witness.divergent()))
	directories := a.client.Directories()
	caught := a.witness.Caught(directories)
	for _, n := range directories {
		lies := 0.0
		if slices.Contains(caught, n) {
			lies = 1
		}
		send(caughtDesc, gauge, lies, n.Name)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	send(descriptorsDesc, gauge, float64(len(a.descriptors[present])), "present")
	send(descriptorsDesc, gauge, float64(len(a.descriptors[present+1])), "next")
}
