// Package pause waits for a time that a context may cut short. It is a leaf, and knows
// no clock but the system's: any package may import it.
package pause

import (
	"context"
	"time"
)

// For returns nil once d has passed, or why ctx ended before that. If both have come,
// it is either.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
