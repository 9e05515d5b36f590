package web

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"mailproxy/internal/qrcode"
)

// contactID names a contact in the address of a page, which browsers keep: it says
// nothing to anybody else, and nothing after the daemon's end.
func (s *Server) contactID(account, address string) string {
	mac := hmac.New(sha256.New, []byte(s.key))
	mac.Write([]byte(account + "\x00" + address))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// named finds the contact of a page. It answers itself, and returns false, where there
// is none.
func (s *Server) named(w http.ResponseWriter, r *http.Request) (c Contact, ok bool) {
	list, err := s.source.Contacts()
	for _, one := range list {
		if err == nil && s.contactID(one.Account, one.Address) == r.PathValue("id") {
			if c, err = s.source.Contact(one.Account, one.Address); err == nil {
				return c, true
			}
		}
	}
	if err != nil {
		s.failed(w, err)
	} else {
		http.NotFound(w, r)
	}
	return c, false
}

// contact answers with the page of one contact.
func (s *Server) contact(w http.ResponseWriter, r *http.Request, who *session) {
	c, ok := s.named(w, r)
	if !ok {
		return
	}
	v, _ := viewNamed("contacts")
	v.Title = c.Address
	d := data{View: v, Views: views, CSRF: who.csrf, State: s.source.State(), Contacts: []Contact{c}, ids: s.contactID}
	d.Headline, d.Notes = HeadlineOf(d.State), s.gate.notes(who)
	s.render(w, r, http.StatusOK, "contact", d)
}

// code answers with the QR code that the contact's mailproxy checks.
func (s *Server) code(w http.ResponseWriter, r *http.Request, _ *session) {
	c, ok := s.named(w, r)
	if !ok {
		return
	}
	code, err := qrcode.New(c.QR)
	if err != nil {
		s.failed(w, err)
		return
	}
	w.Header().Set("Content-Type", types[".svg"])
	s.write(w, []byte(code.SVG()))
}

// decide takes what the user has decided about a contact.
func (s *Server) decide(w http.ResponseWriter, r *http.Request) {
	if s.session(r) == nil {
		s.locked(w, r, http.StatusUnauthorized, "")
		return
	}
	c, ok := s.named(w, r)
	if !ok {
		return
	}
	s.change(func(f url.Values) string {
		if f.Get("do") == "forget" {
			return "/contacts" // their page is gone, if that worked
		}
		return "/contacts/" + r.PathValue("id")
	}, func(_ context.Context, f url.Values, _ *session) (string, error) {
		if f.Get("do") == "forget" && f.Get("sure") == "" {
			return "", errNotSure
		}
		return s.source.Decide(Decision{
			Do: f.Get("do"), Account: c.Account, Address: c.Address,
			Key: f.Get("key"), Number: f.Get("number"), LoseVerified: f.Get("lose_verified") != "",
		})
	})(w, r)
}

// errNotSure is the answer of who has not ticked the box.
var errNotSure = errors.New("nothing was forgotten: tick the box to say that their next key is to be trusted")

// profile sends Apple's configuration profile of an account, which the address of the
// page names by its place in the list.
func (s *Server) profile(w http.ResponseWriter, r *http.Request, _ *session) {
	set, err := s.source.Settings()
	if err != nil {
		s.failed(w, err)
		return
	}
	n, err := strconv.Atoi(r.PathValue("number"))
	if err != nil || n < 0 || n >= len(set.Accounts) {
		http.NotFound(w, r)
		return
	}
	b, err := s.source.Profile(set.Accounts[n])
	if err != nil {
		s.failed(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-apple-aspen-config")
	w.Header().Set("Content-Disposition", `attachment; filename="mailproxy.mobileconfig"`)
	s.write(w, b)
}
