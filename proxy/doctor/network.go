package doctor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"mailproxy/proxy"
)

const (
	// clockNotice is from which difference of clocks on, in seconds, one is told of it.
	clockNotice = 20
	// madeAhead is how much later than now a network document may have been made: the
	// clock of who made it may be fast as well.
	madeAhead = time.Hour
)

// daemon says whether one runs.
func (p *Patient) daemon(context.Context) []Result {
	var gone *proxy.MovedError
	switch {
	case p.Status != nil:
		return one(OK, "", "it runs")
	case errors.As(p.StatusErr, &gone):
		return one(Problem, gone.Hint(), "%s", gone.Text())
	case p.StatusErr != nil:
		return one(Problem, "", "%v", p.StatusErr)
	}
	return one(Problem, "start it with "+proxy.HowToStart(),
		"it does not run: mail is neither sent nor received, and its connection cannot be looked at")
}

// document looks at the network document.
func (p *Patient) document(context.Context) []Result {
	doc, err := p.Document(p.Config)
	if err != nil {
		return one(Problem, "", "%v", err)
	}
	if name := p.Config.Network.Gateway; name != "" && !slices.Contains(doc.Gateways, name) {
		return one(Problem, "choose one of them: mailproxy config set network.gateway NAME", "the configuration wants the gateway %q, and the network has %s", name, strings.Join(doc.Gateways, ", "))
	}
	if ahead := doc.Made.Sub(p.Now); ahead > madeAhead {
		return one(Problem, "set this computer's clock right", "by this computer's clock, the document of %q was made in the future, on %s", doc.Network, doc.Made.UTC().Format(time.DateOnly))
	}
	return one(OK, "", "of %q, signed by those whom you trust, %s old", doc.Network, days(p.Now.Sub(doc.Made)))
}

func days(d time.Duration) string {
	switch n := int(d.Hours() / 24); {
	case n <= 0:
		return "less than a day"
	case n == 1:
		return "1 day"
	default:
		return fmt.Sprintf("%d days", n)
	}
}

// connections calls look for each connection to the network that the daemon has.
func (p *Patient) connections(look func(account string, n proxy.NetworkStatus) []Result) (all []Result) {
	if p.Status == nil {
		return nil
	}
	for _, a := range p.Status.Accounts {
		if a.SharesWith == "" && a.Ending != proxy.Deleted.String() {
			all = append(all, look(a.Address, a.Network)...)
		}
	}
	return all
}

// gateway says whether it is reached. It asks the daemon: a connection of its own would
// show on the wire that somebody looks.
func (p *Patient) gateway(context.Context) []Result {
	return p.connections(func(_ string, n proxy.NetworkStatus) []Result {
		if n.Connected {
			return one(OK, "", "the daemon is connected to it")
		}
		hint := "the daemon goes on trying; see whether this computer has a connection to the internet"
		if p.Config.Network.SOCKS5 != "" {
			hint += ", and whether the SOCKS5 proxy at " + p.Config.Network.SOCKS5 + " runs"
		}
		return one(Problem, hint, "the daemon is offline: %s", n.Reason)
	})
}

// clock compares this computer's with the network's.
func (p *Patient) clock(context.Context) []Result {
	return p.connections(func(_ string, n proxy.NetworkStatus) []Result {
		switch off := n.ClockOffset; {
		case math.Abs(off) > clockNotice && off > 0:
			return one(Problem, "set it right, best by the system's own time service", "this computer's clock is %.0f s behind the network's", off)
		case math.Abs(off) > clockNotice:
			return one(Problem, "set it right, best by the system's own time service", "this computer's clock is %.0f s ahead of the network's", -off)
		case !n.Connected:
			return nil // nothing to compare with
		}
		return one(OK, "", "it agrees with the network's")
	})
}

// loss looks at the loops that measure it.
func (p *Patient) loss(context.Context) []Result {
	return p.connections(func(_ string, n proxy.NetworkStatus) []Result {
		switch {
		case n.LoopAlarm:
			return one(Problem, "mail takes longer and is not lost; tell your provider if it lasts",
				"%.0f %% of the last packets that measure the network got lost", 100*n.LoopsLost)
		case n.LoopsSent > 0:
			return one(OK, "", "of %d packets that measure the network, %d came back", n.LoopsSent, n.LoopsBack)
		}
		return nil
	})
}

// accounts looks at each account.
func (p *Patient) accounts(context.Context) (all []Result) {
	if p.Status == nil {
		return nil
	}
	for _, a := range p.Status.Accounts {
		switch {
		case a.Ending != "":
			all = append(all, one(OK, "", "%s is %s", a.Address, a.Ending)...)
		case a.Problem != "":
			all = append(all, one(Problem, "", "%s: %s", a.Address, a.Problem)...)
		case !a.Registered && a.AliasOf != "":
			all = append(all, one(OK, "", "%s, an alias, is registered at a random time", a.Address)...)
		case !a.Registered:
			all = append(all, one(Warning, "wait some seconds; it needs a connection", "%s is not registered at its provider yet", a.Address)...)
		case a.Held > 0:
			all = append(all, one(Warning, "mailproxy contact list shows whose", "%s: mail is held (%d), for its sender's key changed or is in doubt", a.Address, a.Held)...)
		default:
			all = append(all, one(OK, "", "%s is registered", a.Address)...)
		}
	}
	if len(all) == 0 {
		return one(Warning, "mailproxy join INVITATION, or mailproxy account add NAME@PROVIDER", "there is no account yet")
	}
	return all
}

// alarms tells of what is wrong with providers' logs of keys.
func (p *Patient) alarms(context.Context) (all []Result) {
	if p.Status == nil {
		return nil
	}
	for _, a := range p.Status.Alarms {
		all = append(all, one(Problem, "mailproxy status says what it means; when you know: mailproxy alarm dismiss "+a.ID, "%s", a.Subject)...)
	}
	return all
}
