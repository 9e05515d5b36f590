package server

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailproxy/internal/metrics"
	"mailproxy/spool"
)

// As with a node's figures (mixnet/node), what anybody may get who asks is held for
// a minute, and exact only where everybody knows it from the key log or from
// look-ups. A count that moves by one when a block comes or goes would tell somebody who sends
// blocks to a user when that user is there. The exact figures are for detail.

// Heights of the steps in which counts are shown.
const (
	successStep = 1000 // requests
	refusalStep = 100  // requests
	blockStep   = 1000 // blocks
	spoolStep   = 10   // spools
)

// oldestStep is what the time of the oldest block is rounded down to.
const oldestStep = time.Hour

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
	answersDesc = describe("answers_total", "Requests answered, by type (none: could not be read) and status, in steps of about 1000, refusals of about 100.", "type", "status")
	fullDesc    = describe("quota_refusals_total", "Blocks refused because a spool is full, by lane, in steps of about 100.", "lane")
	tookDesc    = describe("answer_seconds", "How long answers took since the figures were last taken: upper bounds for a share of them.", "share")
	sweptDesc   = describe("swept_blocks_total", "Blocks removed for their age, in steps of about 1000.")
	bitsDesc    = describe("work_bits", "What a stranger's block costs now, in bits; 0: nothing, the open lane is open.")
	checksDesc  = describe("work_queue_ratio", "How full the queue of proofs of work that are checked is, rounded up to 0.05.")
	namesDesc   = describe("names", "Names that can be looked up.")
	revokedDesc = describe("revoked_names", "Names that were revoked.")
	spoolsDesc  = describe("spools", "Spools, rounded at random to a multiple of 10.")
	blocksDesc  = describe("blocks", "Blocks in all spools, rounded at random to a multiple of 1000.")
	bytesDesc   = describe("block_bytes", "Bytes of these blocks.")
	oldestDesc  = describe("oldest_block_timestamp_seconds", "When the oldest block came, rounded down to an hour; 0: there is none.")
	logDesc     = describe("key_log_records", "Records in the key log.")
	invitesDesc = describe("open_invitations", "Invitations that nobody has used.")
)

// statsTime is how long the store's counts may take.
const statsTime = 5 * time.Second

// Collectors return the service's figures for Prometheus: those that anybody may
// get who asks, and with detail the exact ones too. None is about one user, one
// spool or one block.
func (s *Server) Collectors(detail bool) []prometheus.Collector {
	plain := &collector{s: s, blurs: make(map[string]*metrics.Blur), descs: []*prometheus.Desc{
		answersDesc, fullDesc, tookDesc, sweptDesc, bitsDesc, checksDesc, namesDesc, revokedDesc, spoolsDesc,
		blocksDesc, bytesDesc, oldestDesc, logDesc, invitesDesc,
	}}
	plain.collect = plain.plain
	list := []prometheus.Collector{metrics.Hold(plain, metrics.Period, s.now)}
	if detail {
		exact := &collector{s: s, descs: detailDescs}
		exact.collect = exact.exact
		list = append(list, exact)
	}
	return list
}

// A collector sends some of a service's figures.
type collector struct {
	s       *Server
	descs   []*prometheus.Desc
	collect func(ch chan<- prometheus.Metric)

	mu    sync.Mutex // guards all below
	blurs map[string]*metrics.Blur
	took  [len(latencyBounds) + 1]uint64 // when the figures were last taken
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collect(ch)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, n uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// blur returns what to show of a count. c.mu is held.
func (c *collector) blur(name string, n, step uint64) uint64 {
	b := c.blurs[name]
	if b == nil {
		b = metrics.NewBlur(step)
		c.blurs[name] = b
	}
	return b.Of(n)
}

// dither rounds to a multiple of step, up or down at random so that it is right in
// the mean: one more or less changes only how likely each is.
func dither(n, step int) float64 {
	return float64((n + rand.IntN(step)) / step * step)
}

// plain sends what anybody may get. c.mu is held.
func (c *collector) plain(ch chan<- prometheus.Metric) {
	s := c.s
	for status, label := range statusLabels {
		step := uint64(refusalStep)
		if status.Success() {
			step = successStep
		}
		for t := range types {
			if n := c.blur(typeLabels[t]+" "+label, s.answers[t][status].Load(), step); n > 0 {
				counter(ch, answersDesc, n, typeLabels[t], label)
			}
		}
	}
	for lane, label := range laneLabels {
		counter(ch, fullDesc, c.blur("full "+label, s.appends[lane][spool.StatusFull].Load(), refusalStep), label)
	}
	counter(ch, sweptDesc, c.blur("swept", s.swept.Load(), successStep))
	gauge(ch, bitsDesc, float64(s.Terms().Bits))
	gauge(ch, checksDesc, metrics.Coarse(int(s.toll.waiting.Load()), int(s.toll.most)))

	// All types together: that there was one of a kind is no figure.
	var now, since [len(latencyBounds) + 1]uint64
	for t := range types {
		for i := range now {
			now[i] += s.took[t].buckets[i].Load()
		}
	}
	for i := range now {
		since[i] = now[i] - c.took[i]
	}
	c.took = now
	for label, share := range map[string]float64{"0.5": 0.5, "0.99": 0.99, "1": 1} {
		gauge(ch, tookDesc, quantile(since[:], share).Seconds(), label)
	}

	st, err := s.stats()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(spoolsDesc, err)
		return
	}
	blocks := dither(st.Blocks, blockStep)
	gauge(ch, namesDesc, float64(st.Names))
	gauge(ch, revokedDesc, float64(st.Revoked))
	gauge(ch, spoolsDesc, dither(st.Spools, spoolStep))
	gauge(ch, blocksDesc, blocks)
	gauge(ch, bytesDesc, blocks*spool.BlockSize)
	gauge(ch, oldestDesc, seconds(st.Oldest.Truncate(oldestStep)))
	gauge(ch, logDesc, float64(st.LogSize))
	gauge(ch, invitesDesc, float64(st.Invites))
}

func (s *Server) stats() (Stats, error) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTime)
	defer cancel()
	return s.store.Stats(ctx)
}

// seconds returns Unix seconds, 0 for no time.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
