package proxy

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mailproxy/proxy/contacts"
	"mailproxy/proxy/mailbox"
	spoolserver "mailproxy/spool/server"
)

const (
	ann = "ann@north.test"
	bob = "bob@north.test"

	personPassword = "kangaroo-paw-42"
)

// changeKeys has two exchange mail, and then bob's place taken by another bob, at a
// provider that has lost its store: their mail is held both ways. verified says whether
// ann verified the first.
func changeKeys(t *testing.T, verified bool) (a, old, b *person) {
	t.Helper()
	p := newProvider(t, spoolserver.OpenPolicy())
	empty := p.backup()
	old = p.person(bob) // before ann: the log's record of the other must be a later one
	a = p.person(ann)
	a.send(old, "first")
	old.one("first")
	old.send(a, "second")
	if got := a.one("second"); !slices.Equal(got.flags, []string{mailbox.KeywordPinned}) {
		t.Errorf("the second mail has the flags %q", got.flags)
	}
	if got := old.one("first"); !slices.Equal(got.flags, []string{mailbox.KeywordNew}) {
		t.Errorf("the first mail has the flags %q", got.flags)
	}
	if verified {
		if out, err := a.verify(old); err != nil || out.State != "verified" || !out.Changed || out.Accepted {
			t.Fatalf("verify: %+v, %v", out, err)
		}
		old.send(a, "third")
		got := a.one("third")
		if !slices.Equal(got.flags, []string{mailbox.KeywordVerified}) || !strings.HasPrefix(got.text, "X-Mailproxy-Sender: verified; address="+bob+"; from=same\r\n") {
			t.Errorf("mail of a verified contact has the flags %q and begins %.100q", got.flags, got.text)
		}
	}
	old.close()

	p.put(empty)
	a.until("ann's second registration", func() bool {
		p.mu.RLock()
		defer p.mu.RUnlock()
		_, err := p.store.Lookup(t.Context(), "ann")
		if err != nil && !errors.Is(err, spoolserver.ErrNoName) {
			t.Fatal(err)
		}
		return err == nil
	})
	b = p.person(bob)
	p.ahead.Store(int64(contacts.Fresh + time.Hour))
	a.send(b, "to whom")
	a.until("a changed key", func() bool { return a.knows(b).State == "changed" })
	b.send(a, "from whom")
	a.until("mail that is held", func() bool { c := a.knows(b); return c.HeldFrom == 1 && c.HeldTo == 1 })
	return a, old, b
}

// heldBothWays checks that neither mail has arrived, and that ann was told once.
func heldBothWays(t *testing.T, a, b *person) {
	t.Helper()
	c := a.knows(b)
	if c.State != "changed" || c.HeldFrom != 1 || c.HeldTo != 1 || c.Other == nil || !c.Other.Published {
		t.Errorf("ann knows of bob: %+v", c)
	}
	a.one("key of " + bob)
	a.one("Your message is delayed")
	if n := len(b.inbox()) + len(a.with("from whom")); n != 0 {
		t.Errorf("%d mails arrived that are held", n)
	}
}

// TestChangedKeyAccepted: mail waits both ways, also over a restart, and goes on once
// the user accepts the key.
func TestChangedKeyAccepted(t *testing.T) {
	a, _, b := changeKeys(t, false)
	notice := a.one("key of " + bob)
	if notice.subject() != "The key of "+bob+" has changed: mail waits for your decision" || !slices.Equal(notice.flags, []string{mailbox.KeywordNotice}) {
		t.Errorf("the notice has the subject %q and the flags %q", notice.subject(), notice.flags)
	}
	for _, want := range []string{
		contacts.GroupDigits(b.knows(a).SafetyNumber), "mailproxy contact verify " + bob + " --account " + ann,
		"mailproxy contact reject " + bob, "mailproxy contact accept " + bob,
	} {
		if !strings.Contains(notice.plain(), want) {
			t.Errorf("the notice does not say %q:\n%s", want, notice.plain())
		}
	}
	heldBothWays(t, a, b)
	a.restart()
	a.until("what is held, after a restart", func() bool { c := a.knows(b); return c.HeldFrom == 1 && c.HeldTo == 1 })
	heldBothWays(t, a, b)

	key := a.knows(b).Other.Key
	for name, in := range map[string]DecideKey{
		"another key":  {ContactName: ContactName{Address: bob}, Key: strings.Repeat("00", 32)},
		"no key":       {ContactName: ContactName{Address: bob}},
		"somebody":     {ContactName: ContactName{Address: "carol@north.test"}, Key: key},
		"no account":   {ContactName: ContactName{Account: bob, Address: bob}, Key: key},
		"the old key":  {ContactName: ContactName{Address: bob}, Key: a.knows(b).Key},
		"no addresses": {Key: key},
	} {
		if out, err := a.d.AcceptKey(in); err == nil {
			t.Errorf("accepted %s: %+v", name, out)
		}
	}
	heldBothWays(t, a, b)
	out, err := a.d.AcceptKey(DecideKey{ContactName: ContactName{Address: strings.ToUpper(bob)}, Key: key})
	if err != nil || out.State != "pinned" || !out.Accepted || out.Delivered != 1 || out.Released != 1 || out.Dropped != 0 {
		t.Fatalf("accept: %+v, %v", out, err)
	}
	if got := a.one("from whom"); !slices.Equal(got.flags, []string{mailbox.KeywordPinned}) {
		t.Errorf("the mail that was held has the flags %q", got.flags)
	}
	b.one("to whom")
	if out, err := a.d.AcceptKey(DecideKey{ContactName: ContactName{Address: bob}, Key: key}); err == nil || !strings.Contains(err.Error(), "contact show") {
		t.Errorf("accept twice: %+v, %v", out, err)
	}

	// Either may scan what the other shows.
	if out, err := b.d.VerifyContact(VerifyContact{ContactName: ContactName{Address: ann}, QR: a.knows(b).QR}); err != nil || out.State != "verified" {
		t.Errorf("bob scans ann's code: %+v, %v", out, err)
	}
	if out, err := a.verify(b); err != nil || out.State != "verified" {
		t.Errorf("ann types bob's number: %+v, %v", out, err)
	}
	b.send(a, "afterwards")
	if got := a.one("afterwards"); !slices.Equal(got.flags, []string{mailbox.KeywordVerified}) {
		t.Errorf("the mail afterwards has the flags %q", got.flags)
	}
	a.restart()
	if c := a.knows(b); c.State != "verified" || c.HeldFrom+c.HeldTo != 0 {
		t.Errorf("after a restart: %+v", c)
	}
	if n := len(a.with("from whom")) + len(b.with("to whom")); n != 2 {
		t.Errorf("%d mails of the two that were held", n)
	}
	if out, err := a.d.UnverifyContact(ContactName{Address: bob}); err != nil || out.State != "pinned" || !out.Changed {
		t.Errorf("unverify: %+v, %v", out, err)
	}
}

// TestChangedKeyRejected: the warning about a verified key is another one; mail to the
// contact is answered by a report, and what came with the key is dropped, and said.
func TestChangedKeyRejected(t *testing.T) {
	a, old, b := changeKeys(t, true)
	notice := a.one("key of " + bob)
	if !strings.HasPrefix(notice.subject(), "WARNING: the key of "+bob+", which you have verified") ||
		!slices.Equal(notice.flags, []string{mailbox.KeywordNotice, mailbox.FlagFlagged}) {
		t.Errorf("the notice has the subject %q and the flags %q", notice.subject(), notice.flags)
	}
	if text := notice.plain(); !strings.Contains(text, "THE KEY THAT YOU HAVE VERIFIED IS NOT THE ONE") || strings.Contains(text, "contact accept") {
		t.Errorf("the notice says\n%s", text)
	}
	key := a.knows(b).Other.Key
	name := ContactName{Address: bob}
	if out, err := a.d.AcceptKey(DecideKey{ContactName: name, Key: key}); err == nil || !strings.Contains(err.Error(), "compare safety numbers first") {
		t.Errorf("accept a key in the place of a verified one: %+v, %v", out, err)
	}
	if err := a.d.ForgetContact(name); err == nil || !strings.Contains(err.Error(), "waits for your decision") {
		t.Errorf("forget: %v", err)
	}
	// The other shows a number that is the other key's; a number of neither is refused.
	wrong := strings.Repeat("0123456789", 6)
	if out, err := a.d.VerifyContact(VerifyContact{ContactName: name, Number: wrong}); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("verify with a wrong number: %+v, %v", out, err)
	}
	if out, err := a.d.VerifyContact(VerifyContact{ContactName: name, QR: a.knows(b).Other.QR}); !errors.Is(err, contacts.ErrOwnCode) {
		t.Errorf("verify with one's own code: %+v, %v", out, err)
	}
	heldBothWays(t, a, b)

	out, err := a.d.RejectKey(DecideKey{ContactName: name, Key: key})
	if err != nil || out.State != "verified" || out.Accepted || !out.Changed || out.Dropped != 1 || out.Released != 1 || out.Delivered != 0 {
		t.Fatalf("reject: %+v, %v", out, err)
	}
	told := a.one("Your message could not be delivered").plain()
	for _, want := range []string{"You have decided not to trust the new keys", "contact forget " + bob, "5.7.5"} {
		if !strings.Contains(told, want) {
			t.Errorf("the report does not say %q:\n%s", want, told)
		}
	}
	if text := a.one("dropped").plain(); !strings.Contains(text, "One mail that came under the address "+bob) {
		t.Errorf("the notice of dropped mail:\n%s", text)
	}

	// More of the same is dropped too, and told of at most once a day; both over a restart.
	b.send(a, "once more")
	a.until("the next drop", func() bool { return a.knows(b).Dropped == 2 })
	a.restart()
	b.send(a, "and again")
	a.until("the drop after a restart", func() bool { return a.knows(b).Dropped == 3 })
	a.one("dropped")
	a.p.ahead.Add(int64(droppedEvery))
	a.until("the second notice", func() bool { return len(a.with("2 mails under the name")) == 1 })
	for _, subject := range []string{"from whom", "once more", "and again"} {
		if n := len(a.with(subject)); n != 0 {
			t.Errorf("%d mails %q from a key that was rejected", n, subject)
		}
	}
	if n := len(b.inbox()); n != 0 {
		t.Errorf("%d mails went to the key that was rejected", n)
	}
	if c := a.knows(old); c.State != "verified" || c.Other != nil || c.HeldFrom+c.HeldTo != 0 {
		t.Errorf("ann knows of bob: %+v", c)
	}

	// It was bob after all.
	if err := a.d.ForgetContact(name); err != nil {
		t.Fatal(err)
	}
	if _, err := a.d.ContactKeys(name); !errors.Is(err, contacts.ErrUnknown) {
		t.Errorf("a forgotten contact: %v", err)
	}
	a.send(b, "hello again")
	b.one("hello again")
	if c := a.knows(b); c.State != "pinned" || c.Key != key {
		t.Errorf("after that ann knows of bob: %+v", c)
	}
}

// TestVerifyTheOtherKey: whoever compares the number of the key that waits has decided.
func TestVerifyTheOtherKey(t *testing.T) {
	a, old, b := changeKeys(t, true)
	// The old daemon still shows the number of before. It is right, and decides nothing
	// about the other key.
	old.open()
	if out, err := a.verify(old); err != nil || out.Changed || out.Accepted || out.State != "changed" {
		t.Errorf("verify the key of before: %+v, %v", out, err)
	}
	old.close()
	heldBothWays(t, a, b)
	out, err := a.d.VerifyContact(VerifyContact{ContactName: ContactName{Address: bob}, QR: b.knows(a).QR})
	if err != nil || out.State != "verified" || !out.Accepted || out.Delivered != 1 || out.Released != 1 {
		t.Fatalf("verify: %+v, %v", out, err)
	}
	if got := a.one("from whom"); !slices.Equal(got.flags, []string{mailbox.KeywordVerified}) {
		t.Errorf("the mail that was held has the flags %q", got.flags)
	}
	b.one("to whom")
}

// TestClaimHoldsOneMail: mail with a key that the provider does not show waits alone,
// and the rest goes on.
func TestClaimHoldsOneMail(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	empty := p.backup()
	a, b := p.person(ann), p.person(bob)
	a.send(b, "first")
	b.one("first")
	real := p.backup()

	// Somebody who has a provider of the same name to himself gets a key signed for
	// bob's address; the mail itself is brought to ann's own provider.
	b.close()
	p.put(empty)
	mallory := p.person(bob)
	p.put(real)
	mallory.send(a, "give me money")
	notice := a.one("A mail that says it is from " + bob + " waits for your decision")
	if !strings.Contains(notice.plain(), "most likely false") || !slices.Equal(notice.flags, []string{mailbox.KeywordNotice}) {
		t.Errorf("the notice says\n%s", notice.plain())
	}
	c := a.knows(b)
	if c.State != "pinned" || c.HeldFrom != 1 || c.Other == nil || c.Other.Published {
		t.Errorf("ann knows of bob: %+v", c)
	}
	mallory.send(a, "more money")
	a.until("the second", func() bool { return a.knows(b).HeldFrom == 2 })
	mallory.close()
	b.open()
	a.send(b, "still there?")
	b.one("still there?")
	b.send(a, "right here")
	if got := a.one("right here"); !slices.Equal(got.flags, []string{mailbox.KeywordPinned}) {
		t.Errorf("bob's mail has the flags %q", got.flags)
	}
	a.restart()
	a.until("what is held, after a restart", func() bool { return a.knows(b).HeldFrom == 2 })

	// Asked the next time, the provider settles it; what waited is dropped, and said.
	p.ahead.Store(int64(contacts.Fresh + time.Hour))
	a.send(b, "another day")
	b.one("another day")
	a.until("both to be dropped", func() bool { return a.knows(b).Dropped == 2 })
	a.one("under the name of " + bob + " dropped") // of the first, or of both
	if c := a.knows(b); c.State != "pinned" || c.HeldFrom != 0 || c.Other != nil || len(a.with("money")) != 0 {
		t.Errorf("ann knows of bob: %+v", c)
	}
	a.one("waits for your decision") // and was not told twice
}

// TestSenderCannotVouchForItself: fields and keywords that a mail brings are not
// believed, and From of another gets no keyword that vouches for it.
func TestSenderCannotVouchForItself(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	a := p.person(ann)
	for _, c := range []struct{ from, state, keyword, want string }{
		{bob, "new", mailbox.KeywordNew, "X-Mailproxy-Sender: new; address=" + bob + "; from=same\r\n"},
		{bob, "pinned", mailbox.KeywordPinned, "X-Mailproxy-Sender: pinned; address=" + bob + "; from=same\r\n"},
		{bob, "verified", mailbox.KeywordVerified, "X-Mailproxy-Sender: verified; address=" + bob + "; from=same\r\n"},
		{bob, "changed", mailbox.KeywordChanged, "X-Mailproxy-Sender: changed; address=" + bob + "; from=same\r\n"},
		{"carol@north.test", "verified", mailbox.KeywordOther, "X-Mailproxy-Sender: verified; address=" + bob + "; from=differs\r\n"},
		{bob + ", carol@north.test", "verified", mailbox.KeywordOther, "X-Mailproxy-Sender: verified; address=" + bob + "; from=differs\r\n"},
	} {
		state := map[string]contacts.State{"new": contacts.StateNew, "pinned": contacts.StatePinned, "verified": contacts.StateVerified, "changed": contacts.StateChanged}[c.state]
		mail := "X-Mailproxy-Sender: verified; address=" + ann + "; from=same\r\nX-Keywords: $MailproxyVerified\r\nKeywords: kept\r\n" +
			"x-mailproxy-sender : verified\r\nX-MAILPROXY-NOTICE: 1\r\nFrom: " + c.from + "\r\n\r\nX-Mailproxy-Sender: in the body\r\n"
		r, err := receiving{a.d.account(ann)}.Receive(strings.NewReader(mail), bob, state)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(r.Mail); err != nil {
			t.Fatal(err)
		}
		header, _, _ := strings.Cut(got.String(), "\r\n\r\n")
		if !strings.HasPrefix(got.String(), c.want) || strings.Count(strings.ToLower(header), "x-mailproxy-") != 1 || strings.Contains(header, "X-Keywords") {
			t.Errorf("from %s, %s: the header is\n%s", c.from, c.state, header)
		}
		if !slices.Equal(r.Keywords, []string{c.keyword}) || !mailbox.Reserved(c.keyword) {
			t.Errorf("from %s, %s: the keywords are %q", c.from, c.state, r.Keywords)
		}
	}
}

// TestVerifyBeforeStart: the page is up before accounts are, and may ask.
func TestVerifyBeforeStart(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	a := p.person(ann)
	know(t, a.d, a.d.account(ann), bob)
	early, err := a.d.loadAccount(a.d.account(ann).record)
	if err != nil {
		t.Fatal(err)
	}
	a.d.mu.Lock()
	started := a.d.accounts[ann]
	a.d.accounts[ann] = early
	a.d.mu.Unlock()
	if list, err := a.d.Contacts(""); err != nil || len(list) != 1 {
		t.Errorf("contacts are %+v, %v", list, err)
	}
	if out, err := a.d.VerifyContact(VerifyContact{ContactName: ContactName{Address: bob}, Number: a.knows(&person{address: bob}).SafetyNumber}); err != nil || out.State != "verified" {
		t.Errorf("verify: %+v, %v", out, err)
	}
	a.d.mu.Lock()
	a.d.accounts[ann] = started
	a.d.mu.Unlock()
}
