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

// A guard knows what was seen of each key that signs requests: which nonces, and
// who reads. It is in memory. After a restart it is empty, so a request that was
// carried out before can be carried out again until it expires (spool.MaxExpiry
// at most); as every request is idempotent and names a cursor or a version that
// only grows, that changes nothing, and what a repeated read returns is sealed.
// Several processes before one store must each answer a spool of their own.
type guard struct {
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
	expiry   time.Time // of the last to expire of the requests in it
}

func newGuard() *guard { return &guard{sessions: make(map[[32]byte]*session)} }

// enter returns the session of key, locked, so that the requests of one key are
// carried out one after the other. leave must be called with it.
func (g *guard) enter(key [32]byte) *session {
	g.mu.Lock()
	s := g.sessions[key]
	if s == nil {
		s = new(session)
		g.sessions[key] = s
	}
	s.users++
	g.mu.Unlock()
	s.mu.Lock()
	return s
}

func (g *guard) leave(key [32]byte, s *session) {
	s.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	// Nobody else has it now, nor can while g.mu is held.
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.windows) == 0 && s.read.IsZero() {
		delete(g.sessions, key)
	}
}

// sweep drops what no longer says anything: windows whose requests have all
// expired, and the readers of long ago.
func (g *guard) sweep(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, s := range g.sessions {
		// With users it may be locked for as long as a disk takes.
		if s.users > 0 {
			continue
		}
		s.mu.Lock()
		s.prune(now)
		if !s.read.IsZero() && now.Sub(s.read) >= readerLease {
			s.read = time.Time{}
		}
		if len(s.windows) == 0 && s.read.IsZero() {
			delete(g.sessions, key)
		}
		s.mu.Unlock()
	}
}

func (s *session) prune(now time.Time) {
	kept := s.windows[:0]
	for _, w := range s.windows {
		if !now.After(w.expiry) {
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
	expiry := time.Unix(a.Expiry, 0)
	for i := range s.windows {
		if w := &s.windows[i]; w.instance == a.Instance {
			w.window.use(a.Nonce)
			if expiry.After(w.expiry) {
				w.expiry = expiry
			}
			return
		}
	}
	s.prune(now)
	if len(s.windows) >= maxInstances {
		s.windows = s.windows[1:] // the one that came first
	}
	w := instanceWindow{instance: a.Instance, expiry: expiry}
	w.window.use(a.Nonce)
	s.windows = append(s.windows, w)
}

// otherReader says whether another instance has the spool to itself.
func (s *session) otherReader(i spool.Instance, now time.Time) bool {
	// A clock that was set back leaves s.read in the future; the lease still ends.
	d := now.Sub(s.read)
	return !s.read.IsZero() && s.reader != i && d < readerLease && d > -readerLease
}
