package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy/storekey"
	"mailproxy/proxy/web"
)

const (
	// clockNotice is from which difference of clocks on the page says so; the network
	// forgives some seconds.
	clockNotice = 20 * time.Second
	// diskNotice is how much free space is little, in bytes. The last of it is left
	// alone (reserve), and mail is refused.
	diskNotice = 1 << 30
)

// lookEvery is how old Options.Checks' results get while somebody looks at them.
const lookEvery = time.Minute

// looked are the last results of Options.Checks.
type looked struct {
	mu      sync.Mutex // guards all below
	at      time.Time  // when they were made; zero for never
	looking bool
	list    []web.Check
}

// further returns the last results of Options.Checks, and has them made anew in the
// background if they are old.
func (d *Daemon) further() []web.Check {
	if d.opt.Checks == nil {
		return nil
	}
	l := &d.looked
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.looking && (l.at.IsZero() || d.opt.Now().Sub(l.at) >= lookEvery) {
		l.looking = true
		d.wg.Go(func() {
			list := d.opt.Checks(d.ctx, d.Status())
			l.mu.Lock()
			defer l.mu.Unlock()
			l.at, l.looking, l.list = d.opt.Now(), false, list
		})
	}
	return slices.Clone(l.list)
}

// Checks implements web.Source: what can go wrong, one by one.
func (p pageSource) Checks(context.Context) []web.Check {
	var list []web.Check
	add := func(name string, level web.Level, text, advice string) {
		list = append(list, web.Check{Name: name, Level: level, Text: text, Advice: advice})
	}
	s := p.State()
	for _, a := range s.Accounts {
		switch {
		case a.Ending == Deleted.String():
		case a.Problem != "":
			add("Address "+a.Address, web.Trouble, sentence(a.Problem), "")
		case !a.Registered && p.d.homeOf(a.Address) != a.Address:
			add("Address "+a.Address, web.Good, "An alias, which is registered at a random time.", "")
		case !a.Registered:
			add("Address "+a.Address, web.Notice, "It is being registered at its provider.", "That takes some seconds once there is a connection.")
		case a.Held > 0:
			add("Address "+a.Address, web.Notice, fmt.Sprintf("%d mails are held, since their sender's key changed or is in doubt.", a.Held), "Look at the contacts.")
		default:
			add("Address "+a.Address, web.Good, "Registered, and read all the time.", "")
		}
	}
	for _, n := range s.Networks {
		if n.Connected {
			add("Connection", web.Good, "The gateway is reached.", "")
		} else {
			add("Connection", web.Trouble, sentence(n.Reason), "mailproxy goes on trying; there is nothing to do unless this computer has no internet.")
		}
		switch {
		case n.LoopAlarm:
			add("Loss", web.Trouble, fmt.Sprintf("%.0f %% of the last packets that measure the network got lost.", 100*n.LoopsLost), "Mail takes longer and is not lost. Tell your provider if it lasts.")
		case n.LoopsSent > 0:
			add("Loss", web.Good, fmt.Sprintf("Of %d packets that measure the network, %d came back.", n.LoopsSent, n.LoopsBack), "")
		}
		if off := n.ClockOffset.Round(time.Second); off > clockNotice || off < -clockNotice {
			add("Clock", web.Trouble, fmt.Sprintf("The network's clock and this computer's are %v apart.", off.Abs()), "Set this computer's clock right, best by its own time service.")
		} else if n.Connected {
			add("Clock", web.Good, "It agrees with the network's.", "")
		}
	}
	if err := p.d.cert.Check(); err != nil {
		add("Certificate", web.Trouble, sentence(err.Error()), "")
	} else {
		add("Certificate", web.Good, "Mail programs are shown one that holds until "+p.d.cert.NotAfter().Local().Format("2 January 2006")+"; it is renewed by itself.", "")
	}
	switch free, err := store.Free(p.d.opt.Dir); {
	case errors.Is(err, store.ErrFreeUnknown):
	case err != nil:
		add("Disk", web.Notice, sentence(err.Error()), "")
	case free < reserve:
		add("Disk", web.Trouble, "The disk is full: no mail can be taken.", "Make room on the disk where "+p.d.opt.Dir+" is.")
	case free < diskNotice:
		add("Disk", web.Notice, fmt.Sprintf("%d MiB are left.", free>>20), "Make room on the disk where "+p.d.opt.Dir+" is.")
	default:
		add("Disk", web.Good, fmt.Sprintf("%.1f GiB are left.", float64(free)/(1<<30)), "")
	}
	switch info, err := storekey.Inspect(p.d.opt.Dir); {
	case err != nil:
		add("Encryption", web.Notice, sentence(err.Error()), "")
	case info.Way == storekey.Plain:
		add("Encryption", web.Notice, "What is kept is encrypted, but the key lies beside it.", "Seal it with: mailproxy store key --passphrase")
	default:
		add("Encryption", web.Good, "What is kept is encrypted, and its key is sealed ("+string(info.Way)+").", "")
	}
	return append(list, p.d.further()...)
}

// sentence makes one of an error's words.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
