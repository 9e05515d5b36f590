//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
)

// What each user asks for in a second, by the default parameters, of the part of
// a core that is planned with (docs/parameters.md).
const (
	readsPerUser = 0.8
	otherPerUser = 0.7
	plannedPart  = 0.8
)

// answersAtOnce is how many queries a node answers at one time.
const answersAtOnce = 128

// wholePath measures on one core what a service node does with a query.
func (m *measurement) wholePath(ctx context.Context) (err error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	st, err := badgerstore.Open(m.options(m.dir + "/path"))
	if err != nil {
		return err
	}
	defer st.Close()
	srv, err := server.New(server.Options{Store: st, Provider: "north.test"})
	if err != nil {
		return err
	}
	defer srv.Close()
	p, err := newPath()
	if err != nil {
		return err
	}

	// The same amount of packets before each measurement, made outside of it. The
	// measurements take turns, so that a busy machine slows all of them.
	var unwrap, echo, read, add timing
	for round := 0; unwrap.took < m.path || read.took < m.path; round++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		reads, err := m.reads(ctx, st, round)
		if err != nil {
			return err
		}
		var appends [][]byte
		for n := range 50 {
			raw, err := spool.EncodeRequest(&spool.Append{Spool: spoolOf(n % 100), Block: m.newBlock()})
			if err != nil {
				return err
			}
			appends = append(appends, raw)
		}
		if round == 0 {
			if err := m.publish(ctx, st, 100); err != nil {
				return err
			}
		}
		queries, err := p.packets(reads)
		if err != nil {
			return err
		}
		blocks, err := p.packets(appends)
		if err != nil {
			return err
		}
		for _, t := range []struct {
			*timing
			packets [][]byte
			answer  func([]byte) []byte
		}{
			{&unwrap, queries, nil},
			{&echo, queries, func([]byte) []byte { return make([]byte, 64) }},
			{&read, queries, func(b []byte) []byte { return srv.Answer(ctx, b) }},
			{&add, blocks, func(b []byte) []byte { return srv.Answer(ctx, b) }},
		} {
			if err := p.measure(t.timing, t.packets, t.answer); err != nil {
				return err
			}
		}
	}
	m.add("path: unwrap alone, one core", "/s", "unwrap_per_s", "%.0f", unwrap.rate())
	m.add("path: unwrap, echo, reply", "/s", "path_echo_per_s", "%.0f", echo.rate())
	m.add("path: unwrap, read of an empty spool, reply", "/s", "path_read_per_s", "%.0f", read.rate())
	m.add("path: reads, of unwrap alone", "%", "path_read_percent", "%.0f", 100*read.rate()/unwrap.rate())
	m.add("path: unwrap, append, reply", "/s", "path_append_per_s", "%.0f", add.rate())
	second := readsPerUser/read.rate() + otherPerUser/echo.rate() // of a core, for a user's
	m.add("path: reads and others as users ask for them, of unwrap alone", "%", "path_mixed_percent", "%.0f",
		100*(readsPerUser+otherPerUser)/second/unwrap.rate())
	users := plannedPart / second
	m.add("path: users of one core", "", "users_per_core", "%.0f", users)
	return nil
}

// timing adds up what was measured.
type timing struct {
	n    int
	took time.Duration
}

func (t *timing) rate() float64 { return float64(t.n) / t.took.Seconds() }

// A path ends at the node, which is its only hop: what a hop does is the same on any.
type path struct {
	key     *sphinx.PrivateKey
	payload int
	hop     sphinx.Hop
	surb    []byte
}

func newPath() (*path, error) {
	key, err := sphinx.NewPrivateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	params := directory.DefaultParameters()
	p := &path{key: key, payload: params.Payload()}
	recipient := sphinx.Recipient{1}
	p.hop = sphinx.Hop{ID: sphinx.NodeID{1}, Key: key.Public(), Recipient: &recipient}
	back := p.hop
	back.SURBID = &sphinx.SURBID{1}
	p.surb, _, err = sphinx.NewSURB(rand.Reader, []sphinx.Hop{back})
	return p, err
}

// packets returns packets with these requests.
func (p *path) packets(requests [][]byte) (packets [][]byte, err error) {
	for _, r := range requests {
		plain, err := sphinx.PackQuery(p.surb, r, p.payload)
		if err != nil {
			return nil, err
		}
		packet, err := sphinx.NewPacket(rand.Reader, []sphinx.Hop{p.hop}, plain)
		if err != nil {
			return nil, err
		}
		packets = append(packets, packet)
	}
	return packets, nil
}

// measure has the node take packets, of which it uses copies.
func (p *path) measure(t *timing, originals [][]byte, answer func([]byte) []byte) error {
	var packets [][]byte
	for _, packet := range originals {
		packets = append(packets, bytes.Clone(packet))
	}
	runtime.GC()
	began, err := processor()
	if err != nil {
		return err
	}
	// As a node does: one goroutine takes packets, each answer has one of its own.
	var group errgroup.Group
	group.SetLimit(answersAtOnce)
	for _, packet := range packets {
		u, err := p.key.Unwrap(packet)
		if err != nil || !u.Last {
			return errors.Join(fmt.Errorf("unwrap: %v", err), group.Wait())
		}
		if answer != nil {
			group.Go(func() error { return p.reply(u.Payload, answer) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	ended, err := processor()
	t.took += ended - began
	t.n += len(packets)
	return err
}

// reply answers a query and makes the packet of the reply.
func (p *path) reply(query []byte, answer func([]byte) []byte) error {
	surb, request, err := sphinx.UnpackQuery(query)
	if err != nil {
		return err
	}
	full := make([]byte, p.payload)
	reply := answer(request)
	copy(full, reply)
	if len(reply) < 2 || reply[0] == spool.Version && !spool.Status(reply[1]).Success() {
		return fmt.Errorf("answer: %x", reply)
	}
	_, _, err = sphinx.PacketFromSURB(surb, full)
	return err
}

// processor returns for how long this process was on a processor. Counted by it, a
// rate is that of a whole core also when others use the machine.
func processor() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("ask for time on the processor: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// reads returns reads of empty spools, each of another, which it makes.
func (m *measurement) reads(ctx context.Context, st server.Store, round int) (requests [][]byte, err error) {
	for n := range 500 {
		seed := make([]byte, ed25519.SeedSize)
		binary.BigEndian.PutUint64(seed, uint64(n)+1)
		key := ed25519.NewKeyFromSeed(seed)
		id := spool.IDOf(key.Public().(ed25519.PublicKey))
		if round == 0 {
			name := fmt.Sprintf("reader%d", n)
			e := server.Entry{Name: name, Hash: spool.HashName(name), Identity: key.Public().(ed25519.PublicKey), Version: 1, Spool: id}
			if err := st.Publish(ctx, e, server.Publication{Create: true, Now: time.Now()}); err != nil {
				return nil, err
			}
		}
		r := &spool.Read{Want: 1, Auth: spool.Auth{
			Instance: spool.Instance{1}, Nonce: uint64(round) + 1, Expiry: time.Now().Add(5 * time.Minute).Unix(),
		}}
		r.Sign(spool.ServiceOf("north.test"), key)
		raw, err := spool.EncodeRequest(r)
		if err != nil {
			return nil, err
		}
		requests = append(requests, raw)
	}
	if len(requests) == 0 {
		return nil, errors.New("no requests")
	}
	return requests, nil
}
