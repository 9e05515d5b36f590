package main

import (
	"context"
	"fmt"
	"net"

	"mailproxy/contrib/measure/torture"
)

// A torturer knows what was done to the server, and implements torture.Target.
type torturer struct {
	*torture.Loop
	*ledger
	clients []*client
}

func newTorturer(o torture.Options, connections int) *torturer {
	t := &torturer{ledger: newLedger()}
	t.Loop = torture.New(o, serverPart, t)
	for id := range connections {
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

// Clients implements torture.Target.
func (t *torturer) Clients() (list []torture.Client) {
	for _, c := range t.clients {
		list = append(list, c.use)
	}
	return list
}

// Started implements torture.Target: whatever was acknowledged can be lost.
func (t *torturer) Started() bool { return true }

// use has the client work until the server is gone.
func (c *client) use(alive context.Context, conn net.Conn) {
	if c.connect(conn) != nil {
		return
	}
	defer c.c.Close()
	for alive.Err() == nil && c.step() == nil {
	}
}
