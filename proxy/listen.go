package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"mailproxy/imap"
	"mailproxy/pop3"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/ports"
	"mailproxy/proxy/web"
	"mailproxy/smtp"
)

// server is what the front ends have in common.
type server interface {
	Serve(net.Listener) error
	Close() error
}

// logins is a front end into which accounts log in.
type logins interface {
	// LogOut ends the connections that are logged in as account, and those that might
	// be in the middle of it. It waits for none to end.
	LogOut(account string)
}

// listen opens the ports and starts the front ends.
func (d *Daemon) listen() error {
	config := d.opt.Listen
	mailer, err := smtp.New(smtp.Options{
		Submitter: d.outbox, Auth: d.authenticate, TLS: d.cert.TLS(), AllowPlaintext: config.AllowPlaintext,
		MaxMessage: outbox.MaxMessage, Logger: d.log,
	})
	if err != nil {
		return fmt.Errorf("offer smtp: %w", err)
	}
	folders := imap.New(imap.Options{
		Mailboxes: d.mail, Auth: d.authenticate, TLS: d.cert.TLS(), AllowPlaintext: config.AllowPlaintext, Logger: d.log,
		MaxMessage: outbox.MaxMessage,
	})
	maildrop := pop3.New(pop3.Options{
		Mailboxes: d.mail, Auth: d.authenticate, TLS: d.cert.TLS(), AllowPlaintext: config.AllowPlaintext, Logger: d.log,
	})
	d.page = web.New(web.Options{Source: pageSource{d}, Now: d.opt.Now, Logger: d.log})
	d.servers = []server{mailer, folders, maildrop, d.page}
	d.logins = []logins{mailer, folders, maildrop}
	// inTLS is for front ends that see by the connection that it is secure.
	inTLS := func(serve func(net.Listener) error) func(net.Listener) error {
		return func(l net.Listener) error { return serve(tls.NewListener(l, d.cert.TLS())) }
	}
	for _, e := range []struct {
		name, address string
		serve         func(net.Listener) error
		optional      bool
	}{
		{"smtp", config.SMTP, mailer.Serve, false},
		{"imap", config.IMAP, folders.Serve, false},
		{"pop3", config.POP3, maildrop.Serve, false},
		{"smtps", config.SMTPS, mailer.ServeTLS, true},
		{"imaps", config.IMAPS, inTLS(folders.Serve), true},
		{"pop3s", config.POP3S, inTLS(maildrop.Serve), true},
		{"web", config.Web, d.page.Serve, true},
	} {
		if e.optional && e.address == "" {
			continue
		}
		l, err := d.openPort(e.address)
		if err != nil {
			return fmt.Errorf("offer %s: %w", e.name, err)
		}
		d.addresses[e.name] = l.Addr()
		d.wg.Go(func() {
			if err := e.serve(l); err != nil && d.ctx.Err() == nil {
				d.log.Error("proxy: a front end stopped", "protocol", e.name, "err", err)
			}
		})
	}
	return nil
}

// openPort listens at an address, or at another port where that is allowed.
func (d *Daemon) openPort(address string) (net.Listener, error) {
	l, err := ports.Listen(address)
	var taken *ports.TakenError
	if !errors.As(err, &taken) || !d.opt.FreePorts {
		return l, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if l, err = ports.Listen(net.JoinHostPort(host, "0")); err == nil && d.opt.Taken != nil {
		d.opt.Taken(taken, l.Addr().String())
	}
	return l, err
}

// Address returns where a front end listens: "smtp", "imap" or "pop3", which begin in
// plain text, "smtps", "imaps" or "pop3s", which begin with TLS, or "web", the status page;
// nil if it does not.
func (d *Daemon) Address(protocol string) net.Addr { return d.addresses[protocol] }
