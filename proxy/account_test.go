package proxy

import (
	"errors"
	"sync"
	"testing"
	"time"

	"mailproxy/proxy/mailbox"
)

// TestGuessingHoldsUpNobody: while wrong passwords are hashed, or wait for it, a login
// that is remembered is answered; one by one they are still refused.
func TestGuessingHoldsUpNobody(t *testing.T) {
	r := &accountRecord{Address: "a@north.test"}
	if err := r.setPassword("the right password"); err != nil {
		t.Fatal(err)
	}
	p := newPasswords()
	if err := p.check(r, "the right password"); err != nil {
		t.Fatal(err)
	}

	p.hashing.Lock() // as the guess does that is being hashed
	var guesses sync.WaitGroup
	for i := range 8 {
		guesses.Go(func() {
			of := r
			if i%2 == 0 {
				of = nil // of a name that there is not
			}
			if err := p.check(of, "a wrong password"); !errors.Is(err, mailbox.ErrBadPassword) {
				t.Errorf("a guess is answered %v", err)
			}
		})
	}
	answered := make(chan error, 1)
	go func() { answered <- p.check(r, "the right password") }()
	select {
	case err := <-answered:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("a remembered login waits for the guesses")
	}
	p.hashing.Unlock()
	guesses.Wait()

	// A new password is not answered by what is remembered of the old one.
	if err := r.setPassword("another password"); err != nil {
		t.Fatal(err)
	}
	if err := p.check(r, "the right password"); !errors.Is(err, mailbox.ErrBadPassword) {
		t.Errorf("the old password is answered %v", err)
	}
	if err := p.check(r, "another password"); err != nil {
		t.Error(err)
	}
}
