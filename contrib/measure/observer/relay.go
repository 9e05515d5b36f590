package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/node"
	"mailproxy/mixnet/sphinx"
)

// An event is a packet on a client's link, or what its gateway knows of one.
type event struct {
	at   time.Duration // since the recorder was made
	up   bool          // from the client
	size int           // of the TLS record in bytes; zero in a gateway's view
	mix  int           // in a gateway's view: which mix of its layer it goes to or comes from
}

// A tape is what was recorded of one client.
type tape struct {
	link, gate []event
	conns      int
	keys       int
}

// A recorder takes down what there is to see of clients: on their links, by standing
// between them and the gateways, and in the gateways, by what those tell of packets
// that they have unwrapped.
type recorder struct {
	began time.Time

	mu      sync.Mutex            // guards all below
	mixes   map[sphinx.NodeID]int // number of each mix within its layer
	current *tape                 // of the client that is just being started; nil: nobody's
	byKey   map[sphinx.Recipient]*tape
	tapes   []*tape
	nodes   int   // connections of mixes
	failed  error // the first thing that spoils the recording
	closing bool
	open    map[io.Closer]struct{}

	wg sync.WaitGroup
}

func newRecorder() *recorder {
	return &recorder{
		began: time.Now(), mixes: map[sphinx.NodeID]int{},
		byKey: map[sphinx.Recipient]*tape{}, open: map[io.Closer]struct{}{},
	}
}

// learn numbers the mixes of each layer, as gateways' views name them.
func (r *recorder) learn(d *directory.Document) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := 1; l <= directory.Layers; l++ {
		for i, n := range d.Layer(l) {
			r.mixes[n.ID()] = i
		}
	}
}

// begin makes a tape for the client that is started next: what is new from here on
// is its.
func (r *recorder) begin() *tape {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = &tape{}
	r.tapes = append(r.tapes, r.current)
	return r.current
}

// known reports whether the client of that tape was seen both on a link and by a
// gateway. If it was, whoever comes next is nobody's.
func (r *recorder) known(t *tape) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.conns == 0 || t.keys == 0 {
		return false
	}
	if r.current == t {
		r.current = nil
	}
	return true
}

// ready reports whether the last layer's mixes are connected to all gateways, so that
// whoever comes next is a client.
func (r *recorder) ready(d *directory.Document) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes == len(d.Layer(directory.Layers))*len(d.WithRole(directory.RoleGateway))
}

// sight takes down what a gateway tells.
func (r *recorder) sight(s node.Sighting) {
	at := time.Since(r.began)
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.byKey[s.Client]
	if t == nil {
		if t = r.current; t == nil {
			r.fail(errors.New("a gateway has a client that nobody started"))
			return
		}
		r.byKey[s.Client] = t
		if t.keys++; t.keys > 1 {
			r.fail(errors.New("a client has shown two link keys"))
		}
	}
	t.gate = append(t.gate, event{at: at, up: !s.Reply, mix: r.mixes[s.Mix]})
}

// fail notes the first error. r.mu is held.
func (r *recorder) fail(err error) {
	if r.failed == nil && !r.closing {
		r.failed = err
	}
}

// err returns what has spoilt the recording.
func (r *recorder) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// front puts the recorder before a gateway, as local.Config wants it.
func (r *recorder) front(gateway string, public net.Listener) (net.Listener, error) {
	private, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("stand before %s: %w", gateway, err)
	}
	if !r.hold(public) {
		return nil, errors.Join(errors.New("the recorder is closed"), private.Close())
	}
	r.wg.Go(func() {
		for {
			conn, err := public.Accept()
			if err != nil {
				return // closed
			}
			r.wg.Go(func() { r.relay(conn, private.Addr().String()) })
		}
	})
	return private, nil
}

// hold has close close c. It reports false if that has been done.
func (r *recorder) hold(c io.Closer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		_ = c.Close() // nobody has used it yet
		return false
	}
	r.open[c] = struct{}{}
	return true
}

func (r *recorder) drop(c io.Closer) {
	_ = c.Close() // ended either way
	r.mu.Lock()
	delete(r.open, c)
	r.mu.Unlock()
}

// close ends all connections and waits until nothing is recorded any more.
func (r *recorder) close() {
	r.mu.Lock()
	r.closing = true
	for c := range r.open {
		_ = c.Close() // ended either way
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// relay carries a connection to a gateway and back, until one of them ends it.
func (r *recorder) relay(conn net.Conn, gateway string) {
	if !r.hold(conn) {
		return
	}
	defer r.drop(conn)
	to, err := net.Dial("tcp", gateway)
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fail(fmt.Errorf("the recorder reaches no gateway: %w", err))
		return
	}
	if !r.hold(to) {
		return
	}
	defer r.drop(to)
	r.mu.Lock()
	t := r.current // nil before the first client: mixes connect then
	if t != nil {
		if t.conns++; t.conns > 1 {
			r.fail(errors.New("a client has connected twice"))
		}
	} else if r.nodes++; len(r.tapes) > 0 {
		r.fail(errors.New("somebody connected to a gateway again"))
	}
	r.mu.Unlock()
	var pumps sync.WaitGroup
	pumps.Go(func() { r.pump(to, conn, t, true) })
	pumps.Go(func() { r.pump(conn, to, t, false) })
	pumps.Wait()
}

// pump carries bytes one way, and takes down each TLS record when its last byte is
// there.
func (r *recorder) pump(to, from net.Conn, t *tape, up bool) {
	buf := make([]byte, 64<<10)
	var records records
	for {
		n, err := from.Read(buf)
		at := time.Since(r.began)
		if n > 0 {
			_, writeErr := to.Write(buf[:n])
			err = errors.Join(err, writeErr)
		}
		if t != nil {
			records.take(buf[:n], func(size int) {
				r.mu.Lock()
				defer r.mu.Unlock()
				t.link = append(t.link, event{at: at, up: up, size: size})
			})
		}
		if err != nil {
			_ = to.Close() // which ends the other way too
			return
		}
	}
}

// recordHeader is the size of a TLS record's header (RFC 8446 section 5.1): type,
// version, and the length of what follows in two bytes.
const recordHeader = 5

// records finds the TLS records in a stream.
type records struct {
	header [recordHeader]byte
	have   int // bytes of the record that have come, its header among them
}

// take takes the next bytes of the stream, and calls done with the size of each
// record that is complete with them, its header included.
func (r *records) take(b []byte, done func(size int)) {
	for len(b) > 0 {
		if r.have < recordHeader {
			n := copy(r.header[r.have:], b)
			r.have, b = r.have+n, b[n:]
			if r.have < recordHeader {
				return
			}
		}
		size := recordHeader + int(binary.BigEndian.Uint16(r.header[3:]))
		n := min(size-r.have, len(b))
		r.have, b = r.have+n, b[n:]
		if r.have == size {
			done(size)
			r.have = 0
		}
	}
}
