package store

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestLog: what Badger says of nothing to do is no warning to a user.
func TestLog(t *testing.T) {
	var b bytes.Buffer
	l := badgerLog{slog.New(slog.NewTextHandler(&b, nil))}
	l.Warningf("While running doCompact with %+v. Error: %v\n", struct{}{}, errors.New("Unable to fill tables"))
	l.Infof("Replaying file id: %d", 1)
	if b.Len() > 0 {
		t.Errorf("logged: %s", &b)
	}
	l.Warningf("While running doCompact with %+v. Error: %v\n", struct{}{}, errors.New("input/output error"))
	l.Errorf("Failure while flushing memtable to disk: %v. Retrying...\n", errors.New("no"))
	if out := b.String(); !strings.Contains(out, "level=WARN msg=\"store: While") || !strings.Contains(out, "level=ERROR msg=\"store: Failure") {
		t.Errorf("logged: %s", out)
	}
}
