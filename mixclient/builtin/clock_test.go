package builtin

import (
	"strings"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
)

// TestWrongClock: who has no keys for a wrong clock is told so, and so is whose
// loops are lost near the end of an epoch for one that is less wrong.
func TestWrongClock(t *testing.T) {
	hour := directory.DefaultParameters()
	tenth := hour
	tenth.Epoch = directory.Duration(40 * time.Second)
	for _, test := range []struct {
		p      directory.Parameters
		offset time.Duration // of the gateway's clock to ours
		says   string
	}{
		{hour, 0, ""},
		{hour, 15 * time.Second, ""},
		{hour, -15 * time.Second, ""},
		{hour, 2 * time.Hour, "this computer's clock is 2h0m0s behind the gateway's"},
		{hour, -3 * time.Minute, "this computer's clock is 3m0s ahead of the gateway's"},
		{tenth, -6 * time.Second, "this computer's clock is 6s ahead of the gateway's"},
	} {
		c := &Client{doc: &directory.Document{Parameters: test.p}, offset: test.offset}
		keys, loops := c.keysReason(directory.ErrNoView), c.loopsReason()
		wantKeys, wantLoops := test.says, test.says
		if test.says == "" {
			wantKeys, wantLoops = "waiting for the gateway", "a node is broken"
		}
		if !strings.HasPrefix(keys, wantKeys) || !strings.HasPrefix(loops, wantLoops) {
			t.Errorf("off by %v: keys: %q; loops: %q; want both to begin with %q", test.offset, keys, loops, test.says)
		}
		if got := c.keysReason(errNoEcho); got != errNoEcho.Error() {
			t.Errorf("no echo service: %q", got)
		}
	}
}
