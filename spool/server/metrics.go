package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailproxy/spool"
)

// Names of types, lanes and statuses in metrics. They are part of what an operator
// builds on, and do not change with the wording of messages.
var (
	typeLabels = [types]string{
		"none", "register", "replace", "lookup", "append", "read", "access", "revoke", "log",
	}
	laneLabels   = [Lanes]string{"open", "contacts", "strangers"}
	statusLabels = map[spool.Status]string{
		spool.StatusOK: "ok", spool.StatusKnown: "known",
		spool.StatusMalformed: "malformed", spool.StatusVersion: "version",
		spool.StatusUnknownRequest: "unknown_request", spool.StatusTooBig: "too_big",
		spool.StatusExpired: "expired", spool.StatusTooFar: "too_far",
		spool.StatusReplayed: "replayed", spool.StatusBadSignature: "bad_signature",
		spool.StatusNoUser: "no_user", spool.StatusNoSpool: "no_spool",
		spool.StatusTaken: "taken", spool.StatusStale: "stale",
		spool.StatusBadName: "bad_name", spool.StatusReserved: "reserved",
		spool.StatusWrongDomain: "wrong_domain", spool.StatusNotOwner: "not_owner",
		spool.StatusBadBundle: "bad_bundle", spool.StatusWrongSpool: "wrong_spool",
		spool.StatusRevoked: "revoked", spool.StatusInvite: "invite",
		spool.StatusSuspended: "suspended", spool.StatusNoLog: "no_log",
		spool.StatusFull: "full", spool.StatusOtherReader: "other_reader",
		spool.StatusCursorAhead: "cursor_ahead", spool.StatusLane: "lane",
		spool.StatusAppendKey: "append_key", spool.StatusWork: "work",
		spool.StatusBusy: "busy", spool.StatusTemporary: "temporary",
	}
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("mailspool_"+name, help, labels, nil)
}

var (
	descAnswers    = describe("answers_total", "Requests answered, by type (none: could not be read) and status.", "type", "status")
	descAppends    = describe("appends_total", "Appends answered, by lane and status; full is a quota's refusal.", "lane", "status")
	descTook       = describe("answer_seconds", "How long answers took, by type of request.", "type")
	descDropped    = describe("dropped_blocks_total", "Blocks for spools that are not here, answered as if they were (hidden users).")
	descSwept      = describe("swept_blocks_total", "Blocks removed for their age.")
	descBits       = describe("work_bits", "What a stranger's block costs now, in bits.")
	descChecks     = describe("work_checks", "Proofs of work being checked, or waiting to be.")
	descNames      = describe("names", "Names that can be looked up, and those that were revoked.", "state")
	descSpools     = describe("spools", "Spools.")
	descBlocks     = describe("blocks", "Blocks in all spools.")
	descBytes      = describe("block_bytes", "Bytes of these blocks.")
	descRemembered = describe("remembered_ids", "Ids of removed blocks that are remembered.")
	descOldest     = describe("oldest_block_timestamp_seconds", "When the oldest block came; 0 if there is none.")
	descLog        = describe("key_log_records", "Records in the key log.")
	descInvites    = describe("open_invitations", "Invitations that nobody has used.")
)

// collectTime is how long the store's counts may take.
const collectTime = 5 * time.Second

// A collector collects a server's metrics. None of them is about one user, one
// spool or one block: who scrapes them is to learn no more than how much there is.
type collector struct{ s *Server }

// Collector returns the server's metrics for a Prometheus registry.
func (s *Server) Collector() prometheus.Collector { return collector{s} }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descAnswers, descAppends, descTook, descDropped, descSwept, descBits, descChecks, descNames, descSpools,
		descBlocks, descBytes, descRemembered, descOldest, descLog, descInvites,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.s
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for t := range types {
		for status, label := range statusLabels {
			if n := s.answers[t][status].Load(); n > 0 {
				counter(descAnswers, n, typeLabels[t], label)
			}
		}
		buckets, count, sum := s.took[t].load()
		ch <- prometheus.MustNewConstHistogram(descTook, count, sum, buckets, typeLabels[t])
	}
	for lane := range Lanes {
		for status, label := range statusLabels {
			// What a provider looks for is there from the start.
			if n := s.appends[lane][status].Load(); n > 0 || status == spool.StatusOK || status == spool.StatusFull {
				counter(descAppends, n, laneLabels[lane], label)
			}
		}
	}
	counter(descDropped, s.dropped.Load())
	counter(descSwept, s.swept.Load())
	gauge(descBits, float64(s.Terms().Bits))
	gauge(descChecks, float64(s.toll.waiting.Load()))

	ctx, cancel := context.WithTimeout(context.Background(), collectTime)
	defer cancel()
	st, err := s.store.Stats(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descSpools, err)
		return
	}
	gauge(descNames, float64(st.Names-st.Suspended), "active")
	gauge(descNames, float64(st.Suspended), "suspended")
	gauge(descNames, float64(st.Revoked), "revoked")
	gauge(descSpools, float64(st.Spools))
	gauge(descBlocks, float64(st.Blocks))
	gauge(descBytes, float64(st.Bytes))
	gauge(descRemembered, float64(st.Remembered))
	oldest := 0.0
	if !st.Oldest.IsZero() {
		oldest = float64(st.Oldest.Unix())
	}
	gauge(descOldest, oldest)
	gauge(descLog, float64(st.LogSize))
	gauge(descInvites, float64(st.Invites))
}

// load returns the cumulative buckets in seconds, the count and the sum, as
// Prometheus counts them.
func (l *latency) load() (buckets map[float64]uint64, count uint64, sum float64) {
	buckets = make(map[float64]uint64, len(latencyBounds))
	for i, bound := range latencyBounds {
		count += l.buckets[i].Load()
		buckets[bound.Seconds()] = count
	}
	count += l.buckets[len(latencyBounds)].Load()
	return buckets, count, time.Duration(l.sum.Load()).Seconds()
}
