package netdoc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// maxDocument bounds a network document, in bytes.
const maxDocument = 4 << 20

// fetchWait bounds how long fetching one takes.
const fetchWait = time.Minute

// maxRedirects bounds how often a server may name another place.
const maxRedirects = 3

// A Dial makes connections, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Fetch gets a network document from an https address. dial makes the connection, the
// system if it is nil. The server's certificate is checked as browsers do: whoever
// serves the document could keep an old one up, but cannot make one.
func Fetch(ctx context.Context, address string, dial Dial) ([]byte, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	return fetch(ctx, address, dial, transport)
}

func fetch(ctx context.Context, address string, dial Dial, transport *http.Transport) ([]byte, error) {
	if u, err := url.Parse(address); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("fetch network document: %q is not an https address", address)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	transport.DisableKeepAlives = true
	if dial != nil {
		transport.DialContext, transport.Proxy = dial, nil // nothing goes past it
	}
	client := http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		switch {
		case r.URL.Scheme != "https":
			return errors.New("its server names a place that is not https")
		case len(via) > maxRedirects:
			return errors.New("its server names one place after the other")
		}
		return nil
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch network document: %w", err)
	}
	r.Header.Set("User-Agent", "mailproxy") // and not a version, which says more
	answer, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("fetch network document: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch network document: %s answers %q", address, answer.Status)
	}
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("fetch network document: %w", err)
	case len(b) > maxDocument:
		return nil, fmt.Errorf("fetch network document: %s gives more than %d bytes", address, maxDocument)
	}
	return b, nil
}

// Read reads a network document from a file of this computer, which somebody else may have
// named: it takes none that does not end, as a device, and waits for no other program, as
// at a pipe.
func Read(file string) ([]byte, error) {
	i, err := os.Stat(file) // before it is opened, which waits at a pipe
	if err != nil {
		return nil, fmt.Errorf("read network document: %w", err)
	}
	if !i.Mode().IsRegular() {
		return nil, fmt.Errorf("read network document: %s is no file with a document in it", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read network document: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read network document: %w", err)
	case len(b) > maxDocument:
		return nil, fmt.Errorf("read network document: %s has more than %d bytes", file, maxDocument)
	}
	return b, nil
}
