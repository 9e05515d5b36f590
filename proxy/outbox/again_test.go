package outbox

import (
	"fmt"
	"testing"
	"time"

	"mailproxy/proxy/contacts"
	"mailproxy/proxy/progress"
)

// TestOlderBundleIsWaitedOut: a provider that was put back to a backup publishes an
// older bundle, until its user's daemon has been there.
func TestOlderBundleIsWaitedOut(t *testing.T) {
	b := newBench(t)
	b.outbox.mu.Lock()
	b.outbox.cfg.Times.RetryFirst = 10 * time.Millisecond
	b.outbox.mu.Unlock()
	rollback := fmt.Errorf("take in fetched key bundle: %w", contacts.ErrRollback)
	b.alice.mu.Lock()
	b.alice.learns = []error{rollback, rollback, rollback}
	b.alice.mu.Unlock()
	b.submit(t, 100)
	b.wait(t, progress.InSpool, 1)
	if n := len(b.order(progress.Failed)); n != 0 {
		t.Errorf("%d reports", n)
	}
}

// TestSupersededIsSealedAgain at once: no wait for RetryFirst.
func TestSupersededIsSealedAgain(t *testing.T) {
	b := newBench(t)
	b.alice.mu.Lock()
	b.alice.seals = []error{ErrSuperseded, ErrSuperseded}
	b.alice.mu.Unlock()
	b.submit(t, 100)
	b.wait(t, progress.InSpool, 1)
	b.alice.mu.Lock()
	defer b.alice.mu.Unlock()
	if len(b.alice.seals) != 0 {
		t.Errorf("sealed before %d refusals", len(b.alice.seals))
	}
}
