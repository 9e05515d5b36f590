package proxy

import (
	"context"
	"net/http"
)

const pathStop = "/v1/stop"

// handleStop ends ServeControl, and with it the daemon, as a signal does.
func (d *Daemon) handleStop(mux *http.ServeMux, stop func()) {
	mux.HandleFunc("POST "+pathStop, func(w http.ResponseWriter, _ *http.Request) {
		d.answer(w, struct{}{}, nil)
		// The socket closes at once; who is gone by now does not wait for the answer.
		_ = http.NewResponseController(w).Flush()
		stop()
	})
}

// Stop has the daemon stop. It may answer no more: see that its store is free.
func (c *Controller) Stop(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, pathStop, struct{}{}, &struct{}{})
}
