package server

import (
	"github.com/prometheus/client_golang/prometheus"
)

var (
	detailAnswersDesc = describe("detail_answers_total", "Requests answered, exactly, by type and status.", "type", "status")
	detailAppendsDesc = describe("detail_appends_total", "Appends answered, by lane and status.", "lane", "status")
	detailTookDesc    = describe("detail_answer_seconds", "How long answers took, by type of request.", "type")
	detailBlocksDesc  = describe("detail_blocks_total", "Blocks that were removed for their age, or were for spools that are not here and answered as if they were (hidden users).", "what")
	detailChecksDesc  = describe("detail_work_checks", "Proofs of work being checked, or waiting to be.")
	detailStoreDesc   = describe("detail_store", "What the store has, exactly.", "what")
	detailOldestDesc  = describe("detail_oldest_block_timestamp_seconds", "When the oldest block came; 0: there is none.")

	detailDescs = []*prometheus.Desc{
		detailAnswersDesc, detailAppendsDesc, detailTookDesc, detailBlocksDesc, detailChecksDesc, detailStoreDesc, detailOldestDesc,
	}
)

// exact sends the figures in detail. c.mu is held.
func (c *collector) exact(ch chan<- prometheus.Metric) {
	s := c.s
	for status, label := range statusLabels {
		for t := range types {
			if n := s.answers[t][status].Load(); n > 0 {
				counter(ch, detailAnswersDesc, n, typeLabels[t], label)
			}
		}
		for lane := range Lanes {
			if n := s.appends[lane][status].Load(); n > 0 {
				counter(ch, detailAppendsDesc, n, laneLabels[lane], label)
			}
		}
	}
	for t := range types {
		buckets, count, sum := s.took[t].load()
		ch <- prometheus.MustNewConstHistogram(detailTookDesc, count, sum, buckets, typeLabels[t])
	}
	counter(ch, detailBlocksDesc, s.swept.Load(), "swept")
	counter(ch, detailBlocksDesc, s.dropped.Load(), "dropped")
	gauge(ch, detailChecksDesc, float64(s.toll.waiting.Load()))
	st, err := s.stats()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(detailStoreDesc, err)
		return
	}
	for what, n := range map[string]int{
		"names": st.Names, "suspended": st.Suspended, "revoked": st.Revoked, "spools": st.Spools,
		"blocks": st.Blocks, "bytes": int(st.Bytes), "remembered_ids": st.Remembered, "invitations": st.Invites,
	} {
		gauge(ch, detailStoreDesc, float64(n), what)
	}
	gauge(ch, detailOldestDesc, seconds(st.Oldest))
}
