package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"mailproxy/internal/address"
)

// The control API is HTTP with JSON bodies on a Unix socket in the data
// directory, which its owner alone can open. The command line talks to it; the
// store's files are never opened by two.
const (
	pathStatus   = "/v1/status"
	pathAlarm    = "/v1/alarms/dismiss"
	pathAccounts = "/v1/accounts"
	pathEnd      = "/v1/accounts/end"
	pathContacts = "/v1/contacts"
	pathBlock    = "/v1/contacts/block"
)

// maxSocketPath is the longest path of a Unix socket that all systems take.
const maxSocketPath = 100

// registerWait bounds how long adding an account waits for its provider.
const registerWait = 2 * time.Minute

// socketPath returns where the daemon with that data directory listens: in it,
// or if that path is too long for a socket, in a directory of the user's own
// among the temporary files.
func socketPath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find control socket: %w", err)
	}
	if p := filepath.Join(abs, "control.sock"); len(p) <= maxSocketPath {
		return p, nil
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(os.TempDir(), fmt.Sprintf("mailproxy-%d-%s", os.Getuid(), hex.EncodeToString(sum[:6])), "control.sock"), nil
}

// checkSocket refuses a directory among the temporary files that others can use: one
// of them may have made it first, to answer there in the daemon's place and be told
// passwords.
func checkSocket(dir, path string) error {
	parent := filepath.Dir(path)
	if abs, err := filepath.Abs(dir); err != nil || parent == abs {
		return err
	}
	info, err := os.Lstat(parent)
	if err != nil {
		return err
	}
	if !info.IsDir() || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("others can use %s, and may have made it: remove it, or choose a data directory with a shorter path", parent)
	}
	return nil
}

// NewAccount is the body of a request to add an account.
type NewAccount struct {
	Address     string `json:"address"`
	DisplayName string `json:"display_name,omitempty"`
	Password    string `json:"password,omitempty"` // empty: one is made
	Invite      string `json:"invite,omitempty"`   // code of an invitation
}

// AddedAccount is the answer to it.
type AddedAccount struct {
	Address  string `json:"address"`
	Password string `json:"password"`
	// Problem says why the provider has not taken the account, if it has not.
	Problem string `json:"problem,omitempty"`
}

type controlError struct {
	Error string `json:"error"`
}

// ServeControl answers the command line until ctx ends.
func (d *Daemon) ServeControl(ctx context.Context) error {
	path, err := socketPath(d.opt.Dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	if err := checkSocket(d.opt.Dir, path); err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	// The store's lock says that no other daemon uses this directory, so a socket
	// that is there is one that a crash left.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("protect control socket: %w", err), l.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, func(w http.ResponseWriter, _ *http.Request) { d.answer(w, d.Status(), nil) })
	mux.HandleFunc("GET "+pathAccounts, func(w http.ResponseWriter, _ *http.Request) { d.answer(w, d.Status().Accounts, nil) })
	mux.HandleFunc("POST "+pathAccounts, func(w http.ResponseWriter, r *http.Request) {
		added, err := d.addFromControl(r)
		d.answer(w, added, err)
	})
	mux.HandleFunc("POST "+pathEnd, func(w http.ResponseWriter, r *http.Request) {
		var in EndAccount
		err := readRequest(r, &in)
		if err == nil {
			err = d.End(r.Context(), in)
		}
		d.answer(w, struct{}{}, err)
	})
	mux.HandleFunc("GET "+pathContacts, func(w http.ResponseWriter, r *http.Request) {
		list, err := d.Contacts(r.URL.Query().Get("account"))
		d.answer(w, list, err)
	})
	mux.HandleFunc("POST "+pathBlock, func(w http.ResponseWriter, r *http.Request) {
		var in BlockContact
		err := readRequest(r, &in)
		var out BlockedContact
		if err == nil {
			out, err = d.Block(in)
		}
		d.answer(w, out, err)
	})
	mux.HandleFunc("POST "+pathAlarm, func(w http.ResponseWriter, r *http.Request) {
		d.answer(w, struct{}{}, d.dismissFromControl(r))
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() }) // Serve returns on it
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

func (d *Daemon) addFromControl(r *http.Request) (AddedAccount, error) {
	var in NewAccount
	if err := readRequest(r, &in); err != nil {
		return AddedAccount{}, err
	}
	canonical, err := address.Canonical(in.Address)
	if err != nil {
		return AddedAccount{}, fmt.Errorf("add account %s: %w", in.Address, err)
	}
	in.Address = canonical // what the user is told is what mail programs are to show
	password, err := d.AddAccount(r.Context(), in)
	if err != nil {
		return AddedAccount{}, err
	}
	added := AddedAccount{Address: in.Address, Password: password}
	ctx, cancel := context.WithTimeout(r.Context(), registerWait)
	defer cancel()
	err = d.WaitRegistered(ctx, in.Address)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		added.Problem = err.Error()
	default: // refused for good: do not keep what can never work
		if a := d.account(in.Address); a != nil {
			err = errors.Join(err, d.forget(a))
		}
		return AddedAccount{}, err
	}
	return added, nil
}

// readRequest reads the body of a request, which has nothing in that in has not.
func readRequest(r *http.Request, in any) error {
	dec := json.NewDecoder(io.LimitReader(r.Body, 1<<16))
	dec.DisallowUnknownFields()
	if err := dec.Decode(in); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	return nil
}

func (d *Daemon) answer(w http.ResponseWriter, body any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		body = controlError{err.Error()}
	}
	if err := json.NewEncoder(w).Encode(body); err != nil {
		d.log.Debug("proxy: control client went away", "err", err)
	}
}

// A Controller talks to a running daemon.
type Controller struct {
	http http.Client
	dir  string
}

// Control returns a controller of the daemon whose data directory is dir.
func Control(dir string) *Controller {
	return &Controller{dir: dir, http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			path, err := socketPath(dir)
			if err != nil {
				return nil, err
			}
			if err := checkSocket(dir, path); err != nil {
				return nil, err
			}
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", path)
		},
	}}}
}

// Status asks for the daemon's status.
func (c *Controller) Status(ctx context.Context) (s Status, err error) {
	err = c.do(ctx, http.MethodGet, pathStatus, nil, &s)
	return s, err
}

// AddAccount adds an account.
func (c *Controller) AddAccount(ctx context.Context, in NewAccount) (out AddedAccount, err error) {
	err = c.do(ctx, http.MethodPost, pathAccounts, in, &out)
	return out, err
}

// End revokes or deletes an account.
func (c *Controller) End(ctx context.Context, in EndAccount) error {
	return c.do(ctx, http.MethodPost, pathEnd, in, &struct{}{})
}

// Contacts lists whom an account knows; an empty account stands for the only one.
func (c *Controller) Contacts(ctx context.Context, account string) (list []ContactStatus, err error) {
	err = c.do(ctx, http.MethodGet, pathContacts+"?account="+url.QueryEscape(account), nil, &list)
	return list, err
}

// Block blocks or unblocks a contact.
func (c *Controller) Block(ctx context.Context, in BlockContact) (out BlockedContact, err error) {
	err = c.do(ctx, http.MethodPost, pathBlock, in, &out)
	return out, err
}

func (c *Controller) do(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("ask daemon: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://mailproxy"+path, &body)
	if err != nil {
		return fmt.Errorf("ask daemon: %w", err)
	}
	resp, err := c.http.Do(req)
	var cause *url.Error // which quotes an address that nobody knows
	if errors.As(err, &cause) {
		err = cause.Err
	}
	if err != nil {
		return fmt.Errorf("no daemon answers for %s; start it with \"mailproxy run\" and try again: %w", c.dir, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var e controlError
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
			return fmt.Errorf("ask daemon: it answered %s", resp.Status)
		}
		return errors.New(e.Error)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("ask daemon: %w", err)
	}
	return nil
}
