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
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
)

// A config says what to do.
type config struct {
	kills, spools, clients int
	life                   time.Duration
	dir                    string
}

// A torturer kills.
type torturer struct {
	config
	ledger *ledger
	users  []user
	block  atomic.Int64  // number of the last block
	nonce  atomic.Uint64 // of the last request
	made   atomic.Int64  // number of the last name
	ack    chan struct{} // told of acknowledgements
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

func newTorturer(c config) *torturer {
	t := &torturer{config: c, ledger: newLedger(c.spools), ack: make(chan struct{}, 1)}
	for n := range c.spools {
		t.users = append(t.users, newUser(n))
	}
	t.made.Store(int64(c.spools))
	return t
}

// life starts the service, uses it, and kills it.
func (t *torturer) life(ctx context.Context, n int) error {
	socket := filepath.Join(t.dir, "socket")
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+filepath.Join(t.dir, "store"), childSocket+"="+socket)
	var stderr bytes.Buffer
	child.Stderr = &stderr
	if err := child.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	select {
	case <-t.ack: // of the life before
	default:
	}
	alive, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	client := func(work func(c *conn) error) {
		wg.Go(func() {
			c := t.dial(alive, socket)
			if c == nil {
				return
			}
			defer c.Close()
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

	moment := time.Duration(rand.Int64N(int64(t.config.life)))
	if n == 0 {
		moment = t.config.life // the names are made in the first
	}
	var early error
	if n%3 != 2 { // the others fall into start-up and recovery as well
		early = t.firstAnswer(ctx, ended, &stderr)
	}
	if early != nil {
		child.Process.Kill()
		stop()
		wg.Wait()
		return early
	}
	select {
	case <-time.After(moment):
	case early = <-ended:
		early = fmt.Errorf("the service ended by itself: %v: %s", early, stderr.String())
	case <-ctx.Done():
		early = ctx.Err()
	}
	if early == nil && n%3 == 1 {
		select {
		case <-t.ack:
		default:
		}
		select {
		case <-t.ack:
		case <-time.After(t.config.life):
		}
	}
	child.Process.Kill()
	stop()
	wg.Wait()
	if early == nil {
		<-ended
	}
	return early
}

// firstAnswer waits until the service has acknowledged something; in the first life,
// a block. However busy the machine is, each such life has something to lose.
func (t *torturer) firstAnswer(ctx context.Context, ended <-chan error, stderr *bytes.Buffer) error {
	for {
		select {
		case <-t.ack:
		case err := <-ended:
			return fmt.Errorf("the service ended by itself: %v: %s", err, stderr.String())
		case <-ctx.Done():
			return ctx.Err()
		}
		t.ledger.mu.Lock()
		acked := t.ledger.acked()
		t.ledger.mu.Unlock()
		if acked > 0 {
			return nil
		}
	}
}

// A conn asks the service.
type conn struct {
	net.Conn
	r *bufio.Reader
}

// dial waits for the service; nil if it never comes.
func (t *torturer) dial(alive context.Context, socket string) *conn {
	for alive.Err() == nil {
		c, err := net.Dial("unix", socket)
		if err == nil {
			context.AfterFunc(alive, func() { c.Close() })
			return &conn{c, bufio.NewReaderSize(c, 16<<10)}
		}
		time.Sleep(time.Millisecond)
	}
	return nil
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

func (t *torturer) acknowledged() {
	select {
	case t.ack <- struct{}{}:
	default:
	}
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
	t.acknowledged()
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
	t.acknowledged()
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
		t.acknowledged()
	} else {
		t.ledger.blame("register %s: %v", name, status)
	}
	return nil
}

func nameOf(n int) string { return fmt.Sprintf("user%d", n) }

// check opens the store and compares it with the ledger.
func (t *torturer) check(ctx context.Context) (err error) {
	st, err := badgerstore.Open(storeOptions(filepath.Join(t.dir, "store")))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	report, err := st.Verify(ctx, nil)
	if err != nil {
		return err
	}
	l := t.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.verified += int64(report.Blocks)
	for _, p := range report.Problems {
		l.blame("verify: %s", p)
	}
	for name := range l.names {
		if _, err := st.Lookup(ctx, name); err != nil {
			l.blame("name %s: %v", name, err)
		}
	}
	for i, a := range l.spools {
		if !l.names[nameOf(i)] {
			continue
		}
		present := make(map[int]bool)
		for cursor := uint64(0); ; {
			r, err := st.Read(ctx, t.users[i].spool(), cursor, 0)
			if err != nil {
				return err
			}
			if r.Seq == 0 {
				break
			}
			n := int(binary.BigEndian.Uint64(r.Block))
			if r.Seq <= a.trimmed {
				l.resurrected[n] = true
			}
			if present[n] {
				l.blame("block %d is there twice", n)
			}
			l.read(a, n, r.Seq)
			present[n], cursor = true, r.Seq
		}
		for n := range a.acked {
			seq, read := a.seqs[n]
			if present[n] {
				l.fresh++
			} else if !read || seq > a.issued {
				l.missing[n] = true
			}
		}
	}
	return nil
}
