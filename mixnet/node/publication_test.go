package node

import (
	"testing"
	"time"

	"mailproxy/mixnet/directory"
)

// A directory that is down for long made each node publish, and log, at every tick.
func TestDirectoryDownDoesNotMakeNodesHammer(t *testing.T) {
	p := directory.DefaultParameters()
	pub := newPublication(p, time.Second)
	now := p.EpochStart(1000)
	if now.Before(pub.due) {
		t.Fatal("a new publication is not due at once")
	}
	var times, told int
	var longest time.Duration
	for end := now.Add(time.Duration(p.Epoch)); now.Before(end); {
		times++
		if pub.done(now, 2, 3) {
			told++
		}
		longest = max(longest, pub.due.Sub(now))
		now = pub.due
	}
	if most := int(time.Duration(p.Epoch) / (p.Round() / 16)); times > most+10 {
		t.Errorf("published %d times in an epoch, want %d at most", times, most)
	}
	if longest > p.Round()/8 {
		t.Errorf("waited %v: a directory that comes back votes %v after its start", longest, p.Round()/4)
	}
	if told != 1 {
		t.Errorf("the same outcome was told %d times", told)
	}
	if !pub.done(now, 3, 3) || pub.due.Sub(now) != p.Round()/2 {
		t.Errorf("when all took it, the next time is in %v, want %v", pub.due.Sub(now), p.Round()/2)
	}
	if !pub.done(now, 2, 3) || pub.due.Sub(now) > time.Second {
		t.Errorf("after one that failed, the next time is in %v", pub.due.Sub(now))
	}
}
