package web

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mailproxy/mixclient"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/outbox"
)

// TestEntropyAgainstSimulation compares with the table in docs/parameters.md, which a
// simulation of every mix has made.
func TestEntropyAgainstSimulation(t *testing.T) {
	for _, c := range []struct {
		users int
		delay time.Duration
		bits  float64
	}{
		{2, 400 * time.Millisecond, 0.8}, {10, 400 * time.Millisecond, 3.1}, {100, 400 * time.Millisecond, 6.4},
		{1000, 400 * time.Millisecond, 9.7}, {1000, 50 * time.Millisecond, 8.4}, {1000, 2 * time.Second, 9.9},
	} {
		got := entropy(c.users, mixing{rate: 1.5, mean: c.delay.Seconds(), mixes: 3})
		t.Logf("%d users, %v: %.2f bits, the simulation has %.1f", c.users, c.delay, got, c.bits)
		if math.Abs(got-c.bits) > 0.2 || got > math.Log2(float64(c.users))+1e-9 {
			t.Errorf("%d users, %v: %.2f bits, want %.1f", c.users, c.delay, got, c.bits)
		}
	}
}

func TestCrowdsOfNoMixing(t *testing.T) {
	if list := crowds(mixclient.Status{QueryRate: 1}); list != nil {
		t.Errorf("a network without mixes hides in %v", list)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"Grüße, 世界": "Grüße, 世界",
		"a\tb\r\nc": "a b  c",
		"x\u202ey":  "x\ufffdy",
		"\x1b[2J":   "\ufffd[2J",
		"bad \xff":  "bad \ufffd",
		"a\u200bb":  "a\ufffdb",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := clean(strings.Repeat("ü", 5000)); utf8.RuneCountInString(got) != maxText+1 || !strings.HasSuffix(got, "…") {
		t.Errorf("a long text has %d characters", utf8.RuneCountInString(got))
	}
}

func FuzzClean(f *testing.F) {
	f.Add(hostile)
	f.Add("\xff\xfe")
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > maxText+1 || strings.ContainsAny(got, "\x00\n\r\x1b\u202a\u202b\u202d\u202e\u2066\u2067\u2068") {
			t.Errorf("clean(%q) = %q", s, got)
		}
		if again := clean(got); !strings.HasSuffix(got, "…") && again != got {
			t.Errorf("clean(%q) = %q, which is cleaned to %q", s, got, again)
		}
	})
}

func TestHeadline(t *testing.T) {
	up, down := mixclient.Status{Connected: true}, mixclient.Status{Reason: "the gateway does not answer"}
	lossy := mixclient.Status{Connected: true, LoopAlarm: true, LoopsLost: 0.5}
	one := func(a Account, n mixclient.Status) State {
		return State{Accounts: []Account{a}, Networks: []Network{{Status: n}}}
	}
	alice := Account{Address: "alice@north.test", Registered: true}
	alarmed := one(alice, up)
	alarmed.Alarms = []Alarm{{Subject: "Warning: a false key"}}
	for _, c := range []struct {
		name  string
		state State
		level Level
		text  string
	}{
		{"nothing", State{}, Notice, "no account"},
		{"all gone", State{Accounts: []Account{{Ending: "deleted", Network: -1}}}, Notice, "no account"},
		{"well", one(alice, up), Good, "mail flows"},
		{"offline", one(alice, down), Trouble, "Offline: the gateway does not answer"},
		{"loss", one(alice, lossy), Trouble, "50 %"},
		{"new", one(Account{Address: "bob@south.test"}, up), Notice, "bob@south.test is being registered"},
		{"an alias that waits", State{Accounts: []Account{alice, {Address: "lea@south.test", AliasOf: alice.Address}}, Networks: []Network{{Status: up}}}, Good, "mail flows"},
		{"an alias that is refused", State{Accounts: []Account{alice, {Address: "lea@south.test", AliasOf: alice.Address, Problem: "by invitation only"}}, Networks: []Network{{Status: up}}}, Trouble, "by invitation only"},
		{"refused", one(Account{Address: "bob@south.test", Problem: "the name is taken"}, up), Trouble, "the name is taken"},
		{"held", one(Account{Address: "a@b.test", Registered: true, Held: 2}, up), Notice, "2 mails"},
		{"one held", one(Account{Address: "a@b.test", Registered: true, Held: 1}, up), Notice, "1 mail to a@b.test is held"},
		{"alarm", alarmed, Trouble, "a false key"},
	} {
		if h := HeadlineOf(c.state); h.Level != c.level || !strings.Contains(h.Text, c.text) {
			t.Errorf("%s: %s %q, want %s %q", c.name, h.Level, h.Text, c.level, c.text)
		}
	}
	both := one(Account{Address: "a@b.test"}, down)
	if h := HeadlineOf(both); h.Level != Trouble || !strings.HasPrefix(h.Text, "Offline") || len(h.More) != 1 || !strings.Contains(h.More[0], "once there is a connection") {
		t.Errorf("offline and new: %+v", h)
	}
}

func TestExpected(t *testing.T) {
	n := mixclient.Status{Connected: true, QueryRate: 0.6, ReadRate: 0.8, RoundTrip: 2400 * time.Millisecond}
	// One small mail: a slot, the way there, the recipient's slot, the way back: docs/parameters.md has a median of 4.8 s.
	if d := expected(n, false, 1, []int{1}); d < 4*time.Second || d > 7*time.Second {
		t.Errorf("a small mail takes %v", d)
	}
	if first, later := expected(n, true, 1, []int{1}), expected(n, false, 1, []int{1}); first <= later {
		t.Errorf("a first mail takes %v, a later one %v", first, later)
	}
	// Messages share the slots in turn: a small one does not wait for a large one.
	small, large := expected(n, false, 1, []int{1, 150}), expected(n, false, 150, []int{1, 150})
	if small > 10*time.Second || large < 4*time.Minute {
		t.Errorf("a small mail beside a large one takes %v, the large one %v", small, large)
	}
	lossy := n
	lossy.LoopsLost = 0.5
	if d := expected(lossy, false, 150, []int{150}); d < 8*time.Minute {
		t.Errorf("with half of all lost: %v", d)
	}
}

func TestMovingWords(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local)
	next := now.Add(10 * time.Minute)
	s := State{
		Accounts: []Account{{Address: "a@b.test", Network: 0}},
		Networks: []Network{{Status: mixclient.Status{QueryRate: 0.6}}},
		Paying:   []outbox.Payment{{Account: "a@b.test", Recipient: "one@b.test", Paid: 1, Blocks: 3}},
		Sending: []outbox.Mail{{Account: "a@b.test", Recipients: []outbox.MailRecipient{
			{Address: "one@b.test", State: "sending", Blocks: 3, Acknowledged: 1},
			{Address: "two@b.test", State: "held"},
			{Address: "three@b.test", State: "queued", NextTry: &next, Problem: "it has no room"},
		}}},
	}
	p := movingOf(s, now)[0].Recipients
	if p[0].Percent != 33 || !strings.Contains(p[0].Words, "1 of 3 parts") || !strings.Contains(p[0].Words, "paying with computing time, 1 of 3") || p[0].Expect != "leaves when the connection is back" {
		t.Errorf("offline: %+v", p[0])
	}
	if p[1].Percent != -1 || !strings.Contains(p[1].Words, "held") || p[1].Expect != "" {
		t.Errorf("held: %+v", p[1])
	}
	s.Networks[0].Connected = true
	if p := movingOf(s, now)[0].Recipients[2]; p.Expect != "is tried again at 22 Nov 12:10" {
		t.Errorf("refused: %+v", p)
	}
}

func TestFate(t *testing.T) {
	for want, flags := range map[string][]string{
		"":                            {`\Seen`},
		"delivered":                   {`\Seen`, mailbox.KeywordDelivered},
		"waiting, delivered":          {mailbox.KeywordDelivered, mailbox.KeywordQueued},
		"at the recipient's provider": {strings.ToLower(mailbox.KeywordSpooled)},
	} {
		if got := fate(flags); got != want {
			t.Errorf("fate(%v) = %q, want %q", flags, got, want)
		}
	}
}

func TestPlot(t *testing.T) {
	p := newPlot()
	at := time.Unix(1000, 0)
	state := func(mail, reads uint64) State {
		return State{Networks: []Network{{
			Status: mixclient.Status{Queries: mail, Reads: reads, Loops: 5, LoopsSent: 5},
			Delays: Histogram{Width: time.Second, Counts: []uint64{1, 2}},
		}}}
	}
	p.add(at, state(0, 0))
	p.add(at.Add(10*time.Second), state(5, 20))
	p.add(at.Add(20*time.Second), state(2, 30)) // an account has gone
	p.add(at.Add(30*time.Second), state(3, 40))
	p.add(at.Add(40*time.Second), State{})
	p.add(at.Add(50*time.Second), state(4, 50)) // the first account was added: all since the start is not of these ten seconds
	got, n := p.series(state(3, 40))
	if n != 6 || len(got.At) != 2 || got.Mail[0] != 0.5 || got.Reads[0] != 2 || got.Mail[1] != 0.1 || got.Cover[0] != 0 || got.Delays[1] != 2 || got.Width != 1 {
		t.Errorf("series %d: %+v", n, got)
	}
	for range plotMost + 5 {
		p.add(at, state(0, 0))
	}
	if len(p.points) != plotMost {
		t.Errorf("%d points are kept", len(p.points))
	}
}
