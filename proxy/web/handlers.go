package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"
)

// maxForm bounds the body of a request, in bytes.
const maxForm = 1 << 16

// changeWait bounds how long a change waits for what is being written.
const changeWait = 30 * time.Second

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, v := range views {
		mux.HandleFunc("GET "+v.Path+exact(v.Path), s.member(func(w http.ResponseWriter, r *http.Request, who *session) {
			s.view(w, r, v, who)
		}))
	}
	mux.HandleFunc("GET /open", func(w http.ResponseWriter, r *http.Request) { s.locked(w, r, http.StatusOK, "") })
	mux.HandleFunc("POST /session", s.enter)
	mux.HandleFunc("GET /static/{name}", static)
	mux.HandleFunc("GET /live", s.member(s.live))
	mux.HandleFunc("GET /mailproxy-ca.pem", s.member(s.authority))
	mux.HandleFunc("POST /leave", s.change(to("/open"), s.leave))
	mux.HandleFunc("POST /mail/withdraw", s.change(to("/mail"), func(ctx context.Context, f url.Values, _ *session) (string, error) {
		return s.source.Withdraw(ctx, f.Get("id"))
	}))
	mux.HandleFunc("POST /mail/retry", s.change(to("/mail"), func(_ context.Context, f url.Values, _ *session) (string, error) {
		return "The mail is tried again at its next turn.", s.source.Retry(f.Get("id"))
	}))
	mux.HandleFunc("GET /contacts/{id}", s.member(s.contact))
	mux.HandleFunc("GET /contacts/{id}/code.svg", s.member(s.code))
	mux.HandleFunc("POST /contacts/{id}", s.decide)
	mux.HandleFunc("GET /profile/{number}", s.member(s.profile))
	mux.HandleFunc("POST /alarms/dismiss", s.change(to("/health"), func(_ context.Context, f url.Values, _ *session) (string, error) {
		return "The warning is dismissed. It comes back if its cause does.", s.source.Dismiss(f.Get("id"))
	}))
	return mux
}

// exact keeps the root's pattern from matching everything.
func exact(path string) string {
	if path == "/" {
		return "{$}"
	}
	return ""
}

// cookieName is the session's. Cookies of 127.0.0.1 are the same at all ports, so two
// daemons need two names.
func cookieName(r *http.Request) string {
	_, port, ok := cutLast(r.Host, ':')
	if !ok {
		port = "80"
	}
	return "mailproxy-" + port
}

func (s *Server) session(r *http.Request) *session {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return nil
	}
	return s.gate.session(c.Value)
}

// member lets only a browser with a session through.
func (s *Server) member(h func(http.ResponseWriter, *http.Request, *session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who := s.session(r)
		if who == nil {
			s.locked(w, r, http.StatusUnauthorized, "")
			return
		}
		h(w, r, who)
	}
}

// locked answers with the page that says how to get in; its script hands over the
// token of a link.
func (s *Server) locked(w http.ResponseWriter, r *http.Request, status int, problem string) {
	s.render(w, r, status, "locked", struct{ Problem string }{problem})
}

// enter exchanges a one-time token for a session.
func (s *Server) enter(w http.ResponseWriter, r *http.Request) {
	f, err := form(w, r)
	if err != nil {
		s.locked(w, r, http.StatusBadRequest, "The request could not be read.")
		return
	}
	cookie, err := s.gate.exchange(f.Get("token"))
	switch {
	case errors.Is(err, errUsed):
		s.log.Warn("web: a link to the status page was used a second time; what was opened with it is closed")
		s.locked(w, r, http.StatusForbidden, "This link was used before, and what was opened with it is closed now. If it was not you who opened it, "+
			"another program on this computer did.")
		return
	case err != nil:
		s.locked(w, r, http.StatusForbidden, "This link is wrong or too old: it works once, within five minutes.")
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r), Value: cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Server) leave(_ context.Context, _ url.Values, who *session) (string, error) {
	s.gate.close(who)
	return "", nil
}

// form reads the body of a request.
func form(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, err
	}
	return url.ParseQuery(string(b))
}

// to is for change: always the same view.
func to(path string) func(url.Values) string { return func(url.Values) string { return path } }

// change answers a form: it does what fn does, and has the view say what that returned.
func (s *Server) change(view func(url.Values) string, fn func(context.Context, url.Values, *session) (string, error)) http.HandlerFunc {
	return s.member(func(w http.ResponseWriter, r *http.Request, who *session) {
		f, err := form(w, r)
		if err != nil || who.forged(f.Get("csrf")) {
			http.Error(w, "This form is not of this page, or of an earlier time: go back, load the page again, and try once more.", http.StatusForbidden)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), changeWait)
		defer cancel()
		said, err := fn(ctx, f, who)
		if err != nil {
			said = "That did not work: " + clean(err.Error())
		}
		if said != "" {
			s.gate.note(who, said)
		}
		http.Redirect(w, r, view(f), http.StatusSeeOther)
	})
}

// authority sends the certificate that mail programs have to trust.
func (s *Server) authority(w http.ResponseWriter, r *http.Request, _ *session) {
	set, err := s.source.Settings()
	if err != nil {
		s.failed(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	w.Header().Set("Content-Disposition", `attachment; filename="mailproxy-ca.pem"`)
	s.write(w, set.CAPEM)
}

// view answers with a whole page.
func (s *Server) view(w http.ResponseWriter, r *http.Request, v view, who *session) {
	d, err := s.data(r.Context(), v, who)
	if err != nil {
		s.failed(w, err)
		return
	}
	d.Notes = s.gate.notes(who)
	s.render(w, r, http.StatusOK, v.Name, d)
}

func (s *Server) failed(w http.ResponseWriter, err error) {
	s.log.Error("web: page", "err", err)
	http.Error(w, "This page cannot be made: "+err.Error(), http.StatusInternalServerError)
}

func (s *Server) render(w http.ResponseWriter, _ *http.Request, status int, name string, data any) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		s.failed(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	s.write(w, b.Bytes())
}

func (s *Server) write(w io.Writer, b []byte) {
	if _, err := w.Write(b); err != nil {
		s.log.Debug("web: browser went away", "err", err)
	}
}
