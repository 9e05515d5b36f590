package proxy

import (
	"context"
	"fmt"
	"slices"

	"mailproxy/internal/address"
	"mailproxy/mixclient"
	"mailproxy/proxy/inbox"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/web"
)

// Status describes the daemon at one moment, for the user and for programs.
type Status struct {
	// Headline says whether mail flows; for who asks the running daemon.
	Headline *web.Headline     `json:"headline,omitempty"`
	Accounts []AccountStatus   `json:"accounts"`
	Listen   map[string]string `json:"listen"` // by protocol
	Waiting  int               `json:"outbox"` // recipients whose mail is not in a spool yet
	Receipts int               `json:"unconfirmed"`
	// Sending are the mails that are not in all recipients' spools yet, the oldest first.
	Sending []outbox.Mail `json:"sending,omitempty"`
	// Alarms are what is wrong with providers' logs of keys, until it is dismissed.
	Alarms []Alarm `json:"alarms,omitempty"`
	// Paying are messages to new recipients that are paid for with computing time.
	Paying []outbox.Payment `json:"paying,omitempty"`
}

// An Arrival is a message of which not all is here yet.
type Arrival = inbox.Arrival

// AccountStatus describes one account.
type AccountStatus struct {
	Address    string `json:"address"`
	AliasOf    string `json:"alias_of,omitempty"` // the account in whose mailbox its mail is
	Registered bool   `json:"registered"`
	Problem    string `json:"problem,omitempty"`
	Ending     string `json:"ending,omitempty"` // "revoked" or "deleted"
	Incomplete int    `json:"incomplete"`       // messages of which parts are missing
	// Arriving are those messages, the oldest first, and a hundred of them at most.
	Arriving []Arrival     `json:"arriving,omitempty"`
	Held     int           `json:"held"`    // messages whose sender's key changed or is in doubt
	Blocked  uint64        `json:"blocked"` // mails of blocked contacts that were dropped since the start
	Network  NetworkStatus `json:"network"`
	// SharesWith is the first account that is carried by the same client, if that
	// is another: Network is of both together.
	SharesWith string `json:"shares_network_with,omitempty"`
}

// NetworkStatus describes the engine that carries an account.
type NetworkStatus struct {
	Connected   bool    `json:"connected"`
	Reason      string  `json:"reason,omitempty"`
	SlotsMail   uint64  `json:"slots_mail"`  // queries sent
	SlotsRead   uint64  `json:"slots_read"`  // reads sent
	SlotsCover  uint64  `json:"slots_cover"` // loops sent
	Lost        uint64  `json:"lost"`        // of all these, by the network
	Interrupted uint64  `json:"interrupted"` // and by a sleep, or a connection that ended or stood still
	LoopsSent   uint64  `json:"loops_sent"`  // those that measure loss
	LoopsBack   uint64  `json:"loops_back"`
	LoopsLost   float64 `json:"loops_lost"` // share of the last hundred
	LoopAlarm   bool    `json:"loop_alarm"`
	ClockOffset float64 `json:"clock_offset_seconds"` // of the network's clock to ours
	InFlight    int     `json:"in_flight"`
	BytesPerDay int64   `json:"bytes_per_day"` // each way
	PerSecond   float64 `json:"packets_per_second"`
	RoundTripMS int64   `json:"round_trip_ms"` // mean, of the delays drawn
}

// Status returns the daemon's status.
func (d *Daemon) Status() Status {
	s := Status{Listen: d.listening()}
	s.Waiting, s.Receipts = d.outbox.Count()
	s.Alarms = d.alarms()
	s.Paying = d.outbox.Payments()
	s.Sending = d.outbox.Sending()
	carried := map[mixclient.Network]AccountStatus{}
	for _, a := range d.listed() {
		st := a.status()
		if st.Ending == Deleted.String() {
			s.Accounts = append(s.Accounts, st) // no network carries it
			continue
		}
		if first, ok := carried[a.network]; ok {
			st.SharesWith, st.Network = first.Address, first.Network
		} else {
			carried[a.network] = st
		}
		s.Accounts = append(s.Accounts, st)
	}
	return s
}

// arrivals returns the account's inbox, or nil for one that is about to be started: the
// status page and the command line may ask before that.
func (a *account) arrivals() *inbox.Inbox {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inbox
}

// heldFrom counts the messages that are held, by sender.
func (a *account) heldFrom() map[string]int {
	if in := a.arrivals(); in != nil {
		return in.HeldFrom()
	}
	return map[string]int{}
}

// listed returns the accounts, then the aliases that are not retired.
func (d *Daemon) listed() []*account {
	list := slices.DeleteFunc(d.list(), func(a *account) bool { return a.owner != "" })
	for _, a := range d.aliases("") {
		if a.ending() != Deleted {
			list = append(list, a)
		}
	}
	return list
}

func (a *account) status() AccountStatus {
	a.mu.Lock()
	s := AccountStatus{Address: a.record.Address, AliasOf: a.owner, Registered: a.record.Registered}
	if a.problem != nil {
		s.Problem = a.problem.Error()
	}
	ending := a.record.Ending
	a.mu.Unlock()
	s.Ending = ending.String()
	if ending == Deleted {
		return s
	}
	if in := a.arrivals(); in != nil {
		s.Incomplete, s.Held = in.Waiting()
		s.Arriving = in.Arriving()
		s.Blocked = in.Counters.Blocked.Load()
	}
	n := a.network.Status()
	s.Network = NetworkStatus{
		Connected: n.Connected, Reason: n.Reason,
		SlotsMail: n.Queries, SlotsRead: n.Reads, SlotsCover: n.Loops + n.LoopsSent,
		Lost: n.Lost, Interrupted: n.Interrupted, LoopsSent: n.LoopsSent, LoopsBack: n.LoopsBack,
		LoopsLost: n.LoopsLost, LoopAlarm: n.LoopAlarm, ClockOffset: n.ClockOffset.Seconds(), InFlight: n.InFlight,
		BytesPerDay: n.BytesPerDay, PerSecond: n.QueryRate + n.ReadRate + n.LoopRate,
		RoundTripMS: n.RoundTrip.Milliseconds(),
	}
	return s
}

// WaitRegistered waits until the account's provider has it. It returns the
// provider's refusal if that is for good.
func (d *Daemon) WaitRegistered(ctx context.Context, addr string) error {
	canonical, err := address.Canonical(addr)
	if err != nil {
		return err
	}
	a := d.account(canonical)
	if a == nil {
		return fmt.Errorf("there is no account %s here", canonical)
	}
	select {
	case <-a.registered:
		return nil
	case err := <-a.refused:
		a.refused <- err // for the next who asks
		return fmt.Errorf("register %s: %w", canonical, err)
	case <-ctx.Done():
		return fmt.Errorf("register %s: %s; it goes on trying: %w", canonical, a.unanswered(), ctx.Err())
	}
}
