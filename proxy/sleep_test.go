package proxy

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mailproxy/proxy/keys"
	spoolserver "mailproxy/spool/server"
)

// A bedroom holds all requests while it is dark.
type bedroom struct {
	*provider

	mu   sync.Mutex // guards dark
	dark chan struct{}
}

// Answer implements memory.Handler.
func (b *bedroom) Answer(ctx context.Context, request []byte) []byte {
	b.mu.Lock()
	dark := b.dark
	b.mu.Unlock()
	if dark != nil {
		<-dark
	}
	return b.provider.Answer(ctx, request)
}

// TestSleepForLong lets the clock jump by hours and by days, while mail and reads
// are on their way. What was signed before has expired and is signed anew, keys that are
// old are replaced, nothing is lost or doubled, and no problem or alarm stays. Mail
// whose time has passed meanwhile would be reported: none of this has.
func TestSleepForLong(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	room := &bedroom{provider: p}
	other := p.computer(t.TempDir())
	other.handler = room
	other.run()
	other.add(restoredUser)
	c := p.computer(t.TempDir())
	c.handler = room
	c.run()
	c.add(mover)
	var want []string
	for i, hours := range []time.Duration{8, 60, 100, 60} {
		before := c.daemon.account(mover)
		old, _ := before.keys.Bundle()
		room.mu.Lock()
		room.dark = make(chan struct{}) // what is sent now is on its way when the lid closes
		room.mu.Unlock()
		for n := range 3 {
			subject := fmt.Sprintf("mail %d of night %d", n, i)
			other.send(restoredUser, mover, subject)
			want = append(want, subject)
		}
		time.Sleep(50 * time.Millisecond) // some slots' worth
		p.ahead.Add(int64(hours * time.Hour))
		room.mu.Lock()
		close(room.dark)
		room.dark = nil
		room.mu.Unlock()
		slices.Sort(want)
		c.gets(mover, want...)
		p.until("no problem", func() bool {
			return c.daemon.Status().Accounts[0].Problem == "" && other.daemon.Status().Accounts[0].Problem == ""
		})
		if time.Duration(p.ahead.Load()) > keys.PrekeyLife+keys.PrekeyJitter {
			p.until("another prekey", func() bool { now, _ := before.keys.Bundle(); return now.Version > old.Version })
		}
	}
	for _, d := range []*Daemon{c.daemon, other.daemon} {
		if alarms := d.Status().Alarms; len(alarms) > 0 {
			t.Errorf("there are alarms: %v", alarms)
		}
	}
	time.Sleep(100 * time.Millisecond) // for what may be doubled
	c.gets(mover, want...)
	if got := other.subjects(restoredUser); len(got) > 0 {
		t.Errorf("the sender is told %q", got)
	}
}
