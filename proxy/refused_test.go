package proxy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/client"
)

func TestExplain(t *testing.T) {
	for status, want := range map[spool.Status]string{
		spool.StatusTaken:     "the name ann is taken at north.test; choose another one",
		spool.StatusReserved:  "kept for those who run north.test",
		spool.StatusBadName:   "cannot be a name at north.test",
		spool.StatusInvite:    "ask your provider for another invitation",
		spool.StatusRevoked:   "ann@north.test was deleted at north.test",
		spool.StatusSuspended: "north.test has suspended ann@north.test",
		spool.StatusBusy:      "goes on trying",
		spool.StatusExpired:   "there it is 12:00:00 UTC on 22 November 2026",
		spool.StatusTooFar:    "set this computer's clock",
		spool.StatusVersion:   "different versions",
	} {
		refused := &spool.Refused{Status: status, Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
		err := explain(fmt.Errorf("register: %w", refused), "ann@north.test")
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "register: ") {
			t.Errorf("%v: %q, want %q", status, err, want)
		}
		if !errors.Is(err, status) || client.IsTemporary(err) != client.IsTemporary(refused) {
			t.Errorf("%v is lost in %q", status, err)
		}
	}
	other := errors.New("disk is full")
	if explain(other, "ann@north.test") != other {
		t.Error("another error was changed")
	}
}

// TestControlErrorsAreSentences asks a daemon that does not run.
func TestControlErrorsAreSentences(t *testing.T) {
	_, err := Control(t.TempDir()).Status(t.Context())
	if err == nil || strings.Contains(err.Error(), "http://") || !strings.Contains(err.Error(), `start it with "mailproxy run"`) {
		t.Errorf("Status = %v", err)
	}
}
