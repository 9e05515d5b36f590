package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// A sayer says on standard output what becomes of the service, and on standard
// error, as log, what happens in it.
type sayer struct {
	asJSON bool
	log    *slog.Logger
}

func newSayer(asJSON bool, c *cli) *sayer {
	if !asJSON {
		return &sayer{log: c.Logger()}
	}
	return &sayer{asJSON: true, log: slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: c.Level()}))}
}

// event is what is said in JSON.
type event struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"` // running, metrics, reloaded or stopping
	Text  string    `json:"text"`
}

func (s *sayer) say(what, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !s.asJSON {
		fmt.Println(text)
		return
	}
	// Standard output that cannot be written to is no reason to end.
	if err := json.NewEncoder(os.Stdout).Encode(event{*moment(time.Now()), what, text}); err != nil {
		s.log.Warn("mailspool: standard output cannot be written to", "err", err)
	}
}
