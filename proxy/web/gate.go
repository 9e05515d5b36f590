package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"sync"
	"time"
)

const (
	// TokenLife is how long a link opens the page, if it was not used before.
	TokenLife = 5 * time.Minute
	// idleLife ends a session of which no request came for so long.
	idleLife = 12 * time.Hour
	// maxTokens and maxSessions bound what is remembered; the oldest goes first.
	maxTokens, maxSessions = 64, 32
)

var (
	errToken = errors.New("this link is wrong or too old")
	errUsed  = errors.New("this link was used before")
)

// A gate knows who may see the page: it makes one-time tokens and exchanges them for
// sessions. It keeps hashes of both, never the secrets.
type gate struct {
	now func() time.Time

	mu       sync.Mutex // guards all below
	tokens   map[hash]*token
	sessions map[hash]*session
}

type hash [sha256.Size]byte

func hashOf(secret string) hash { return sha256.Sum256([]byte(secret)) }

type token struct {
	made    time.Time
	session *session // that it was exchanged for; nil before
}

// A session is one browser's.
type session struct {
	id   hash
	csrf string        // in each form; not secret from the page itself
	over chan struct{} // closed when it ends

	// Guarded by the gate's mu.
	seen  time.Time // its last request
	notes []string  // what the next page tells
}

func newGate(now func() time.Time) *gate {
	return &gate{now: now, tokens: map[hash]*token{}, sessions: map[hash]*session{}}
}

// secret returns 256 random bits as text.
func secret() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// newToken makes a token.
func (g *gate) newToken() string {
	s := secret()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tidy()
	for len(g.tokens) >= maxTokens {
		var oldest hash
		var made time.Time
		for h, t := range g.tokens {
			if made.IsZero() || t.made.Before(made) {
				oldest, made = h, t.made
			}
		}
		delete(g.tokens, oldest)
	}
	g.tokens[hashOf(s)] = &token{made: g.now()}
	return s
}

// exchange makes a session from a token, and returns the secret of its cookie. A
// token that comes a second time was seen by somebody else: nobody knows which of the
// two was the user, so the session that it made ends, as RFC 6749 section 4.1.2 has it
// for authorization codes.
func (g *gate) exchange(s string) (cookie string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tidy()
	t := g.tokens[hashOf(s)]
	switch {
	case t == nil:
		return "", errToken
	case t.session != nil:
		g.end(t.session)
		return "", errUsed
	}
	for len(g.sessions) >= maxSessions {
		var oldest *session
		for _, have := range g.sessions {
			if oldest == nil || have.seen.Before(oldest.seen) {
				oldest = have
			}
		}
		g.end(oldest)
	}
	cookie = secret()
	t.session = &session{id: hashOf(cookie), csrf: secret(), over: make(chan struct{}), seen: g.now()}
	g.sessions[t.session.id] = t.session
	return cookie, nil
}

// session returns the session of a cookie, or nil.
func (g *gate) session(cookie string) *session {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tidy()
	s := g.sessions[hashOf(cookie)]
	if s != nil {
		s.seen = g.now()
	}
	return s
}

// close ends a session.
func (g *gate) close(s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end(s)
}

// end ends a session. g.mu is held.
func (g *gate) end(s *session) {
	if g.sessions[s.id] == s {
		delete(g.sessions, s.id)
		close(s.over)
	}
}

// tidy forgets what is too old. A token that was used is kept for as long as a link
// lives, to know it if it comes again. g.mu is held.
func (g *gate) tidy() {
	now := g.now()
	for h, t := range g.tokens {
		if now.Sub(t.made) > TokenLife {
			delete(g.tokens, h)
		}
	}
	for _, s := range g.sessions {
		if now.Sub(s.seen) > idleLife {
			g.end(s)
		}
	}
}

// note has the session's next page tell something.
func (g *gate) note(s *session, text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.notes = append(s.notes, text)
}

// notes returns what the page is to tell, once.
func (g *gate) notes(s *session) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := s.notes
	s.notes = nil
	return list
}

// forged says whether a form did not come from a page of this session.
func (s *session) forged(csrf string) bool {
	return subtle.ConstantTimeCompare([]byte(csrf), []byte(s.csrf)) != 1
}
