package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"mailproxy/contrib/measure/torture"
	"mailproxy/spool"
)

// A torturer knows what was done to the service, and implements torture.Target.
type torturer struct {
	*torture.Loop
	*ledger
	users   []user
	clients int           // that append
	block   atomic.Int64  // number of the last block
	nonce   atomic.Uint64 // of the last request
	made    atomic.Int64  // number of the last name
}

// A user has a spool.
type user struct{ identity, read ed25519.PrivateKey }

func (u *user) spool() spool.ID { return spool.IDOf(u.read.Public().(ed25519.PublicKey)) }

// newUser returns the user of a number.
func newUser(n int) user {
	key := func(role byte) ed25519.PrivateKey {
		return ed25519.NewKeyFromSeed(append(binary.BigEndian.AppendUint64(make([]byte, 0, 32), uint64(n)), bytes.Repeat([]byte{role}, 24)...))
	}
	return user{key(1), key(2)}
}

func newTorturer(o torture.Options, spools, clients int) *torturer {
	t := &torturer{ledger: newLedger(spools), clients: clients}
	t.Loop = torture.New(o, servicePart, t)
	for n := range spools {
		t.users = append(t.users, newUser(n))
	}
	t.made.Store(int64(spools))
	return t
}

// Clients implements torture.Target.
func (t *torturer) Clients() (list []torture.Client) {
	client := func(work func(c *conn) error) {
		list = append(list, func(alive context.Context, to net.Conn) {
			c := &conn{to, bufio.NewReaderSize(to, 16<<10)}
			for alive.Err() == nil && work(c) == nil {
			}
		})
	}
	for range t.clients {
		client(t.append)
	}
	for i := range t.users {
		client(func(c *conn) error { return t.reading(c, i) })
	}
	client(t.register)
	return list
}

// Started implements torture.Target: names come first, and are no loss.
func (t *torturer) Started() bool {
	t.ledger.mu.Lock()
	defer t.ledger.mu.Unlock()
	return t.ledger.acked() > 0
}

// A conn asks the service.
type conn struct {
	net.Conn
	r *bufio.Reader
}

// ask returns the status also of a refusal; an error means that there is no answer.
func (t *torturer) ask(c *conn, r spool.Request, reply any) (spool.Status, error) {
	request, err := spool.EncodeRequest(r)
	if err == nil {
		err = send(c, request)
	}
	if err != nil {
		return 0, err
	}
	raw, err := receive(c.r)
	if err != nil {
		return 0, err
	}
	status, err := spool.DecodeReply(raw, reply)
	if refused := (*spool.Refused)(nil); errors.As(err, &refused) {
		t.ledger.mu.Lock()
		defer t.ledger.mu.Unlock()
		if refused.Status != spool.StatusNoSpool || len(t.ledger.names) == len(t.users) {
			t.ledger.refused++
		}
		return refused.Status, nil
	}
	return status, err
}

func blockOf(n int) []byte {
	b := make([]byte, spool.BlockSize)
	binary.BigEndian.PutUint64(b, uint64(n))
	return b
}

// append appends a block to some spool, now and then one that was appended before.
func (t *torturer) append(c *conn) error {
	i, n := rand.IntN(len(t.users)), int(t.block.Add(1))
	if rand.IntN(10) == 0 {
		t.ledger.mu.Lock()
		for old := range t.ledger.spools[i].acked {
			n = old
			break
		}
		t.ledger.mu.Unlock()
	}
	status, err := t.ask(c, &spool.Append{Spool: t.users[i].spool(), Block: blockOf(n)}, new(spool.Empty))
	t.ledger.mu.Lock()
	defer t.ledger.mu.Unlock()
	switch {
	case err != nil:
		t.ledger.broken++
		return err
	case !status.Success():
		return nil
	case status == spool.StatusKnown:
		t.ledger.known++
	default:
		t.ledger.appends++
		if t.ledger.spools[i].acked[n] {
			t.ledger.blame("block %d was stored, though it was before", n)
		}
	}
	t.ledger.spools[i].acked[n] = true
	t.Acknowledged()
	return nil
}

func (t *torturer) auth(spoolNumber int) spool.Auth {
	return spool.Auth{Instance: spool.Instance{byte(spoolNumber)}, Nonce: t.nonce.Add(1), Expiry: time.Now().Add(5 * time.Minute).Unix()}
}

// reading reads the next block of a spool, with a cursor at the one before: at
// most, so that some blocks are still there.
func (t *torturer) reading(c *conn, i int) error {
	a, u := t.ledger.spools[i], &t.users[i]
	t.ledger.mu.Lock()
	var newest uint64
	for _, seq := range a.seqs {
		newest = max(newest, seq)
	}
	cursor := a.issued
	if newest > cursor+5 {
		cursor = newest - uint64(rand.IntN(5))
	}
	a.issued = cursor
	t.ledger.mu.Unlock()
	r := &spool.Read{Cursor: cursor, Want: newest + 1, Auth: t.auth(i)}
	r.Sign(spool.ServiceOf(provider), u.read)
	var reply spool.ReadReply
	status, err := t.ask(c, r, &reply)
	if err != nil || !status.Success() {
		return err
	}
	t.ledger.mu.Lock()
	t.ledger.reads++
	a.trimmed = max(a.trimmed, cursor)
	if err := reply.Check(cursor); err != nil {
		t.ledger.blame("spool %d: %v", i, err)
	} else if reply.Seq != 0 {
		t.ledger.read(a, int(binary.BigEndian.Uint64(reply.Block)), reply.Seq)
	}
	t.ledger.mu.Unlock()
	t.Acknowledged()
	if reply.Highest <= newest {
		time.Sleep(time.Millisecond)
	}
	return nil
}

// read notes a block that was seen under a number. l.mu is held.
func (l *ledger) read(a *account, n int, seq uint64) {
	if have, ok := a.seqs[n]; ok && have != seq {
		l.blame("block %d is there as %d and as %d", n, have, seq)
	}
	a.seqs[n] = seq
}

// register makes the names of the spools, and then others.
func (t *torturer) register(c *conn) error {
	t.ledger.mu.Lock()
	n := len(t.users)
	for i := range t.users {
		if !t.ledger.names[nameOf(i)] {
			n = i
			break
		}
	}
	t.ledger.mu.Unlock()
	if n == len(t.users) {
		time.Sleep(20 * time.Millisecond)
		n = int(t.made.Add(1))
	}
	u, name := newUser(n), nameOf(n)
	b := &spool.Bundle{
		Format: spool.BundleFormat, Address: name + "@" + provider, Version: 1, Spool: u.spool(),
		Identity: u.identity.Public().(ed25519.PublicKey), Static: make([]byte, spool.StaticSize),
		Prekey: spool.Prekey{ID: make([]byte, spool.PrekeyIDSize), Public: make([]byte, spool.PrekeySize)},
	}
	signed, err := b.Sign(u.identity)
	if err != nil {
		return err
	}
	r := &spool.Register{Bundle: *signed, Auth: t.auth(n)}
	r.Sign(spool.ServiceOf(provider), u.identity, u.read)
	status, err := t.ask(c, r, new(spool.Empty))
	if err != nil {
		return err
	}
	t.ledger.mu.Lock()
	defer t.ledger.mu.Unlock()
	if status.Success() {
		t.ledger.names[name] = true
		t.Acknowledged()
	} else {
		t.ledger.blame("register %s: %v", name, status)
	}
	return nil
}

func nameOf(n int) string { return fmt.Sprintf("user%d", n) }
