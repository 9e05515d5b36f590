package demo

import (
	"context"
	"strings"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/proxy/progress"
)

// at is a time some milliseconds after an epoch.
func at(ms int) time.Time { return time.UnixMilli(1_800_000_000_000 + int64(ms)) }

// TestBreakdown checks the breakdown of journeys whose parts are known.
func TestBreakdown(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	timing := func(asked, sent, received, up, down int) mixclient.Timing {
		return mixclient.Timing{Asked: at(asked), Sent: at(sent), Received: at(received), Up: ms(up), Down: ms(down)}
	}
	lookUp := timing(5, 1005, 3015, 800, 1200)
	for _, c := range []struct {
		name string
		j    Journey
		want Breakdown
	}{{
		name: "the read comes after the block",
		j: Journey{
			Submitted: at(0), Delivered: at(4730), Visible: at(4731), Count: 1,
			Sent: map[uint32]mixclient.Timing{0: timing(10, 1010, 0, 1000, 9999)}, // at the spool at 2010
			Read: map[uint32]mixclient.Timing{0: timing(0, 1500, 4725, 1200, 2000)},
		},
		want: Breakdown{
			Total: ms(4731), Slots: ms(1000 + 690), Delays: ms(1000 + 2000), Overhead: ms(41),
			Sealing: ms(10), Carrying: ms(25), Storing: ms(5), Showing: ms(1),
		},
	}, {
		name: "the read was held up and comes just after the block",
		j: Journey{
			Submitted: at(0), Delivered: at(3030), Count: 1,
			Sent: map[uint32]mixclient.Timing{0: timing(10, 1010, 0, 1000, 9999)}, // at the spool at 2010
			Read: map[uint32]mixclient.Timing{0: timing(0, 1000, 3025, 1005, 1000)},
		},
		want: Breakdown{
			Total: ms(3030), Slots: ms(1000), Delays: ms(2000), Overhead: ms(30),
			Sealing: ms(10), Carrying: ms(15), Storing: ms(5),
		},
	}, {
		name: "a stranger pays",
		j: Journey{
			Submitted: at(0), Sealed: at(8), Paid: at(258), Delivered: at(3280), Count: 1,
			Sent: map[uint32]mixclient.Timing{0: timing(260, 1260, 0, 1000, 9999)}, // at the spool at 2260
			Read: map[uint32]mixclient.Timing{0: timing(0, 1250, 3275, 1005, 1000)},
		},
		want: Breakdown{
			Total: ms(3280), Slots: ms(1000), Delays: ms(2000), Work: ms(250), Overhead: ms(30),
			Sealing: ms(10), Carrying: ms(15), Storing: ms(5),
		},
	}, {
		name: "other mail has the slots first",
		j: Journey{
			Submitted: at(0), Delivered: at(63030), Count: 1, Before: at(60000),
			Sent: map[uint32]mixclient.Timing{0: timing(60010, 61010, 0, 1000, 9999)}, // at the spool at 62010
			Read: map[uint32]mixclient.Timing{0: timing(0, 61000, 63025, 1005, 1000)},
		},
		want: Breakdown{
			Total: ms(63030), Slots: ms(60000 + 1000), Delays: ms(2000), Overhead: ms(30),
			Sealing: ms(10), Carrying: ms(15), Storing: ms(5),
		},
	}, {
		name: "its turn comes while the slot before is given",
		j: Journey{
			Submitted: at(0), Delivered: at(63020), Count: 1, Before: at(60005),
			Sent: map[uint32]mixclient.Timing{0: timing(60000, 61010, 0, 1000, 9999)}, // at the spool at 62010
			Read: map[uint32]mixclient.Timing{0: timing(0, 61000, 63015, 1005, 1000)},
		},
		want: Breakdown{
			Total: ms(63020), Slots: ms(60000 + 1010), Delays: ms(2000), Overhead: ms(10),
			Carrying: ms(5), Storing: ms(5),
		},
	}, {
		name: "keys are looked up first",
		j: Journey{
			Submitted: at(0), Delivered: at(6735), Count: 1, LookUp: &lookUp,
			Sent: map[uint32]mixclient.Timing{0: timing(3020, 4020, 0, 1000, 9999)}, // at the spool at 5020
			Read: map[uint32]mixclient.Timing{0: timing(0, 4100, 6725, 1100, 1500)},
		},
		want: Breakdown{
			Total: ms(6735), Slots: ms(1000 + 1000 + 180), Delays: ms(2000 + 1000 + 1500), Overhead: ms(55),
			Sealing: ms(5 + 5), Carrying: ms(10 + 25), Storing: ms(10),
		},
	}} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := c.j.Breakdown()
			if !ok || got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if got.Rest() != 0 {
				t.Errorf("%v are not explained", got.Rest())
			}
		})
	}
	for name, j := range map[string]Journey{
		"of several blocks": {Delivered: at(1), Count: 2, Sent: map[uint32]mixclient.Timing{0: {}}, Read: map[uint32]mixclient.Timing{0: {}}},
		"not delivered":     {Count: 1, Sent: map[uint32]mixclient.Timing{0: {}}, Read: map[uint32]mixclient.Timing{0: {}}},
		"not read":          {Delivered: at(1), Count: 1, Sent: map[uint32]mixclient.Timing{0: {}}},
	} {
		if _, ok := j.Breakdown(); ok {
			t.Errorf("there is a breakdown of a message that is %s", name)
		}
	}
}

// TestTurn checks that the log knows which slot went to other mail before a mail's
// own.
func TestTurn(t *testing.T) {
	var l Log
	sent := func(outbox string, index uint32, ms int) {
		l.Observe(progress.Event{
			Kind: progress.Sent, Account: Alice, Recipient: Bob, Outbox: outbox, Index: index,
			Timing: mixclient.Timing{Sent: at(ms)},
		})
	}
	sent("a", 0, 100)
	sent("b", 0, 200)
	sent("a", 1, 300)
	sent("c", 0, 400)
	want := map[string]time.Time{"a": {}, "b": at(100), "c": at(300)}
	for _, j := range l.Journeys() {
		if !j.Before.Equal(want[j.Outbox]) {
			t.Errorf("before %s was a slot at %v, want %v", j.Outbox, j.Before, want[j.Outbox])
		}
	}
}

// TestLateRepetition checks that a block that was sent once more after it had
// been read leaves the journey as it was.
func TestLateRepetition(t *testing.T) {
	var l Log
	first := mixclient.Timing{Sent: at(10)}
	for _, e := range []progress.Event{
		{Kind: progress.Submitted, Outbox: "1", Recipient: Bob, At: at(0)},
		{Kind: progress.Sealed, Outbox: "1", Recipient: Bob, Count: 1},
		{Kind: progress.Sent, Outbox: "1", Recipient: Bob, Timing: first},
		{Kind: progress.Read},
		{Kind: progress.Sent, Outbox: "1", Recipient: Bob, Timing: mixclient.Timing{Sent: at(99)}},
	} {
		l.Observe(e)
	}
	if j := l.Journeys(); len(j) != 1 || j[0].Sent[0] != first {
		t.Errorf("got %+v", j)
	}
}

// TestWatch checks that a watcher sees a mail, after the 250 and after all that
// the daemon says of it, and that the breakdown of a real mail adds up.
func TestWatch(t *testing.T) {
	var log Log
	slots := make(chan string, 1000)
	w := newWorld(t, func(cfg *Config) {
		cfg.Observe = log.Observe
		cfg.Slots = func(account string, _ builtin.Slot) {
			select {
			case slots <- account:
			default:
			}
		}
	})
	watch, err := w.Watch(w.Accounts[1])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, subject := range []string{"one", "two"} {
		answered, err := w.SubmitTimed(w.Accounts[0], Bob, mailOf(Alice, Bob, subject, "body"))
		if err != nil {
			t.Fatal(err)
		}
		arrived, err := watch.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(arrived.Raw), "\r\nSubject: "+subject+"\r\n") || !arrived.Seen.After(answered) {
			t.Errorf("watched %v after the 250: %s", arrived.Seen.Sub(answered), arrived.Raw)
		}
		journeys := log.Journeys()
		j := journeys[len(journeys)-1]
		j.Visible = arrived.Seen
		b, ok := j.Breakdown()
		if !ok || b.Rest().Abs() > time.Millisecond || b.Slots <= 0 || b.Delays <= 0 || b.Overhead <= 0 {
			t.Errorf("%q: breakdown %+v, %t, %v not explained", subject, b, ok, b.Rest())
		}
		if known := j.LookUp == nil; known != (subject == "two") {
			t.Errorf("%q: keys known before: %t", subject, known)
		}
	}
	if err := watch.Close(); err != nil {
		t.Error(err)
	}
	if len(slots) == 0 {
		t.Error("no slot was told of")
	}
}
