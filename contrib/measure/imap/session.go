package main

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/emersion/go-imap/v2/imapclient"
	"time"
)

// The one user of both servers.
const (
	user     = "user@example.net"
	password = "correct-horse-battery"
)

// A session is a round's two connections to one server.
type session struct {
	server         *server
	mails          [][]byte
	folder, moved  string
	watched        string // by IDLE
	client, second *imapclient.Client
	idle           *imapclient.IdleCommand
	exists         atomic.Uint32 // the last number that client was told
	news           chan struct{} // has a value after that changed
	wakes          []time.Duration
}

// open logs in twice and makes the round's folders.
func open(v *server, mails [][]byte, round int) (*session, error) {
	s := &session{
		server: v, mails: mails, news: make(chan struct{}, 1),
		folder: fmt.Sprintf("Round%d", round), moved: fmt.Sprintf("Moved%d", round), watched: fmt.Sprintf("Watched%d", round),
	}
	var err error
	if s.client, err = dial(v.address, func(n uint32) {
		s.exists.Store(n)
		select {
		case s.news <- struct{}{}:
		default:
		}
	}); err != nil {
		return nil, fmt.Errorf("%s: %w", v.name, err)
	}
	if s.second, err = dial(v.address, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", v.name, errors.Join(err, s.client.Close()))
	}
	for _, f := range []string{s.folder, s.moved} {
		if err := s.client.Create(f, nil).Wait(); err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, errors.Join(err, s.close()))
		}
	}
	return s, nil
}

// dial logs in. exists, if there is one, hears how many messages the folder has.
func dial(address string, exists func(uint32)) (*imapclient.Client, error) {
	return dialAs(address, user, exists)
}

func dialAs(address, user string, exists func(uint32)) (*imapclient.Client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	o := &imapclient.Options{}
	if exists != nil {
		o.UnilateralDataHandler = &imapclient.UnilateralDataHandler{Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				exists(*d.NumMessages)
			}
		}}
	}
	c := imapclient.New(conn, o)
	if err := c.Login(user, password).Wait(); err != nil {
		return nil, errors.Join(fmt.Errorf("log in: %w", err), c.Close())
	}
	// go-imap asks for the capabilities after a login on its own; they decide how a
	// literal is sent.
	c.Caps()
	return c, nil
}

func (s *session) close() error {
	return errors.Join(s.client.Logout().Wait(), s.second.Logout().Wait())
}
