package netdoc

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFetch(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) {
		if agent := r.Header.Get("User-Agent"); agent != "mailproxy" {
			t.Errorf("it says that it is %q", agent)
		}
		_, _ = w.Write([]byte("document"))
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/good", http.StatusFound) })
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	mux.HandleFunc("/plain", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1/", http.StatusFound)
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, maxDocument+1))
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("docu"))
	})
	server := httptest.NewTLSServer(mux)
	defer server.Close()
	trusting := func() *http.Transport { return server.Client().Transport.(*http.Transport).Clone() }

	for _, test := range []struct{ path, want string }{
		{"/good", ""}, {"/moved", ""}, {"/none", "404"}, {"/round", "one place after the other"},
		{"/plain", "not https"}, {"/large", "more than"}, {"/cut", "unexpected EOF"},
	} {
		b, err := fetch(t.Context(), server.URL+test.path, nil, trusting())
		switch {
		case test.want == "" && (err != nil || string(b) != "document"):
			t.Errorf("%s: %q, %v", test.path, b, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", test.path, err, test.want)
		}
	}
	for _, address := range []string{"", "http://127.0.0.1/", "file:///etc/passwd", "network.note"} {
		if _, err := Fetch(t.Context(), address, nil); err == nil || !strings.Contains(err.Error(), "not an https address") {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := Fetch(t.Context(), server.URL+"/good", nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
	blocked := errors.New("not this way")
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, blocked }
	if _, err := fetch(t.Context(), server.URL+"/good", dial, trusting()); !errors.Is(err, blocked) {
		t.Errorf("past its dialer: %v", err)
	}
}
