package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"mailproxy/internal/address"
	"mailproxy/internal/control"
	"mailproxy/internal/invitation"
	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/server"
)

// What the command line asks the service: paths of the control socket.
const (
	pathStats   = "/v1/stats"
	pathUsers   = "/v1/users"
	pathUser    = "/v1/user"
	pathSuspend = "/v1/user/suspend"
	pathDelete  = "/v1/user/delete"
	pathInvites = "/v1/invites"
	pathRevoke  = "/v1/invites/revoke"
	pathWork    = "/v1/work"
	pathVerify  = "/v1/verify"
	pathGC      = "/v1/gc"
	pathBackup  = "/v1/backup"
)

// usersPage is how many users one answer lists.
const usersPage = 1000

// Bodies of requests.
type (
	suspendUser struct {
		Name      string `json:"name"`
		Suspended bool   `json:"suspended"`
	}
	deleteUser struct {
		Name string `json:"name"`
	}
	collect struct {
		TrustClock bool `json:"trust_clock"` // remove first what is too old by the clock of now
	}
	makeInvites struct {
		Count   int       `json:"count"`
		Expires time.Time `json:"expires"` // zero: never
		Note    string    `json:"note"`
		// Document is where to get the network document, if not as configured.
		Document string `json:"document"`
	}
	madeInvites struct {
		Invites []invite `json:"invitations"`
		Open    bool     `json:"open"` // registration is open, so nobody needs them
	}
	revokeInvite struct {
		ID string `json:"id"` // or the code
	}
	setWork struct {
		Bits  uint8     `json:"bits"` // 0: as configured
		Until time.Time `json:"until"`
	}
	verifyStore struct {
		DropDamaged bool `json:"drop_damaged"`
	}
)

// handler answers the command line.
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	get := func(path string, fn func(*http.Request) (any, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			body, err := fn(r)
			control.Answer(w, s.log, body, err)
		})
	}
	get(pathStats, func(r *http.Request) (any, error) { return s.stats(r.Context()) })
	get(pathUsers, func(r *http.Request) (any, error) { return s.users(r.Context(), r.URL.Query().Get("after")) })
	get(pathUser, func(r *http.Request) (any, error) { return s.user(r.Context(), r.URL.Query().Get("name")) })
	get(pathInvites, func(r *http.Request) (any, error) { return s.invites(r.Context()) })
	get(pathWork, func(*http.Request) (any, error) { return s.price(), nil })
	mux.HandleFunc("GET "+pathBackup, func(w http.ResponseWriter, r *http.Request) {
		control.Stream(w, s.log, func(w io.Writer) (any, error) { return ownStore{s.store}.backup(r.Context(), w) })
	})
	control.Handle(mux, s.log, pathSuspend, s.suspend)
	control.Handle(mux, s.log, pathDelete, s.delete)
	control.Handle(mux, s.log, pathInvites, s.invite)
	control.Handle(mux, s.log, pathRevoke, s.revokeInvite)
	control.Handle(mux, s.log, pathWork, s.setWork)
	control.Handle(mux, s.log, pathVerify, func(ctx context.Context, in verifyStore) (verified, error) {
		return ownStore{s.store}.verify(ctx, in.DropDamaged)
	})
	control.Handle(mux, s.log, pathGC, s.gc)
	return mux
}

// name is the name that an operator means by a name or an address.
func (s *service) name(given string) (string, error) {
	if !strings.Contains(given, "@") {
		given += "@" + s.provider
	}
	canonical, err := address.Canonical(given)
	if err != nil {
		return "", fmt.Errorf("%q: %w", given, err)
	}
	name, domain := address.Split(canonical)
	if domain != s.provider {
		return "", fmt.Errorf("%s is not at %s", canonical, s.provider)
	}
	return name, nil
}

func (s *service) users(ctx context.Context, after string) ([]user, error) {
	list, err := s.store.Users(ctx, after, usersPage)
	out := make([]user, 0, len(list))
	for _, u := range list {
		out = append(out, userOf(u, s.provider))
	}
	return out, err
}

func (s *service) user(ctx context.Context, given string) (user, error) {
	name, err := s.name(given)
	if err != nil {
		return user{}, err
	}
	// The store lists what follows a name. Names are in ASCII, so nothing is between
	// this and the name.
	last := len(name) - 1
	list, err := s.store.Users(ctx, name[:last]+string([]byte{name[last] - 1, 0xff}), 1)
	if err != nil {
		return user{}, err
	}
	if len(list) == 0 || list[0].Name != name {
		return user{}, s.noUser(name)
	}
	return userOf(list[0], s.provider), nil
}

func (s *service) noUser(name string) error {
	return fmt.Errorf("there is no user %s; \"mailspool user list\" shows those that there are", name)
}

// change makes a change to a user, and returns the user as it then is.
func (s *service) change(ctx context.Context, given string, fn func(name string) error) (user, error) {
	name, err := s.name(given)
	if err == nil {
		err = fn(name)
	}
	switch {
	case errors.Is(err, server.ErrNoName):
		return user{}, s.noUser(name)
	case errors.Is(err, server.ErrRevoked):
		return user{}, fmt.Errorf("%s was deleted, for good", name)
	case err != nil:
		return user{}, err
	}
	return s.user(ctx, name)
}

func (s *service) suspend(ctx context.Context, in suspendUser) (user, error) {
	return s.change(ctx, in.Name, func(name string) error { return s.store.Suspend(ctx, name, in.Suspended) })
}

func (s *service) delete(ctx context.Context, in deleteUser) (user, error) {
	return s.change(ctx, in.Name, func(name string) error { return s.store.Revoke(ctx, name, true, time.Now()) })
}

// mostInvites bounds how many are made by one command.
const mostInvites = 10_000

// maxNote bounds an invitation's note, in bytes.
const maxNote = 500

func (s *service) invite(ctx context.Context, in makeInvites) (out madeInvites, err error) {
	now := time.Now()
	switch {
	case in.Count < 1 || in.Count > mostInvites:
		return out, fmt.Errorf("%d invitations cannot be made at once: 1 to %d can", in.Count, mostInvites)
	case len(in.Note) > maxNote:
		return out, fmt.Errorf("the note has %d bytes, and %d is most", len(in.Note), maxNote)
	case !in.Expires.IsZero() && !in.Expires.After(now):
		return out, errors.New("an invitation that has expired is of no use: give a time ahead")
	}
	s.mu.Lock()
	out.Open = s.cfg.Registration.Policy == open
	whole := invitation.Invitation{
		Document: s.cfg.Registration.Document, Keys: s.cfg.Network.Keys, Threshold: s.cfg.Network.Threshold, Provider: s.cfg.Spool.Provider,
	}
	s.mu.Unlock()
	if in.Document != "" {
		whole.Document = in.Document
	}
	if whole.Document != "" { // before any is made
		if _, err := whole.String(); err != nil {
			return out, err
		}
	}
	for range in.Count {
		code := rand.Text() // 130 bits
		i := server.Invite{Hash: sha256.Sum256([]byte(code)), Created: now, Expires: in.Expires, Note: in.Note}
		if err := s.store.AddInvite(ctx, i); err != nil {
			return out, fmt.Errorf("%w; %d were made before, whose codes are lost: see \"mailspool invite list\"", err, len(out.Invites))
		}
		made := inviteOf(i, now)
		made.Code = code
		if whole.Document != "" {
			whole.Code = code
			if made.Invitation, err = whole.String(); err != nil {
				return out, err
			}
		}
		out.Invites = append(out.Invites, made)
	}
	return out, nil
}

func (s *service) invites(ctx context.Context) ([]invite, error) {
	list, err := s.store.Invites(ctx)
	now, out := time.Now(), make([]invite, 0, len(list))
	for _, i := range list {
		out = append(out, inviteOf(i, now))
	}
	return out, err
}

func (s *service) revokeInvite(ctx context.Context, in revokeInvite) (invite, error) {
	list, err := s.store.Invites(ctx)
	if err != nil {
		return invite{}, err
	}
	given := strings.TrimSpace(in.ID)
	byCode := sha256.Sum256([]byte(given))
	for _, i := range list {
		if inviteID(i.Hash) != strings.ToLower(given) && i.Hash != byCode {
			continue
		}
		if i.UsedBy != "" {
			return invite{}, fmt.Errorf("%s has used this invitation; \"mailspool user suspend\" or \"delete\" ends the account", i.UsedBy)
		}
		err := s.store.DeleteInvite(ctx, i.Hash)
		if errors.Is(err, server.ErrInvite) { // it was used, or forgotten, just now
			err = errors.New("the invitation has just changed: try again")
		}
		return inviteOf(i, time.Now()), err
	}
	return invite{}, errors.New("there is no such invitation; \"mailspool invite list\" shows those that there are")
}

func (s *service) gc(ctx context.Context, in collect) (out collected, err error) {
	removed := 0
	if in.TrustClock {
		if removed, err = s.server.TrustClock(ctx); err != nil {
			return out, err
		}
	}
	out, err = ownStore{s.store}.gc(ctx)
	out.Removed = removed
	return out, err
}

func (s *service) stats(ctx context.Context) (stats, error) {
	st, err := s.store.Stats(ctx)
	if err != nil {
		return stats{}, err
	}
	head, err := s.server.LogHead(ctx)
	if err != nil {
		return stats{}, err
	}
	invites, err := s.invites(ctx)
	if err != nil {
		return stats{}, err
	}
	stillOpen := 0
	for _, i := range invites {
		if i.State == "open" {
			stillOpen++
		}
	}
	dir := s.storeDir()
	disk, err := store.SizeOnDisk(dir)
	if err != nil {
		return stats{}, err
	}
	free, err := store.Free(dir)
	if err != nil {
		free = -1
	}
	appends := func(status spool.Status) uint64 { return s.server.Answers(spool.TypeAppend, status) }
	out := stats{
		Provider: s.provider, Started: *moment(s.started), Names: st.Names, Suspended: st.Suspended, Revoked: st.Revoked,
		Spools: st.Spools, Blocks: st.Blocks, Bytes: st.Bytes, Remembered: st.Remembered, Oldest: moment(st.Oldest),
		OpenInvites: stillOpen, LogRecords: head.Size, LogHead: hex.EncodeToString(head.Root[:]),
		DiskBytes: disk, DiskFree: free, Work: s.price(), Appended: appends(spool.StatusOK),
		RefusedFull: appends(spool.StatusFull), RefusedWork: appends(spool.StatusWork),
		RefusedKey: appends(spool.StatusAppendKey), RefusedBusy: appends(spool.StatusBusy),
		DroppedBlocks: s.server.Dropped(), SweptBlocks: s.server.Swept(),
	}
	for t := spool.Type(0); t <= spool.TypeLog; t++ {
		out.RefusedTemp += s.server.Answers(t, spool.StatusTemporary)
	}
	s.mu.Lock()
	out.Registration = s.cfg.Registration.Policy
	s.mu.Unlock()
	return out, nil
}
