package smtp

import (
	"errors"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"mailproxy/proxy/mailbox"
)

// AuthMechanisms lists the mechanisms in the order of preference.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain, sasl.Login} }

// Auth begins a login. The library has made sure that it may be made here.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	switch mechanism {
	case sasl.Plain:
		return &saslReplies{sasl.NewPlainServer(func(identity, username, password string) error {
			if identity != "" && identity != username {
				return reply(535, [3]int{5, 7, 8}, "logging in for another user is not possible")
			}
			return s.logIn(username, password)
		})}, nil
	case sasl.Login:
		return &loginServer{logIn: s.logIn}, nil
	}
	return nil, reply(504, [3]int{5, 5, 4}, "only AUTH PLAIN and AUTH LOGIN can be used here")
}

// logIn checks the password. A wrong one costs a moment, and the third of them
// the connection, so that other users of this machine cannot try many.
func (s *session) logIn(username, password string) error {
	if s.conn.over() {
		return errOver
	}
	ctx := s.server.ctx
	account, err := s.server.opts.Auth(ctx, username, password)
	switch {
	case err == nil && account == "":
		err = errors.New("the login opens no account")
	case err == nil:
		s.account = account
		s.conn.logIn(account)
		return nil
	case errors.Is(err, mailbox.ErrBadPassword):
		wait := time.NewTimer(wrongDelay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		if s.wrong++; s.wrong >= wrongLogins {
			s.conn.end()
		}
		return reply(535, [3]int{5, 7, 8}, "the user name or the password is wrong; "+
			"it must be the password that mailproxy gave this account, not that of another mail account; "+
			"if it is lost, this makes another: mailproxy account password ADDRESS")
	}
	s.server.log.Error("smtp: the password could not be checked", "err", err)
	return reply(454, [3]int{4, 7, 0}, "the password could not be checked now; try again later, and see mailproxy's log if it stays so")
}

// saslReplies answers malformed messages of a client with 501 (RFC 4954 section
// 4), where the library would say that trying again may help.
type saslReplies struct{ sasl.Server }

func (r *saslReplies) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = r.Server.Next(response)
	if known := (*gosmtp.SMTPError)(nil); err != nil && !errors.As(err, &known) {
		err = reply(501, [3]int{5, 5, 2}, "the login is malformed")
	}
	return challenge, done, err
}

// A loginServer is the server's side of AUTH LOGIN, which no RFC describes
// (draft-murchison-sasl-login-00 does): the server asks for the user name, then
// for the password. A client may send the user name at once.
type loginServer struct {
	logIn    func(username, password string) error
	username *string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case response == nil:
		return []byte("Username:"), false, nil
	case l.username == nil:
		name := string(response)
		l.username = &name
		return []byte("Password:"), false, nil
	}
	return nil, true, l.logIn(*l.username, string(response))
}
