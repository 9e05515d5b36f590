package authority

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
)

// TestFilesOfPastEpochsAreRemoved: while a directory runs, and not only at its
// start; but not because its clock has jumped.
func TestFilesOfPastEpochsAreRemoved(t *testing.T) {
	c := newCouncil(t, time.Hour)
	c.start("dir1")
	a := c.running["dir1"]
	c.stop("dir1") // the test looks at the clock in its place
	p := c.doc.Parameters
	start := p.EpochStart(1000)
	write := func(e directory.Epoch) {
		for _, suffix := range []string{snapshotSuffix, signedSuffix} {
			if err := os.WriteFile(filepath.Join(c.dir["dir1"], fmt.Sprintf("%d%s", uint64(e), suffix)), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	look := func(after time.Duration, want ...directory.Epoch) {
		t.Helper()
		a.forget(start.Add(after))
		var names []string
		for _, e := range want {
			names = append(names, fmt.Sprintf("%d%s", uint64(e), signedSuffix), fmt.Sprintf("%d%s", uint64(e), snapshotSuffix))
		}
		var have []string
		for _, pattern := range []string{"*" + snapshotSuffix, "*" + signedSuffix} {
			files, err := filepath.Glob(filepath.Join(c.dir["dir1"], pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				have = append(have, filepath.Base(file))
			}
		}
		slices.Sort(have)
		slices.Sort(names)
		if !slices.Equal(have, names) {
			t.Errorf("%v later there are %v, want %v", after, have, names)
		}
	}
	a.steady, a.swept = directory.Steady{}, 0
	for e := directory.Epoch(996); e <= 1001; e++ {
		write(e)
	}
	a.mu.Lock()
	a.signed[999] = []byte("x") // of an epoch in which it did not vote since its start
	a.mu.Unlock()
	look(0, 998, 999, 1000, 1001)
	if len(a.signed) != 0 {
		t.Errorf("%d past snapshots are in memory", len(a.signed))
	}
	look(time.Second, 998, 999, 1000, 1001)
	look(30*time.Minute, 998, 999, 1000, 1001)
	look(time.Hour, 999, 1000, 1001)
	look(10*time.Hour, 999, 1000, 1001) // a wrong clock
	look(61*time.Minute, 999, 1000, 1001)
	look(91*time.Minute, 999, 1000, 1001)
	look(2*time.Hour, 1000, 1001)
}
