package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// A config says what to do.
type config struct {
	kills, connections int
	life               time.Duration
	dir                string
}

// A torturer kills.
type torturer struct {
	config
	ledger  *ledger
	clients []*client
	ack     chan struct{} // told of acknowledgements
}

func newTorturer(c config) *torturer {
	t := &torturer{config: c, ledger: newLedger(), ack: make(chan struct{}, 1)}
	for id := range c.connections {
		u := &client{t: t, id: id}
		for _, name := range shared {
			u.folders = append(u.folders, &folder{name: name})
		}
		t.clients = append(t.clients, u)
	}
	return t
}

// prefix is what the names of the client's own folders begin with.
func (c *client) prefix() string { return fmt.Sprintf("own%d/", c.id) }

func (t *torturer) acknowledged() {
	select {
	case t.ack <- struct{}{}:
	default:
	}
}

// live starts the server, uses it, and kills it.
func (t *torturer) live(ctx context.Context, n int) error {
	socket := filepath.Join(t.dir, "socket")
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+t.dir, childSocket+"="+socket)
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
	for _, c := range t.clients {
		wg.Go(func() { t.use(alive, c, socket) })
	}
	early := t.wait(ctx, n, ended, &stderr)
	child.Process.Kill()
	stop()
	wg.Wait()
	if early == nil {
		<-ended
	}
	return early
}

// wait returns when it is time to kill, or why the server must not go on.
func (t *torturer) wait(ctx context.Context, n int, ended <-chan error, stderr *bytes.Buffer) error {
	gone := func(err error) error {
		return fmt.Errorf("the server ended by itself: %v: %s", err, stderr.String())
	}
	if n%3 != 2 { // the others fall into start-up and recovery as well
		select {
		case <-t.ack:
		case err := <-ended:
			return gone(err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-time.After(time.Duration(rand.Int64N(int64(t.life)))):
	case err := <-ended:
		return gone(err)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// use has one client work until the server is gone.
func (t *torturer) use(alive context.Context, c *client, socket string) {
	var conn net.Conn
	for conn == nil {
		if alive.Err() != nil {
			return
		}
		var err error
		if conn, err = net.Dial("unix", socket); err != nil {
			time.Sleep(time.Millisecond)
		}
	}
	defer conn.Close()
	stop := context.AfterFunc(alive, func() { conn.Close() })
	defer stop()
	if c.connect(conn) != nil {
		return
	}
	defer c.c.Close()
	for alive.Err() == nil && c.step() == nil {
	}
}
