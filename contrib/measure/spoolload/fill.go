//go:build linux

package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
)

// A measurement is what was made and found so far.
type measurement struct {
	config
	began   time.Time
	figures []figure
	st      *badgerstore.Store
	blockN  atomic.Int64 // blocks made
}

func (m *measurement) options(dir string) badgerstore.Options {
	o := badgerstore.Options{Dir: dir}
	if !m.plain {
		o.Key = make([]byte, store.KeySize)
	}
	return o
}

// open opens the store that fill has made, if it is not.
func (m *measurement) open() (err error) {
	if m.st == nil {
		m.st, err = badgerstore.Open(m.options(m.storeDir()))
	}
	return err
}

func (m *measurement) close() {
	if m.st != nil {
		if err := m.st.Close(); err != nil {
			m.say("%v", err)
		}
		m.st = nil
	}
}

// spoolOf returns the spool of a number. The first tenth stay empty.
func spoolOf(n int) (id spool.ID) {
	copy(id[:], "spoolload")
	binary.BigEndian.PutUint64(id[24:], uint64(n))
	// Keys of users have no order.
	return spool.ID(spool.BlockIDOf(id[:]))
}

func (m *measurement) emptySpools() int { return m.spools / 10 }

// newBlock returns a block like no other.
func (m *measurement) newBlock() []byte {
	b := make([]byte, spool.BlockSize)
	rand.Read(b[:64])
	binary.BigEndian.PutUint64(b, uint64(m.blockN.Add(1)))
	for n := 64; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
	return b
}

func appendTo(ctx context.Context, st server.Store, id spool.ID, block []byte) error {
	known, err := st.Append(ctx, server.Append{
		Spool: id, ID: spool.BlockIDOf(block), Block: block, Lane: spool.LaneContacts, Now: time.Now(),
		MaxBlocks: 20_000, MaxBytes: 20_000 * spool.BlockSize, MaxIDs: 100_000,
	})
	if err == nil && known {
		err = errors.New("a new block is known")
	}
	return err
}

// each calls fn for the numbers from one to before another, by several at once.
func (m *measurement) each(ctx context.Context, what string, workers, from, to int, fn func(n int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := atomic.Int64{}
	next.Store(int64(from))
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1) - 1)
				if n >= to {
					return
				}
				if err := fn(n); err != nil {
					cancel(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return context.Cause(ctx)
		case <-tick.C:
			m.say("%s: %d of %d", what, min(next.Load(), int64(to)), to)
		}
	}
}

// publish makes the names of spools, with key bundles of their real size.
func (m *measurement) publish(ctx context.Context, st server.Store, spools int) error {
	return m.each(ctx, "names", 256, 0, spools, func(n int) error {
		id := spoolOf(n)
		name := "user" + strconv.Itoa(n)
		e := server.Entry{
			Name: name, Hash: spool.HashName(name + "@north.test"), Identity: ed25519.PublicKey(id[:]), Version: 1, Spool: id,
			Bundle: spool.SignedBundle{Body: append(make([]byte, 1500), id[:]...), Signature: make([]byte, 64)},
		}
		return st.Publish(ctx, e, server.Publication{Create: true, Now: time.Now()})
	})
}

func (m *measurement) fill(ctx context.Context) error {
	if err := m.open(); err != nil {
		return err
	}
	began := time.Now()
	if err := m.publish(ctx, m.st, m.spools); err != nil {
		return err
	}
	m.add("names made", "/s", "names_per_s", "%.0f", float64(m.spools)/time.Since(began).Seconds())
	began = time.Now()
	if err := m.fillBlocks(ctx, m.blocks); err != nil {
		return err
	}
	m.add("blocks filled in, 256 clients", "/s", "fill_per_s", "%.0f", float64(m.blocks)/time.Since(began).Seconds())
	return nil
}

// fillBlocks has the store hold so many blocks, in nine tenths of the spools.
func (m *measurement) fillBlocks(ctx context.Context, blocks int) error {
	st, err := m.st.Stats(ctx)
	if err != nil {
		return err
	}
	first := m.emptySpools()
	return m.each(ctx, "blocks", 256, st.Blocks, blocks, func(n int) error {
		return appendTo(ctx, m.st, spoolOf(first+n%(m.spools-first)), m.newBlock())
	})
}
