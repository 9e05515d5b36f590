package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"mailproxy/internal/address"
)

const pathPassword = "/v1/accounts/password"

// ChangePassword is the body of a request to give an account another password for mail
// programs.
type ChangePassword struct {
	Address  string `json:"address"`
	Password string `json:"password,omitempty"` // empty: one is made
}

// ChangedPassword is the answer to it.
type ChangedPassword struct {
	Address  string `json:"address"`
	Password string `json:"password,omitempty"`
}

// ChangePassword gives an account another password. Once it returns nil that is on disk,
// the one before opens nothing any more, and who was logged in with it is not.
func (d *Daemon) ChangePassword(in ChangePassword) (ChangedPassword, error) {
	fail := func(err error) (ChangedPassword, error) {
		return ChangedPassword{}, fmt.Errorf("change the password of %s: %w", in.Address, err)
	}
	canonical, err := address.Canonical(in.Address)
	if err != nil {
		return fail(err)
	}
	out := ChangedPassword{Address: canonical, Password: in.Password}
	if out.Password == "" {
		out.Password = NewPassword()
	}
	var hashed accountRecord
	if err := hashed.setPassword(out.Password); err != nil {
		return fail(err)
	}
	// Nobody takes the account away meanwhile: its record would come back without it.
	d.starting.Lock()
	defer d.starting.Unlock()
	a := d.account(canonical)
	switch {
	case a == nil:
		return fail(errors.New("there is no such account here; \"mailproxy account list\" says which there are"))
	case a.owner != "":
		return fail(fmt.Errorf("it is an alias, and has none of its own; mail programs log in as %s: mailproxy account password %s", a.owner, a.owner))
	}
	if err := a.changeRecord(func(r *accountRecord) { r.Salt, r.Hash = hashed.Salt, hashed.Hash }); err != nil {
		return fail(err)
	}
	for _, s := range d.logins {
		s.LogOut(canonical)
	}
	return out, nil
}

// ChangePassword gives an account another password for mail programs.
func (c *Controller) ChangePassword(ctx context.Context, in ChangePassword) (out ChangedPassword, err error) {
	err = c.do(ctx, http.MethodPost, pathPassword, in, &out)
	return out, err
}
