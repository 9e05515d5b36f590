// Package accept is the loop that every listener of ours needs: it takes
// connections until a context ends, and outlives moments without file
// descriptors; and a listener that is fed by hand. It is a leaf; imap, pop3, smtp and
// mixnet/node import it.
package accept

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Waits after an accept that failed for a reason that may pass.
const (
	firstPause = 5 * time.Millisecond
	mostPause  = time.Second
)

// Loop calls admit, which must not block, for each connection that ln takes, and
// closes ln when ctx ends. It returns nil then, or before that the error for which
// it cannot go on.
func Loop(ctx context.Context, ln net.Listener, log *slog.Logger, admit func(net.Conn)) error {
	defer ln.Close()
	stop := context.AfterFunc(ctx, func() {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			log.Warn("accept: closing a listener", "err", err)
		}
	})
	defer stop()
	pause := firstPause
	for {
		conn, err := ln.Accept()
		if err == nil {
			pause = firstPause
			admit(conn)
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept: %w", err)
		}
		// Out of file descriptors, most likely: that passes.
		log.Warn("accept: failed, trying again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, mostPause)
	}
}
