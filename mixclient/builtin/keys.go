package builtin

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/mixclient"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/loss"
	"mailproxy/mixnet/wire"
)

// clockOff is from which difference on a user is told that the clock is wrong:
// well below what keys' grace forgives.
const clockOff = 20 * time.Second

var (
	errGatewayAbsent = errors.New("the gateway takes no part in the network at present")
	errNoEcho        = errors.New("no echo service takes part in the network at present")
)

// view returns the network as it is to be used now.
func (c *Client) view() (*directory.View, error) {
	v, err := c.views.At(c.now())
	if err != nil {
		return nil, err
	}
	if _, ok := v.Key(c.gateway); !ok {
		return nil, errGatewayAbsent
	}
	if len(echoesOf(v)) == 0 {
		return nil, errNoEcho
	}
	return v, nil
}

// echoesOf returns the nodes with an echo service that take part.
func echoesOf(v *directory.View) []*directory.Node {
	return slices.DeleteFunc(v.Document.Offering(mixclient.KindEcho), func(n *directory.Node) bool {
		_, ok := v.Key(n)
		return !ok
	})
}

// Notice implements mixclient.Network.
func (c *Client) Notice(s mixclient.Service) (mixclient.Notice, bool) {
	n, err := c.service(s)
	if err != nil {
		return mixclient.Notice{}, false
	}
	b, e, ok := c.views.Notice(n)
	return mixclient.Notice{Bytes: b, Since: c.doc.Parameters.EpochStart(e)}, ok
}

// keysReason says to a user why there are no keys to send with. c.mu is held.
func (c *Client) keysReason(err error) string {
	if off := c.offset; errors.Is(err, directory.ErrNoView) && off.Abs() > c.clockOff() {
		return wrongClock(off) + "; set it right, and mail flows again"
	}
	if errors.Is(err, directory.ErrNoView) && c.stale {
		return "the network has a newer document than this program was given; ask your provider for it"
	}
	if errors.Is(err, directory.ErrNoView) {
		return "waiting for the gateway to hand on the network's keys"
	}
	return err.Error()
}

// wrongClock says how far the gateway's clock is ahead of ours.
func wrongClock(off time.Duration) string {
	side := "behind"
	if off < 0 {
		side = "ahead of"
	}
	return fmt.Sprintf("this computer's clock is %v %s the gateway's", off.Abs().Round(time.Second), side)
}

// loopsReason says why many loops may be lost. A clock that is off by some minutes
// has the client use keys before or after their time, near the end of each epoch.
func (c *Client) loopsReason() string {
	c.mu.Lock()
	off := c.offset
	c.mu.Unlock()
	if off.Abs() > c.clockOff() {
		return wrongClock(off) + ", and what is sent under keys of another hour is dropped; set it right"
	}
	return "a node is broken, or packets are being dropped on purpose"
}

// clockOff scales with the epoch, as all times do in tests.
func (c *Client) clockOff() time.Duration {
	return min(clockOff, time.Duration(c.doc.Parameters.Epoch)/8)
}

// watch looks at the clock for a change of epoch, for a sleep of the machine and for a
// change of networks, until ctx ends.
func (c *Client) watch(ctx context.Context) {
	every := min(time.Second, time.Duration(c.doc.Parameters.Epoch)/50)
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := c.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := c.now()
			if loss.Slept(last, now, every) || c.moved() {
				select {
				case c.awake <- struct{}{}:
				default: // it is not known yet of the last time
				}
			}
			last = now
			c.mu.Lock()
			c.refresh()
			c.mu.Unlock()
		}
	}
}

// pieces collects one snapshot from the frames that it comes in.
type pieces struct {
	epoch directory.Epoch
	next  int
	body  []byte
}

// maxPieces bounds what pieces collects, in bytes: more than any valid snapshot.
const maxPieces = 2 << 20

// piece takes a frame with a piece of a snapshot, and the snapshot with the last.
// Pieces come in order; a first piece begins anew. Those that follow no first one
// are passed over. A gateway that hands on what does not verify is given up.
func (c *Client) piece(p *pieces, body []byte) error {
	epoch := directory.Epoch(binary.BigEndian.Uint64(body))
	sent := time.UnixMilli(int64(binary.BigEndian.Uint64(body[8:])))
	index, count := int(binary.BigEndian.Uint16(body[16:])), int(binary.BigEndian.Uint16(body[18:]))
	size := int(binary.BigEndian.Uint16(body[20:]))
	rest := body[wire.SnapshotHeader:]
	if index == 0 {
		*p = pieces{epoch: epoch}
	}
	if size > len(rest) || index >= count || len(p.body)+size > maxPieces {
		return fmt.Errorf("%w: piece of a snapshot", wire.ErrFrame)
	}
	if index != p.next || epoch != p.epoch {
		*p = pieces{next: -1} // until a first piece
		return nil
	}
	p.body = append(p.body, rest[:size]...)
	p.next++
	c.mu.Lock()
	c.offset = sent.Sub(c.now())
	c.mu.Unlock()
	if p.next < count {
		return nil
	}
	var s directory.SignedSnapshot
	err := codec.Unmarshal(p.body, &s)
	if err == nil {
		_, err = c.views.Add(&s)
	}
	if errors.Is(err, directory.ErrConflict) {
		// Somebody shows us another network than the one that we know. We keep to it.
		c.log.Error("network client: the gateway handed on a second snapshot of this hour; tell your provider", "err", err)
		return nil
	}
	stale := errors.Is(err, directory.ErrOtherDocument)
	if stale {
		// Perhaps for the next epoch only: this one's keys are as good as they were.
		c.log.Warn("network client: ask your provider for a newer network document", "err", err)
	} else if err != nil {
		return fmt.Errorf("snapshot from the gateway: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = stale
	c.refresh()
	return nil
}
