package node

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"mailproxy/internal/pause"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/loss"
	"mailproxy/mixnet/sphinx"
)

// loopRecipient is the recipient of a loop's last hop: the node that sent it.
var loopRecipient = ServiceRecipient("loop")

// loopID tells a node's own loops apart; it is the beginning of their payload.
type loopID [16]byte

// loops are those of a node that are on their way.
type loops struct {
	loss.Monitor

	mu  sync.Mutex // guards out
	out map[loopID]loopOut
}

// A loopOut is a loop that is on its way.
type loopOut struct {
	timer *time.Timer
	sent  time.Time     // by the wall clock
	lost  time.Duration // after sent it counts as lost
}

// sendLoops sends loops at the times of a Poisson process, until ctx ends: a packet
// around the whole network, back to this node. To the mixes on its way it looks like
// any other. Not to the gateway that a mix's loop passes: packets from the last layer
// end there, all but these, which go on to the first. A gateway can let them pass and
// drop others, or the other way around; what it does to its clients' packets only
// clients' own loops show.
func (n *Node) sendLoops(ctx context.Context) {
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	random := rand.New(rand.NewChaCha8(seed))
	rate := n.cfg.Document.Parameters.NodeLoopRate
	var told directory.Epoch // of which it was logged that no loop can be sent
	for pause.For(ctx, time.Duration(random.ExpFloat64()/rate*float64(time.Second))) == nil {
		view, err := n.views.At(n.cfg.Now())
		if err != nil {
			continue // the network's keys are not known
		}
		if err := n.sendLoop(view, random); err != nil && view.Epoch != told {
			told = view.Epoch // it will not be better before the next
			n.log.Warn("node: no loop can be sent", "err", err)
		}
	}
	n.loops.mu.Lock()
	defer n.loops.mu.Unlock()
	for id, out := range n.loops.out {
		out.timer.Stop()
		delete(n.loops.out, id)
	}
}

func (n *Node) sendLoop(view *directory.View, random *rand.Rand) error {
	p := n.cfg.Document.Parameters
	path, err := n.around(view, random)
	if err != nil {
		return err
	}
	var delays time.Duration
	for i := range path[:len(path)-1] {
		if view.Document.Layered(path[i].ID) {
			path[i].Delay = p.Delay(random.ExpFloat64)
			delays += path[i].Delay
		}
	}
	path[len(path)-1].Recipient = &loopRecipient
	var id loopID
	crand.Read(id[:])
	payload := make([]byte, p.Payload())
	copy(payload, id[:])
	packet, err := sphinx.NewPacket(crand.Reader, path, payload)
	if err != nil {
		return fmt.Errorf("make loop: %w", err)
	}
	n.loops.mu.Lock()
	n.expect(id, delays+p.ReplySlack())
	n.loops.mu.Unlock()
	n.loops.Sent()
	n.send(path[0].ID, packet, nil) // it was never received, and counts among the loops
	return nil
}

// expect notes a loop that leaves now, and counts as lost after so long.
// n.loops.mu is held.
func (n *Node) expect(id loopID, lost time.Duration) {
	n.loops.out[id] = loopOut{
		timer: time.AfterFunc(lost, func() { n.loopEnded(id, false) }),
		sent:  n.cfg.Now(), lost: lost,
	}
}

// around draws a path from this node through every layer, once past the gateways,
// back to it.
func (n *Node) around(view *directory.View, random *rand.Rand) ([]sphinx.Hop, error) {
	var path []sphinx.Hop
	add := func(choice []*directory.Node) {
		to := choice[random.IntN(len(choice))]
		key, _ := view.Key(to)
		path = append(path, sphinx.Hop{ID: to.ID(), Key: key})
	}
	for step := 1; step <= directory.Layers; step++ {
		layer := step // of the next hop; 0 is past the layers
		if n.self.Role == directory.RoleMix {
			layer = (n.self.Layer + step) % (directory.Layers + 1)
		}
		if layer > 0 {
			add(view.Layer(layer))
			continue
		}
		gateways := view.Gateways()
		if len(gateways) == 0 {
			return nil, fmt.Errorf("make loop: no gateway takes part")
		}
		add(gateways)
	}
	key, ok := view.Key(n.self)
	if !ok {
		return nil, fmt.Errorf("make loop: this node takes no part in %v", view.Epoch)
	}
	return append(path, sphinx.Hop{ID: n.self.ID(), Key: key}), nil
}

// loopEnded notes that a loop is back, or lost.
func (n *Node) loopEnded(id loopID, back bool) {
	n.loops.mu.Lock()
	out, ok := n.loops.out[id]
	delete(n.loops.out, id)
	n.loops.mu.Unlock()
	if !ok {
		return // late, or not ours
	}
	out.timer.Stop()
	if !back && loss.Slept(out.sent, n.cfg.Now(), out.lost) {
		n.loops.Void()
		return
	}
	if alarm, changed := n.loops.Ended(back); changed && alarm {
		n.log.Warn("node: many of this node's own loops do not come back: a node is broken, or packets are being dropped on purpose", "lost", n.loops.Report().Lost)
	} else if changed {
		n.log.Info("node: this node's own loops come back again")
	}
}

// Loops returns how the node's own loops fare.
func (n *Node) Loops() loss.Report { return n.loops.Report() }
