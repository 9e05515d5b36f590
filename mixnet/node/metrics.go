package node

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailproxy/internal/metrics"
	"mailproxy/mixnet/directory"
)

// Which figures anybody may get who asks, and which only in detail, and why, is in
// docs/operating.md. In short: nothing of a client, nothing exact of what an
// adversary can cause at one place and look for at another, and nothing more often
// than once a minute.

// Heights of the steps in which counts are shown.
const (
	trafficStep = 10_000 // packets
	faultStep   = 100    // packets and connections that were refused
)

const prefix = "mixnet_"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

var (
	infoDesc       = desc("node_info", "Which node this is.", "name", "role")
	packetsDesc    = desc("packets_total", "Packets, in steps of about 10000.", "outcome")
	droppedDesc    = desc("packets_dropped_total", "Packets dropped, in steps of about 100.", "reason")
	framesDesc     = desc("frames_refused_total", "Frames that ended their connection, in steps of about 100.", "reason")
	refusedDesc    = desc("connections_refused_total", "Connections refused before they carried a frame, in steps of about 100.")
	pausedDesc     = desc("packets_paused_total", "Packets of clients that send too many, read later, in steps of about 100.")
	slowDesc       = desc("answers_late_total", "Answers so late that their time tells that they took long, in steps of about 100.")
	momentDesc     = desc("answer_after_seconds", "After which time replies leave now; more than 0.05 where the disk is slow; 0 before the first.")
	lateDesc       = desc("delay_error_seconds", "How late packets left after their delays, since the figures were last taken: upper bounds for a share of them.", "share")
	delayFullDesc  = desc("delay_queue_ratio", "How full the queue of packets that wait out their delay is, rounded up to 0.05.")
	linkFullDesc   = desc("link_queue_ratio", "How full the queue of a link is, rounded up to 0.05.", "peer")
	linkUpDesc     = desc("link_up", "Whether a link to a node of the following layer is connected.", "peer")
	loopsLostDesc  = desc("loops_lost_ratio", "Share of this node's own last hundred loops that did not come back.")
	loopAlarmDesc  = desc("loop_alarm", "Whether so many of them are lost that something is wrong.")
	snapshotDesc   = desc("snapshot_known", "Whether there is a snapshot of an epoch.", "epoch")
	takesPartDesc  = desc("takes_part", "Whether this node is in the snapshot of the present epoch.")
	keysDesc       = desc("keys", "Mix keys held.")
	liarDesc       = desc("directory_liar", "Whether a directory was seen to sign two snapshots of one epoch.", "directory")
	documentDesc   = desc("document_made_timestamp_seconds", "When the newest network document was made.")
	documentsDesc  = desc("documents", "Network documents in use: more than one while a new one is being taken up.")
	detailDesc     = desc("detail_packets_total", "Packets and frames, exactly.", "outcome")
	detailLateDesc = desc("detail_delay_error_seconds", "How late packets left after their delays.")
	detailWaitDesc = desc("detail_delay_queue", "Packets that wait out their delay.")
	detailLinkDesc = desc("detail_link_queue", "Packets that wait for a link.", "peer")
	detailCliDesc  = desc("detail_clients", "Clients connected to a gateway.")
	detailTagsDesc = desc("detail_replay_tags", "Packets remembered to refuse replays.")
	detailLoopDesc = desc("detail_loops_total", "This node's own loops.", "what")
)

// Collectors return the node's figures for Prometheus: those that anybody may get
// who asks, and with detail the exact ones too.
func (n *Node) Collectors(detail bool) []prometheus.Collector {
	plain := &collector{
		node: n, blurs: map[string]*metrics.Blur{},
		descs: []*prometheus.Desc{
			infoDesc, packetsDesc, droppedDesc, framesDesc, refusedDesc, pausedDesc, slowDesc, momentDesc, lateDesc, delayFullDesc, linkFullDesc,
			linkUpDesc, loopsLostDesc, loopAlarmDesc, snapshotDesc, takesPartDesc, keysDesc, liarDesc, documentDesc, documentsDesc,
		},
	}
	plain.collect = plain.plain
	list := []prometheus.Collector{metrics.Hold(plain, metrics.Period, time.Now)}
	if detail {
		exact := &collector{node: n, descs: []*prometheus.Desc{
			detailDesc, detailLateDesc, detailWaitDesc, detailLinkDesc, detailCliDesc, detailTagsDesc, detailLoopDesc,
		}}
		exact.collect = exact.exact
		list = append(list, exact)
	}
	return list
}

// A collector sends some of a node's figures.
type collector struct {
	node    *Node
	descs   []*prometheus.Desc
	collect func(sender)

	mu    sync.Mutex // guards all below
	blurs map[string]*metrics.Blur
	late  lateCounts // when the figures were last taken
}

// A sender sends one figure.
type sender func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string)

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
	c.collect(func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	})
	if c.blurs == nil {
		ch <- c.node.Counters.Delays.histogram()
	}
}

// faults are the counters of packets that were dropped, by reason, but those that
// tell of clients.
func (c *Counters) faults() map[string]uint64 {
	return map[string]uint64{
		"version": c.BadVersion.Load(), "key": c.BadKey.Load(), "mac": c.BadMAC.Load(), "commands": c.BadCommands.Load(),
		"payload": c.BadPayload.Load(), "query": c.BadQuery.Load(), "expired": c.Expired.Load(), "replayed": c.Replayed.Load(),
		"misrouted": c.Misrouted.Load(), "misplaced": c.Misplaced.Load(), "delay_too_long": c.TooLong.Load(),
		"no_service": c.NoService.Load(), "failed": c.Failed.Load(), "reply_too_large": c.TooLarge.Load(),
		"queue_full": c.Dropped.Load(),
	}
}

// frames are the counters of frames that ended their connection.
func (c *Counters) frames() map[string]uint64 {
	return map[string]uint64{"length": c.FrameLength.Load(), "cut": c.FrameCut.Load(), "kind": c.BadFrame.Load()}
}

// blur returns what to show of a count. c.mu is held.
func (c *collector) blur(name string, n, step uint64) float64 {
	b := c.blurs[name]
	if b == nil {
		b = metrics.NewBlur(step)
		c.blurs[name] = b
	}
	return float64(b.Of(n))
}

// plain sends what anybody may get. c.mu is held.
func (c *collector) plain(send sender) {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	n, k := c.node, &c.node.Counters
	send(infoDesc, gauge, 1, n.self.Name, string(n.self.Role))
	send(packetsDesc, counter, c.blur("received", k.Received.Load(), trafficStep), "received")
	send(packetsDesc, counter, c.blur("forwarded", k.Forwarded.Load(), trafficStep), "forwarded")
	for reason, count := range k.faults() {
		send(droppedDesc, counter, c.blur("packet "+reason, count, faultStep), reason)
	}
	for reason, count := range k.frames() {
		send(framesDesc, counter, c.blur("frame "+reason, count, faultStep), reason)
	}
	send(refusedDesc, counter, c.blur("refused", k.Refused.Load()+k.TooMany.Load(), faultStep))
	send(pausedDesc, counter, c.blur("paused", k.Paused.Load(), faultStep))
	send(slowDesc, counter, c.blur("answered late", k.Late.Load(), faultStep))
	send(momentDesc, gauge, time.Duration(k.AnswerAfter.Load()).Seconds())

	now := k.Delays.load()
	late := now.since(c.late)
	c.late = now
	for label, q := range map[string]float64{"0.5": 0.5, "0.99": 0.99, "1": 1} {
		send(lateDesc, gauge, late.quantile(q).Seconds(), label)
	}
	send(delayFullDesc, gauge, metrics.Coarse(n.delay.len(), n.delay.limit))
	docs := n.views.Documents()
	for id, l := range n.ties.Load().links {
		peer := nameOf(docs, id)
		send(linkFullDesc, gauge, metrics.Coarse(l.Len(), linkQueue), peer)
		send(linkUpDesc, gauge, truth(l.Up()), peer)
	}
	loops := n.loops.Report()
	send(loopsLostDesc, gauge, loops.Lost)
	send(loopAlarmDesc, gauge, truth(loops.Alarm))
	e := docs[0].Parameters.EpochAt(n.cfg.Now())
	send(snapshotDesc, gauge, truth(n.views.Signed(e) != nil), "present")
	send(snapshotDesc, gauge, truth(n.views.Signed(e+1) != nil), "next")
	view, err := n.views.At(n.cfg.Now())
	in := err == nil
	if in {
		_, in = view.Key(n.self)
	}
	send(takesPartDesc, gauge, truth(in))
	send(keysDesc, gauge, float64(n.cfg.Keys.Len()))
	directories := n.dir.Directories()
	caught := n.witness.Caught(directories)
	for _, d := range directories {
		send(liarDesc, gauge, truth(slices.Contains(caught, d)), d.Name)
	}
	send(documentDesc, gauge, float64(docs[0].Made.Unix()))
	send(documentsDesc, gauge, float64(len(docs)))
}

// exact sends the figures in detail. c.mu is held.
func (c *collector) exact(send sender) {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	n, k := c.node, &c.node.Counters
	for outcome, count := range map[string]uint64{
		"received": k.Received.Load(), "forwarded": k.Forwarded.Load(), "delivered": k.Delivered.Load(),
		"answered": k.Answered.Load(), "answered_late": k.Late.Load(), "looped": k.Looped.Load(), "dropped_no_client": k.NoClient.Load(),
		"paused": k.Paused.Load(), "connection_refused": k.Refused.Load(), "client_too_many": k.TooMany.Load(),
	} {
		send(detailDesc, counter, float64(count), outcome)
	}
	for reason, count := range k.faults() {
		send(detailDesc, counter, float64(count), "dropped_"+reason)
	}
	for reason, count := range k.frames() {
		send(detailDesc, counter, float64(count), "frame_"+reason)
	}
	send(detailWaitDesc, gauge, float64(n.delay.len()))
	docs := n.views.Documents()
	for id, l := range n.ties.Load().links {
		send(detailLinkDesc, gauge, float64(l.Len()), nameOf(docs, id))
	}
	send(detailCliDesc, gauge, float64(k.Clients.Load()))
	send(detailTagsDesc, gauge, float64(n.cfg.Keys.Tags()))
	loops := n.loops.Report()
	send(detailLoopDesc, counter, float64(loops.Sent), "sent")
	send(detailLoopDesc, counter, float64(loops.Back), "back")
}

// nameOf returns a node's name in the newest document that has it.
func nameOf(docs []*directory.Document, id [32]byte) string {
	for _, d := range docs {
		if n := d.Node(id); n != nil {
			return n.Name
		}
	}
	return ""
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// histogram returns the lateness of all packets.
func (l *Lateness) histogram() prometheus.Metric {
	counts, all := map[float64]uint64{}, uint64(0)
	for i, n := range l.load() {
		if all += n; i < buckets-1 {
			counts[bound(i).Seconds()] = all
		}
	}
	return prometheus.MustNewConstHistogram(detailLateDesc, all, time.Duration(l.sum.Load()).Seconds(), counts)
}
