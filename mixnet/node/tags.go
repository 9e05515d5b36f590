package node

import (
	"sync"
)

// A tagSet remembers the replay tags of every packet seen under one mix key, for
// as long as that key lives. A mix key lives no longer than the process that
// made it, so the set need not outlive it either; keys that do will need tags on
// disk.
//
// Half of a tag is kept: 16 bytes of a hash collide by chance never, and on
// purpose only to get one's own packet dropped.
type tagSet struct {
	mu   sync.Mutex // guards seen
	seen map[[16]byte]struct{}
}

func newTagSet() *tagSet { return &tagSet{seen: map[[16]byte]struct{}{}} }

// add remembers tag and reports whether it is new.
func (t *tagSet) add(tag [32]byte) bool {
	k := [16]byte(tag[:16])
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.seen[k]; ok {
		return false
	}
	t.seen[k] = struct{}{}
	return true
}
