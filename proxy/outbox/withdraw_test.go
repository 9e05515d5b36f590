package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/progress"
	"mailproxy/proxy/seal"
)

// A desk is an outbox whose slots the test gives, and the mailbox beside it.
type desk struct {
	t       *testing.T
	st      *store.Store
	mail    *mailbox.Account
	outbox  *Outbox
	network *slotByHand
	account self
	spooled chan progress.Event
	open    func()
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	h := newHome(t)
	d := &desk{
		t: t, st: h.store, mail: h.box, spooled: make(chan progress.Event, 10),
		network: &slotByHand{waiting: make(chan struct{}, 1), slot: make(chan struct{})},
	}
	d.account = self{keys: h.keys, network: d.network}
	d.open = func() {
		var err error
		d.outbox, err = Open(Config{
			Store: d.st, Mailbox: h.mail, Times: DefaultTimes(),
			Account: func(string) (Account, bool) { return d.account, true },
			Observe: func(e progress.Event) {
				if e.Kind == progress.InSpool {
					d.spooled <- e
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	d.open()
	t.Cleanup(func() { d.outbox.Close() })
	return d
}

// run starts sending, and returns how to end that.
func (d *desk) run() (stop func()) {
	ctx, cancel := context.WithCancel(d.t.Context())
	ran := make(chan struct{})
	go func() { defer close(ran); d.outbox.Run(ctx, d.network) }()
	return func() { cancel(); <-ran; d.outbox.Close() }
}

// submit queues a mail with that body and returns its id.
func (d *desk) submit(body string, recipients ...string) string {
	d.t.Helper()
	s := &Submission{Account: me, From: me}
	for _, r := range recipients {
		s.Recipients = append(s.Recipients, Recipient{Address: r})
	}
	n := len(d.queue())
	m := fmt.Sprintf("To: you@north.test\r\nSubject: =?utf-8?q?n=C2=B0?= %d\r\nMessage-ID: <m%d@x>\r\n\r\n%s", n, n, body)
	if err := d.outbox.Submit(d.t.Context(), s, strings.NewReader(m)); err != nil {
		d.t.Fatal(err)
	}
	q := d.queue()
	return q[len(q)-1].ID
}

func (d *desk) queue() []Mail {
	d.t.Helper()
	q, err := d.outbox.Queue(me)
	if err != nil {
		d.t.Fatal(err)
	}
	return q
}

// shown returns the keywords of the only message in Sent.
func (d *desk) shown() []string {
	d.t.Helper()
	f, err := d.mail.Folder(mailbox.Sent)
	if err != nil {
		d.t.Fatal(err)
	}
	list, err := f.Messages()
	if err != nil || len(list) != 1 {
		d.t.Fatalf("Sent holds %v, %v", list, err)
	}
	return slices.DeleteFunc(slices.Clone(list[0].Flags), func(f string) bool { return f == mailbox.FlagSeen })
}

// wantShown waits for the keywords of the message in Sent.
func (d *desk) wantShown(want ...string) {
	d.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !slices.Equal(d.shown(), want); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("in Sent is %v, want %v", d.shown(), want)
		}
	}
}

func (d *desk) withdraw(id string, recipients ...string) []Withdrawal {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*time.Minute)
	defer cancel()
	said, err := d.outbox.Withdraw(ctx, id, recipients)
	if err != nil {
		d.t.Fatal(err)
	}
	return said
}

func TestStatesAreShownInSent(t *testing.T) {
	d := newDesk(t)
	id := d.submit(random(12_000), "you@north.test")
	d.wantShown(mailbox.KeywordQueued)
	stop := d.run()
	defer stop()
	<-d.network.waiting
	q := d.queue()[0]
	r := MailRecipient{Address: "you@north.test", State: "queued", Withdrawable: true, Blocks: 2}
	if q.Subject != "n° 0" || q.MessageID != "m0@x" || q.ID != id || len(q.Recipients) != 1 || q.Recipients[0] != r {
		t.Errorf("queued is %+v", q)
	}
	d.network.slot <- struct{}{}
	d.wantShown(mailbox.KeywordSent)
	<-d.network.waiting // the second block
	r = MailRecipient{Address: "you@north.test", State: "sending", Blocks: 2, Acknowledged: 1}
	if q, err := d.outbox.Mail("<m0@x>"); err != nil || q.Recipients[0] != r {
		t.Errorf("under way is %+v, %v", q, err)
	}
	d.network.slot <- struct{}{}
	d.wantShown(mailbox.KeywordSpooled)
	e := <-d.spooled
	confirm := func() {
		t.Helper()
		err := d.st.Update(func(tx *store.Tx) error { return d.outbox.ConfirmTx(tx, me, "you@north.test", e.Message) })
		if err != nil {
			t.Fatal(err)
		}
	}
	confirm()
	if got := d.shown(); !slices.Equal(got, []string{mailbox.KeywordDelivered}) {
		t.Errorf("with the receipt's transaction Sent shows %v", got)
	}
	for end := time.Now().Add(2 * time.Minute); len(d.queue()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is still queued")
		}
	}
	d.wantShown(mailbox.KeywordDelivered)
	if _, err := d.outbox.Mail(id); !errors.Is(err, ErrNoMail) {
		t.Error(err)
	}
}

func random(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(newID(time.Now()).String()[16:])
		b.WriteString(string(rune('\u0100' + b.Len()%500)))
	}
	return b.String()
}

func TestWithdraw(t *testing.T) {
	d := newDesk(t)
	id := d.submit("hello", "you@north.test", "her@north.test", "him@north.test")
	// Nothing runs yet.
	if said := d.withdraw(id, "HIM@north.test"); !slices.Equal(said, []Withdrawal{{"him@north.test", true, "withdrawn"}}) {
		t.Errorf("said %v", said)
	}
	d.wantShown(mailbox.KeywordQueued, mailbox.KeywordWithdrawn)
	stop := d.run()
	<-d.network.waiting // one of the two waits for its slot
	want := []Withdrawal{{"her@north.test", true, "withdrawn"}, {"him@north.test", false, "withdrawn"}, {"you@north.test", true, "withdrawn"}}
	if said := d.withdraw("m0@x"); !slices.Equal(said, want) {
		t.Errorf("said %v, want %v", said, want)
	}
	d.wantShown(mailbox.KeywordWithdrawn)
	if q := d.queue(); len(q) != 0 {
		t.Errorf("queued is %v", q)
	}
	select {
	case d.network.slot <- struct{}{}:
		t.Error("a query of what was withdrawn waits for its slot")
	case <-time.After(50 * time.Millisecond):
	}
	stop()
	left := 0
	err := d.st.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: []byte("outbox/")}, func(store.Item) error { left++; return nil })
	})
	if err != nil || left > 0 {
		t.Errorf("%d records are left, %v", left, err)
	}
	inbox, err := d.mail.Folder(mailbox.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := inbox.Messages(); err != nil || len(list) > 0 {
		t.Errorf("there are reports: %v, %v", list, err)
	}
}

func TestWithdrawTooLate(t *testing.T) {
	d := newDesk(t)
	id := d.submit(random(12_000), "you@north.test")
	stop := d.run()
	<-d.network.waiting
	d.network.slot <- struct{}{}
	<-d.network.waiting // the second block waits
	if said := d.withdraw(id); !slices.Equal(said, []Withdrawal{{"you@north.test", false, "sending"}}) {
		t.Errorf("said %v", said)
	}
	<-d.network.waiting // it was called back, and goes on
	// After a start nobody knows what left before it.
	stop()
	d.open()
	if q := d.queue(); len(q) != 1 || q[0].Recipients[0].Withdrawable {
		t.Errorf("after a start queued is %+v", q)
	}
	if said := d.withdraw(id); !slices.Equal(said, []Withdrawal{{"you@north.test", false, "sending"}}) {
		t.Errorf("after a start: said %v", said)
	}
	stop = d.run()
	defer stop()
	<-d.network.waiting
	d.network.slot <- struct{}{}
	d.wantShown(mailbox.KeywordSpooled)
	if said := d.withdraw(id); !slices.Equal(said, []Withdrawal{{"you@north.test", false, "spooled"}}) {
		t.Errorf("in the spool: said %v", said)
	}
}

func TestWithdrawMistakes(t *testing.T) {
	d := newDesk(t)
	id := d.submit("hello", "you@north.test")
	err := d.st.Update(func(tx *store.Tx) error { return d.outbox.ReceiptTx(tx, me, "you@north.test", seal.ID{1}) })
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "x", "m1@x", strings.Repeat("0", 32), id[:30]} {
		if _, err := d.outbox.Withdraw(t.Context(), name, nil); !errors.Is(err, ErrNoMail) {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := d.outbox.Retry(name); !errors.Is(err, ErrNoMail) {
			t.Errorf("retry %q: %v", name, err)
		}
	}
	if _, err := d.outbox.Withdraw(t.Context(), id, []string{"you@north.test", "her@north.test"}); !errors.Is(err, ErrNotRecipient) {
		t.Error(err)
	}
	d.outbox.mu.Lock()
	for _, j := range d.outbox.jobs {
		j.parts[0].busy = true // a report is being written, say
		if j.message.Kind == seal.KindMail && j.parts[0].stopped {
			t.Error("a mistake stopped the mail")
		}
	}
	d.outbox.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := d.outbox.Withdraw(ctx, id, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is busy: %v", err)
	}
	if q := d.queue(); len(q) != 1 || !q[0].Recipients[0].Withdrawable {
		t.Errorf("queued is %+v", q)
	}
	d.wantShown(mailbox.KeywordQueued)
}

func TestRetry(t *testing.T) {
	d := newDesk(t)
	id := d.submit("hello", "you@north.test")
	d.outbox.mu.Lock()
	p := d.outbox.turn[0].parts[0]
	d.outbox.refused(p, errors.New("the spool is full"))
	d.outbox.mu.Unlock()
	if q := d.queue()[0].Recipients[0]; q.NextTry == nil || q.Problem != "the spool is full" {
		t.Errorf("refused is %+v", q)
	}
	stop := d.run()
	defer stop()
	select {
	case <-d.network.waiting:
		t.Error("it did not wait")
	case <-time.After(50 * time.Millisecond):
	}
	if m, err := d.outbox.Retry(id); err != nil || m.Recipients[0].NextTry != nil {
		t.Errorf("%+v, %v", m, err)
	}
	<-d.network.waiting
	d.network.slot <- struct{}{}
	d.wantShown(mailbox.KeywordSpooled)
}

// The copy that we put into Sent says who got it, and nothing else does.
func TestBccIsInSentOnly(t *testing.T) {
	d := newDesk(t)
	id := d.submit("hello", "you@north.test", "her@north.test", "Him@North.test")
	f, err := d.mail.Folder(mailbox.Sent)
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.Messages()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := f.Bytes(list[0])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(raw), "Bcc: her@north.test,\r\n him@north.test\r\nTo: you@north.test\r\n") {
		t.Errorf("in Sent is\n%s", raw)
	}
	d.outbox.mu.Lock()
	j, err := d.outbox.named(id)
	d.outbox.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if c, err := io.ReadAll(d.outbox.content(j.id)); err != nil || !strings.HasPrefix(string(c), "To: ") {
		t.Errorf("sent is %q, %v", c, err)
	}
	// A program's own receipts (RFC 8098) are nobody's mail.
	s := &Submission{Account: me, Recipients: []Recipient{{Address: "you@north.test"}}}
	if err := d.outbox.Submit(t.Context(), s, strings.NewReader("Subject: read\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if list, err = f.Messages(); err != nil || len(list) != 1 {
		t.Errorf("in Sent are %v, %v", list, err)
	}
	for _, p := range d.outbox.turn[1].parts {
		if p.Notify != NotifyNever {
			t.Errorf("nobody is to be told of it, but %v", p.Notify)
		}
	}
}
