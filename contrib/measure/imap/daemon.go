package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"mailproxy/contrib/measure/daemon"
	"mailproxy/internal/child"
	"mailproxy/internal/demo"
	"mailproxy/proxy"
	"mailproxy/proxy/mailbox"
)

// A fillRequest asks the daemon's process for messages in the inbox.
type fillRequest struct{ Messages, Size int }

// runDaemon runs the daemon of a configuration. It says where its IMAP listener is, and
// fills the inbox when asked to.
func runDaemon(config string) error {
	return daemon.Run(config, func(d *proxy.Daemon) error {
		if err := child.Say(d.Address("imap").String()); err != nil {
			return err
		}
		return child.Serve(func(r fillRequest) (struct{}, error) {
			return struct{}{}, fill(d, r.Messages, r.Size)
		})
	})
}

// fill puts n messages into the inbox, nearly all of them read.
func fill(d *proxy.Daemon, n, size int) error {
	box, err := d.Mailbox(demo.Alice)
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < n; {
		var list []mailbox.Delivery
		for ; len(list) < 256 && i < n; i++ {
			m := mailbox.Delivery{Raw: makeMail(r, i, size), Date: time.Now().Add(time.Duration(i-n) * time.Minute)}
			if i%unreadEvery != 0 {
				m.Flags = []string{mailbox.FlagSeen}
			}
			list = append(list, m)
		}
		if _, err := box.DeliverAll(mailbox.Inbox, list); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	return nil
}
