//go:build linux

package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"sync"
	"time"

	"mailproxy/mixnet/sphinx"
)

// packets are headers of packets through the mix to a sink, each with its number
// inside, and payloads of random bytes.
type packets struct {
	size    int // of a packet, in bytes
	headers []byte
	delays  []time.Duration
	noise   []byte // what payloads are cut from
}

// noiseSize is a prime, so that payloads differ in where they begin.
const noiseSize = 1048573

// makePackets makes n packets, on all cores. They are replies: a SURB's header names its
// SURB at its last hop, which is there for a number, and a payload is not verified
// but by who made the SURB.
func (w *world) makePackets(n int) (*packets, error) {
	p := w.doc.Parameters
	m := &packets{
		size: p.Packet(), headers: make([]byte, n*sphinx.HeaderSize), delays: make([]time.Duration, n),
		noise: make([]byte, noiseSize+p.Packet()),
	}
	if _, err := rand.Read(m.noise); err != nil {
		return nil, err
	}
	workers := runtime.NumCPU()
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			var seed [32]byte
			rand.Read(seed[:]) // never fails
			random := mathrand.New(mathrand.NewChaCha8(seed))
			for i := worker; i < n && errs[worker] == nil; i += workers {
				sink := w.sinks[random.IntN(len(w.sinks))]
				var id sphinx.SURBID
				binary.BigEndian.PutUint64(id[:], uint64(i))
				m.delays[i] = p.Delay(random.ExpFloat64)
				surb, _, err := sphinx.NewSURB(rand.Reader, []sphinx.Hop{
					{ID: w.node(mixName).ID(), Key: w.key, Delay: m.delays[i]},
					{ID: sink.id, Key: sink.key.Public(), Recipient: new(sphinx.Recipient), SURBID: &id},
				})
				copy(m.header(i), surb)
				errs[worker] = err
			}
		})
	}
	wg.Wait()
	return m, errors.Join(errs...)
}

func (m *packets) len() int { return len(m.delays) }

func (m *packets) header(i int) []byte {
	return m.headers[i*sphinx.HeaderSize : (i+1)*sphinx.HeaderSize]
}

// fill writes packet i into b, which has m.size bytes.
func (m *packets) fill(b []byte, i int) {
	copy(b, m.header(i))
	copy(b[sphinx.HeaderSize:], m.noise[i*7919%noiseSize:])
}

// number returns which of the packets arrived with that header.
func (s *sink) number(header []byte) (int, error) {
	packet := make([]byte, sphinx.Overhead)
	copy(packet, header)
	u, err := s.key.Unwrap(packet)
	if err != nil {
		return 0, fmt.Errorf("what arrived: %w", err)
	}
	return int(binary.BigEndian.Uint64(u.SURBID[:])), nil
}
