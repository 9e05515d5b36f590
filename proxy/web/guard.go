package web

import (
	"context"
	"net"
	"net/http"
	"net/netip"

	"mailproxy/proxy/ports"
)

// headers are those of every answer. The page loads nothing but its own files, runs
// no script that stands in it, is in nobody's frame, and names itself to nobody.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), microphone=(), geolocation=()",
	"Cache-Control":                "no-store",
}

// guard lets through only what a browser of this user asks for this very page: the
// Host is ours, so that no name that was bound to 127.0.0.1 gets at it (DNS
// rebinding); the request comes from none of another origin's pages; and, where the
// system tells, its process is this user's.
func (s *Server) guard(h http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range headers {
			w.Header().Set(name, value)
		}
		switch {
		case !s.ours(r):
			http.Error(w, "This is mailproxy's status page, at another address than the one that was asked for. Run: mailproxy page", http.StatusMisdirectedRequest)
		case stranger(r.Context()):
			s.log.Warn("web: another user of this computer asked for the status page, and was refused")
			http.Error(w, "This status page belongs to another user of this computer.", http.StatusForbidden)
		case cross.Check(r) != nil, foreign(r):
			http.Error(w, "This request came from another page, and is refused.", http.StatusForbidden)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// ours reports whether the request names an address that we listen on. Only literal
// loopback addresses and localhost can do that.
func (s *Server) ours(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	ap, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return false
	}
	_, port, err := net.SplitHostPort(ap.String())
	return err == nil && (r.Host == ap.String() || r.Host == net.JoinHostPort("localhost", port))
}

// foreign reports whether another origin's page asks for a part of ours, which it
// could at least measure. Another port of this computer is another origin, but the
// same site, whose requests carry our cookie. Following a link to a view is nothing to
// refuse.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

type strangerKey struct{}

// connected notes of a new connection whether it is another user's.
func connected(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, strangerKey{}, ports.Others(c))
}

func stranger(ctx context.Context) bool {
	is, _ := ctx.Value(strangerKey{}).(bool)
	return is
}
