package authority

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

const (
	protocol       = "http/1.1"
	requestTimeout = 10 * time.Second
	keepConnection = time.Minute // idle, by a client
	maxBody        = 4 << 20     // bytes of a request or an answer
)

// ErrNone is returned by Client for what no directory has, or none yet.
var ErrNone = errors.New("no directory has it")

// handler answers nodes and the other directories.
func (a *Authority) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/descriptor", a.postDescriptor)
	mux.HandleFunc("GET /v1/snapshot/{epoch}", func(w http.ResponseWriter, r *http.Request) {
		e, err := strconv.ParseUint(r.PathValue("epoch"), 10, 64)
		if s := a.views.Signed(directory.Epoch(e)); err == nil && s != nil {
			a.write(w, s)
			return
		}
		http.Error(w, "there is no snapshot of that epoch", http.StatusNotFound)
	})
	mux.HandleFunc("GET /v1/vote/{epoch}/{round}", func(w http.ResponseWriter, r *http.Request) {
		e, err1 := strconv.ParseUint(r.PathValue("epoch"), 10, 64)
		round, err2 := strconv.ParseUint(r.PathValue("round"), 10, 32)
		var v *directory.Vote
		a.mu.Lock()
		if b := a.ballots[directory.Epoch(e)]; err1 == nil && err2 == nil && b != nil && b.round == uint32(round) {
			v = b.votes[a.self.ID()]
		}
		a.mu.Unlock()
		if v == nil {
			http.Error(w, "there is no vote in that round", http.StatusNotFound)
			return
		}
		a.write(w, v)
	})
	mux.HandleFunc("GET /v1/signatures/{epoch}", func(w http.ResponseWriter, r *http.Request) {
		e, err := strconv.ParseUint(r.PathValue("epoch"), 10, 64)
		sets := a.witness.Signed(directory.Epoch(e))
		if err != nil || len(sets) == 0 {
			http.Error(w, "there are no signatures on a snapshot of that epoch", http.StatusNotFound)
			return
		}
		a.write(w, sets)
	})
	return mux
}

func (a *Authority) write(w http.ResponseWriter, v any) {
	b, err := codec.Marshal(v)
	if err != nil {
		a.log.Error("directory: encode answer", "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/cbor")
	if _, err := w.Write(b); err != nil {
		a.log.Debug("directory: answer not taken", "err", err)
	}
}

// postDescriptor takes a node's key of this epoch or the next. Until it has voted,
// a directory takes a later one instead: a node may have lost its key.
func (a *Authority) postDescriptor(w http.ResponseWriter, r *http.Request) {
	var sd directory.SignedDescriptor
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<12))
	if err == nil {
		err = codec.Unmarshal(b, &sd)
	}
	var x *directory.Descriptor
	if err == nil {
		x, err = a.openDescriptor(&sd)
	}
	if err == nil {
		now := a.p.EpochAt(a.cfg.Now())
		if x.Epoch != now && x.Epoch != now+1 {
			err = fmt.Errorf("%w: it is for %v, now is %v; are both clocks right?", directory.ErrDescriptor, x.Epoch, now)
		}
	}
	if err == nil && x.Node != peer(r) {
		// Else whoever has seen an older one of the same epoch could put it back.
		err = fmt.Errorf("%w: it is not the sender's own", directory.ErrDescriptor)
	}
	if err != nil {
		a.Counters.Refused.Add(1)
		a.log.Warn("directory: a descriptor is refused", "err", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.descriptors[x.Epoch] == nil {
		a.descriptors[x.Epoch] = map[sphinx.NodeID]directory.SignedDescriptor{}
	}
	a.descriptors[x.Epoch][x.Node] = sd
	w.WriteHeader(http.StatusNoContent)
}

// openDescriptor checks a descriptor against the documents in use.
func (a *Authority) openDescriptor(sd *directory.SignedDescriptor) (*directory.Descriptor, error) {
	var first error
	for _, d := range a.views.Documents() {
		x, err := sd.Open(d)
		if err == nil {
			return x, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// peer returns the id of the member that makes a request, known by its TLS key.
func peer(r *http.Request) sphinx.NodeID {
	var n directory.Node
	if r.TLS != nil && len(r.TLS.PeerCertificates) == 1 {
		if k, ok := r.TLS.PeerCertificates[0].PublicKey.(ed25519.PublicKey); ok {
			copy(n.Identity[:], k)
		}
	}
	return n.ID()
}

// A Client speaks to the directories of a network, as a node or as another
// directory. Its methods may be called from any goroutine.
type Client struct {
	identity ed25519.PrivateKey
	timeout  time.Duration

	mu          sync.RWMutex // guards all below
	directories []*directory.Node
	http        map[sphinx.NodeID]*http.Client
}

// NewClient makes a client that is known by identity.
func NewClient(d *directory.Document, identity ed25519.PrivateKey) (*Client, error) {
	c := &Client{
		identity: identity, http: map[sphinx.NodeID]*http.Client{},
		// A directory that hangs must not cost the others their round.
		timeout: min(requestTimeout, max(d.Parameters.Round()/4, 250*time.Millisecond)),
	}
	return c, c.Use([]*directory.Document{d})
}

// Use makes the client speak to the directories of these documents, and no others.
// Of one that has moved, the first document has the address.
func (c *Client) Use(docs []*directory.Document) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	used := map[sphinx.NodeID]*http.Client{}
	var list []*directory.Node
	for _, d := range docs {
		for _, n := range d.WithRole(directory.RoleDirectory) {
			id := n.ID()
			if used[id] != nil {
				continue
			}
			if used[id] = c.http[id]; used[id] == nil {
				h, err := c.newHTTP(n.Identity)
				if err != nil {
					return err
				}
				used[id] = h
			}
			list = append(list, n)
		}
	}
	for id, h := range c.http {
		if used[id] == nil {
			h.CloseIdleConnections()
		}
	}
	c.http, c.directories = used, list
	return nil
}

// newHTTP returns a client for the one directory with that key.
func (c *Client) newHTTP(pinned directory.Key) (*http.Client, error) {
	config, err := wire.TLS(c.identity, protocol, func(k directory.Key) error {
		if k != pinned {
			return wire.ErrPeer
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &http.Client{Timeout: c.timeout, CheckRedirect: noRedirect, Transport: &http.Transport{
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			d := tls.Dialer{Config: config}
			return d.DialContext(ctx, network, address)
		},
		MaxIdleConns: 1, IdleConnTimeout: keepConnection,
	}}, nil
}

// Directories returns those that the client speaks to.
func (c *Client) Directories() []*directory.Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.directories)
}

// do makes a request of a directory.
func (c *Client) do(n *directory.Node, req *http.Request) (*http.Response, error) {
	c.mu.RLock()
	h := c.http[n.ID()]
	c.mu.RUnlock()
	if h == nil {
		return nil, fmt.Errorf("directory %s is in no network document that is in use", n.Name)
	}
	return h.Do(req)
}

// noRedirect takes a redirection for the answer, which is none: a directory must
// not send its askers to hosts of its choice, for which no key is pinned.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Close closes idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.http {
		h.CloseIdleConnections()
	}
}

// Publish gives a descriptor to all directories. It returns how many took it, and
// why the others did not.
func (c *Client) Publish(ctx context.Context, sd *directory.SignedDescriptor) (taken int, err error) {
	b, err := codec.Marshal(sd)
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex // guards taken and errs
	var errs []error
	var wg sync.WaitGroup
	for _, n := range c.Directories() {
		wg.Go(func() {
			err := c.post(ctx, n, b)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("publish to directory %s: %w", n.Name, err))
				return
			}
			taken++
		})
	}
	wg.Wait()
	return taken, errors.Join(errs...)
}

func (c *Client) post(ctx context.Context, n *directory.Node, b []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+n.Address+"/v1/descriptor", bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := c.do(n, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return errors.Join(fmt.Errorf("it answered %s: %s", resp.Status, bytes.TrimSpace(text)), err)
	}
	return nil
}

// Snapshot fetches the snapshot of an epoch from one directory after the other, in
// random order. Whether it is signed is for directory.Views to check. It returns
// ErrNone if none of those that answer has it.
func (c *Client) Snapshot(ctx context.Context, e directory.Epoch) (*directory.SignedSnapshot, error) {
	list := c.Directories()
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	err := fmt.Errorf("fetch snapshot: %w", ErrNone)
	for _, n := range list {
		s, ferr := c.snapshotFrom(ctx, n, e)
		if ferr == nil {
			return s, nil
		}
		if !errors.Is(ferr, ErrNone) {
			err = fmt.Errorf("fetch snapshot from directory %s: %w", n.Name, ferr)
		}
	}
	return nil, err
}

func (c *Client) snapshotFrom(ctx context.Context, n *directory.Node, e directory.Epoch) (*directory.SignedSnapshot, error) {
	var s directory.SignedSnapshot
	err := c.get(ctx, n, fmt.Sprintf("/v1/snapshot/%d", uint64(e)), &s)
	return &s, err
}

func (c *Client) voteFrom(ctx context.Context, n *directory.Node, e directory.Epoch, round uint32) (*directory.Vote, error) {
	var v directory.Vote
	err := c.get(ctx, n, fmt.Sprintf("/v1/vote/%d/%d", uint64(e), round), &v)
	return &v, err
}

func (c *Client) signaturesFrom(ctx context.Context, n *directory.Node, e directory.Epoch) ([]directory.SignedSnapshot, error) {
	var sets []directory.SignedSnapshot
	err := c.get(ctx, n, fmt.Sprintf("/v1/signatures/%d", uint64(e)), &sets)
	return sets, err
}

func (c *Client) get(ctx context.Context, n *directory.Node, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+n.Address+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.do(n, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
		return ErrNone
	case http.StatusOK:
	default:
		return fmt.Errorf("it answered %s", resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return err
	}
	return codec.Unmarshal(b, v)
}
