package server

import (
	"sync"
	"time"

	"mailproxy/spool"
)

// readerLease is for how long after its last read a reader instance has the
// spool to itself.
const readerLease = 10 * time.Minute

// maxInstances bounds the windows of one key. Only the key's owner can use more
// and so push one of their own windows out.
const maxInstances = 8

// maxAtOnce is how many requests of one key, or appends to one spool, are answered
// or wait to be. A node answers 128 queries at one time; those that wait for each
// other must not take up the places of all others.
const maxAtOnce = 16

// guardShards divides the sessions, so that a sweep holds up few at a time.
const guardShards = 64

// A guard knows what was seen of each key that signs requests: which nonces, and
// who reads. It is in memory. After a restart it is empty, so a request that was
// carried out before can be carried out again until it expires (spool.MaxExpiry
// at most); as every request is idempotent and names a cursor or a version that
// only grows, that changes nothing, and what a repeated read returns is sealed.
// Several processes before one store must each answer a spool of their own.
//
// A key has a session only after a request of it was carried out, so there are at
// most two for each name: for the read key while its owner reads, and for the
// identity key for ten minutes after it signed. A session takes 210 bytes with one
// instance, 660 with maxInstances: 42 MB for 200,000 users who all read, and 260 MB
// if they all did what they can to make it much.
type guard struct {
	shards [guardShards]guardShard
}

type guardShard struct {
	mu       sync.Mutex // guards sessions, and users of each session
	sessions map[[32]byte]*session
}

// A session is what is known of one key. It is there while a request of the key
// is answered, and after that for as long as it says anything.
type session struct {
	users int // requests that have it

	mu      sync.Mutex // guards all below; held while a request is answered
	windows []instanceWindow
	reader  spool.Instance
	read    time.Time // when reader read last; zero: never
}

type instanceWindow struct {
	instance spool.Instance
	window   window
	expiry   int64 // of the last to expire of the requests in it; Unix seconds
}

func newGuard() *guard {
	g := new(guard)
	for i := range g.shards {
		g.shards[i].sessions = make(map[[32]byte]*session)
	}
	return g
}

// shard returns where a key's session is. Keys are hashes.
func (g *guard) shard(key [32]byte) *guardShard { return &g.shards[key[0]%guardShards] }

// enter returns the session of key, locked, so that the requests of one key are
// carried out one after the other; leave must be called with it. It returns nil if
// too many wait for it.
func (g *guard) enter(key [32]byte) *session {
	h := g.shard(key)
	h.mu.Lock()
	s := h.sessions[key]
	if s == nil {
		s = new(session)
		h.sessions[key] = s
	}
	if s.users == maxAtOnce {
		h.mu.Unlock()
		return nil
	}
	s.users++
	h.mu.Unlock()
	s.mu.Lock()
	return s
}

func (g *guard) leave(key [32]byte, s *session) {
	s.mu.Unlock()
	h := g.shard(key)
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	// Nobody else has it now, nor can while h.mu is held.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.empty() {
		delete(h.sessions, key)
	}
}

// sweep drops what no longer says anything: windows whose requests have all
// expired, and the readers of long ago.
func (g *guard) sweep(now time.Time) {
	for i := range g.shards {
		g.shards[i].sweep(now)
	}
}

func (h *guardShard) sweep(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, s := range h.sessions {
		// With users it may be locked for as long as a disk takes.
		if s.users > 0 {
			continue
		}
		s.mu.Lock()
		s.prune(now)
		if !s.read.IsZero() && now.Sub(s.read) >= readerLease {
			s.read = time.Time{}
		}
		if s.empty() {
			delete(h.sessions, key)
		}
		s.mu.Unlock()
	}
}

func (s *session) empty() bool { return len(s.windows) == 0 && s.read.IsZero() }

func (s *session) prune(now time.Time) {
	kept := s.windows[:0]
	for _, w := range s.windows {
		if now.Unix() <= w.expiry {
			kept = append(kept, w)
		}
	}
	s.windows = kept
}

// fresh says whether the request was not carried out before.
func (s *session) fresh(a *spool.Auth) bool {
	for i := range s.windows {
		if s.windows[i].instance == a.Instance {
			return s.windows[i].window.fresh(a.Nonce)
		}
	}
	return true
}

// use remembers a fresh request, which has been carried out.
func (s *session) use(a *spool.Auth, now time.Time) {
	for i := range s.windows {
		if w := &s.windows[i]; w.instance == a.Instance {
			w.window.use(a.Nonce)
			w.expiry = max(w.expiry, a.Expiry)
			return
		}
	}
	s.prune(now)
	if len(s.windows) >= maxInstances {
		s.windows = append(s.windows[:0], s.windows[1:]...) // without the one that came first
	}
	w := instanceWindow{instance: a.Instance, expiry: a.Expiry}
	w.window.use(a.Nonce)
	s.windows = append(s.windows, w)
}

// otherReader says whether another instance has the spool to itself.
func (s *session) otherReader(i spool.Instance, now time.Time) bool {
	// A clock that was set back leaves s.read in the future; the lease still ends.
	d := now.Sub(s.read)
	return !s.read.IsZero() && s.reader != i && d < readerLease && d > -readerLease
}

// crowds bounds the appends to each spool that are being carried out. It holds as
// many spools as a node answers queries at one time.
type crowds struct {
	mu   sync.Mutex // guards what follows
	here map[spool.ID]int
}

func (c *crowds) enter(id spool.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.here[id] == maxAtOnce {
		return false
	}
	c.here[id]++
	return true
}

func (c *crowds) leave(id spool.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.here[id]--; c.here[id] == 0 {
		delete(c.here, id)
	}
}
