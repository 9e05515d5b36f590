package web

import (
	"errors"
	"testing"
	"time"
)

// aClock is a clock that a test sets.
type aClock struct{ t time.Time }

func (c *aClock) now() time.Time { return c.t }

func newTestGate() (*gate, *aClock) {
	c := &aClock{time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	return newGate(c.now), c
}

func TestTokenOpensOnce(t *testing.T) {
	g, _ := newTestGate()
	token := g.newToken()
	cookie, err := g.exchange(token)
	if err != nil {
		t.Fatal(err)
	}
	s := g.session(cookie)
	if s == nil {
		t.Fatal("the cookie of a fresh session is not known")
	}
	if _, err := g.exchange(token); !errors.Is(err, errUsed) {
		t.Errorf("a used token: %v, want %v", err, errUsed)
	}
	// One of the two who had it was not the user.
	if g.session(cookie) != nil {
		t.Error("a session goes on though its token came twice")
	}
	select {
	case <-s.over:
	default:
		t.Error("what the session has open goes on")
	}
	if _, err := g.exchange(token); !errors.Is(err, errUsed) {
		t.Errorf("a used token, for the third time: %v, want %v", err, errUsed)
	}
}

func TestTokenRefused(t *testing.T) {
	g, c := newTestGate()
	token := g.newToken()
	for _, wrong := range []string{"", "x", token[:len(token)-1], token + "A"} {
		if _, err := g.exchange(wrong); !errors.Is(err, errToken) {
			t.Errorf("token %q: %v, want %v", wrong, err, errToken)
		}
	}
	c.t = c.t.Add(TokenLife + time.Second)
	if _, err := g.exchange(token); !errors.Is(err, errToken) {
		t.Errorf("an old token: %v, want %v", err, errToken)
	}
}

func TestSessionEnds(t *testing.T) {
	g, c := newTestGate()
	cookie, err := g.exchange(g.newToken())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // it goes on for as long as it is used
		c.t = c.t.Add(idleLife)
		if g.session(cookie) == nil {
			t.Fatal("a session that is used ended")
		}
	}
	c.t = c.t.Add(idleLife + time.Second)
	if g.session(cookie) != nil {
		t.Error("a session that nobody uses goes on")
	}
}

func TestOldestGoesFirst(t *testing.T) {
	g, c := newTestGate()
	first := g.newToken()
	var cookies []string
	for range maxSessions + 1 {
		c.t = c.t.Add(time.Second)
		cookie, err := g.exchange(g.newToken())
		if err != nil {
			t.Fatal(err)
		}
		cookies = append(cookies, cookie)
	}
	if g.session(cookies[0]) != nil || g.session(cookies[1]) == nil || len(g.sessions) != maxSessions {
		t.Errorf("of %d sessions, %d are kept, and not the newest", len(cookies), len(g.sessions))
	}
	for range maxTokens {
		g.newToken()
	}
	if _, err := g.exchange(first); !errors.Is(err, errToken) || len(g.tokens) > maxTokens {
		t.Errorf("the first of many tokens: %v; %d are kept", err, len(g.tokens))
	}
}
