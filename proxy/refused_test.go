package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
	"mailproxy/spool"
	"mailproxy/spool/client"
	spoolserver "mailproxy/spool/server"
)

func TestExplain(t *testing.T) {
	for status, want := range map[spool.Status]string{
		spool.StatusTaken:     "the name ann is taken at north.test; choose another one",
		spool.StatusReserved:  "kept for those who run north.test",
		spool.StatusBadName:   "cannot be a name at north.test",
		spool.StatusInvite:    "ask your provider for another invitation",
		spool.StatusRevoked:   "ann@north.test was deleted at north.test",
		spool.StatusSuspended: "north.test has suspended ann@north.test",
		spool.StatusBusy:      "goes on trying",
		spool.StatusExpired:   "there it is 12:00:00 UTC on 22 November 2026",
		spool.StatusTooFar:    "set this computer's clock",
		spool.StatusVersion:   "different versions",
	} {
		refused := &spool.Refused{Status: status, Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
		err := explain(fmt.Errorf("register: %w", refused), "ann@north.test")
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "register: ") {
			t.Errorf("%v: %q, want %q", status, err, want)
		}
		if !errors.Is(err, status) || client.IsTemporary(err) != client.IsTemporary(refused) {
			t.Errorf("%v is lost in %q", status, err)
		}
	}
	// Logs get the answer, and no address.
	err := fmt.Errorf("revoke: %w; nothing is erased", explain(fmt.Errorf("register: %w", &spool.Refused{Status: spool.StatusTaken}), "ann@north.test"))
	if got := unexplained(err); strings.Contains(got.Error(), "ann") || !errors.Is(got, spool.StatusTaken) {
		t.Errorf("in a log: %v", got)
	}
	other := errors.New("disk is full")
	if explain(other, "ann@north.test") != other {
		t.Error("another error was changed")
	}
}

// TestControlErrorsAreSentences asks a daemon that does not run.
func TestControlErrorsAreSentences(t *testing.T) {
	_, err := Control(t.TempDir()).Status(t.Context())
	if err == nil || strings.Contains(err.Error(), "http://") || !strings.Contains(err.Error(), `start it with "mailproxy run"`) {
		t.Errorf("Status = %v", err)
	}
}

// TestRefusedForGood: whose alias or account a provider will not have is told by a
// message, once, though nobody waits for the answer.
func TestRefusedForGood(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	ann := p.person("ann@north.test")
	p.mu.RLock()
	closed := p.policy
	closed.Invite = true
	err := p.spool.SetPolicy(closed)
	p.mu.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	alias, err := ann.d.AddAlias(t.Context(), NewAlias{Address: "other@north.test", Invite: "NOSUCHCODE"})
	if err != nil {
		t.Fatal(err)
	}
	notice := ann.one("Your alias " + alias.Address + " could not be registered")
	for _, want := range []string{
		"takes new accounts by invitation only", "mailproxy alias retire other@north.test", "mailproxy alias new north.test --invite CODE",
	} {
		if !strings.Contains(notice.plain(), want) {
			t.Errorf("%q is not in the message:\n%s", want, notice.plain())
		}
	}
	if !slices.Equal(notice.flags, []string{mailbox.KeywordNotice}) {
		t.Errorf("it has the flags %q", notice.flags)
	}
	if strings.Contains(notice.text, "NOSUCHCODE") {
		t.Error("the code is in the message")
	}

	// Who waits hears it as an answer; after a restart nobody waits.
	bob := "bob@north.test"
	if _, err := ann.d.AddAccount(t.Context(), NewAccount{Address: bob, Password: personPassword}); err != nil {
		t.Fatal(err)
	}
	if err := ann.d.WaitRegistered(t.Context(), bob); !errors.Is(err, spool.StatusInvite) {
		t.Fatalf("WaitRegistered = %v", err)
	}
	his := &person{t: t, p: p, address: bob, d: ann.d}
	if got := his.inbox(); len(got) != 0 {
		t.Errorf("before the restart: %q", got)
	}
	if err := ann.d.account(bob).leaveAlone(); !errors.Is(err, spool.StatusInvite) {
		t.Errorf("who waits no longer is not told that it was refused meanwhile: %v", err)
	}
	for range 2 {
		ann.restart()
		his.d = ann.d
		ann.until("both refused again", func() bool {
			n := 0
			for _, a := range ann.d.Status().Accounts {
				if strings.Contains(a.Problem, "by invitation only") {
					n++
				}
			}
			return n == 2
		})
		his.one("Your address " + bob + " could not be registered")
		ann.one("Your alias " + alias.Address + " could not be registered")
	}
	if !strings.Contains(his.inbox()[0].plain(), "mailproxy account delete bob@north.test --mail") {
		t.Errorf("the message does not say what to do:\n%s", his.inbox()[0].plain())
	}
	// What it says can be done.
	if err := ann.d.End(t.Context(), EndAccount{Address: bob, Delete: true, Mail: true}); err != nil {
		t.Errorf("the account could not be taken off: %v", err)
	}
	if _, err := ann.d.RetireAlias(RetireAlias{Address: alias.Address}); err != nil {
		t.Errorf("the alias could not be retired: %v", err)
	}
	ann.until("it is retired", func() bool {
		list, err := ann.d.Aliases("")
		return err == nil && len(list) == 1 && list[0].State == AliasRetired
	})
	ann.until("what was told of both is forgotten", func() bool {
		err := ann.d.store.View(func(tx *store.Tx) error {
			for _, addr := range []string{bob, alias.Address} {
				if _, err := tx.Get(refusedKey(addr)); !errors.Is(err, store.ErrNotFound) {
					return fmt.Errorf("%s: %w", addr, err)
				}
			}
			return nil
		})
		return err == nil
	})
}

// TestRefusedAccountLeavesNothing: an account whose name is taken is taken off again with
// its mailbox, unless there is something in that.
func TestRefusedAccountLeavesNothing(t *testing.T) {
	const taken = "bob@north.test"
	p := newProvider(t, spoolserver.OpenPolicy())
	p.person(taken)
	ann := p.person("ann@north.test")
	refused := func() {
		t.Helper()
		if _, err := ann.d.addAndRegister(t.Context(), NewAccount{Address: taken, Password: personPassword}); !errors.Is(err, spool.StatusTaken) || strings.Contains(err.Error(), "remove account") {
			t.Fatalf("add it: %v", err)
		}
		if len(ann.d.Status().Accounts) != 1 {
			t.Error("the account is here")
		}
	}
	left := func(want ...string) {
		t.Helper()
		if got := ann.d.mail.Accounts(); !slices.Equal(got, want) {
			t.Errorf("there are the mailboxes of %q, want %q", got, want)
		}
	}
	refused()
	left(ann.address)
	// One that an interruption, or a program that did not remove it, has left.
	if _, err := ann.d.mail.CreateAccount(taken); err != nil {
		t.Fatal(err)
	}
	refused()
	left(ann.address)

	// Whoever chose the password may have been quick to bring mail along.
	if _, err := ann.d.AddAccount(t.Context(), NewAccount{Address: taken, Password: personPassword}); err != nil {
		t.Fatal(err)
	}
	his := ann.d.account(taken)
	if err := ann.d.WaitRegistered(t.Context(), taken); !errors.Is(err, spool.StatusTaken) {
		t.Fatal(err)
	}
	box, err := ann.d.Mailbox(taken)
	if err == nil {
		_, err = box.Deliver(mailbox.Archive, []byte("Subject: kept\r\n\r\nx\r\n"), nil, time.Time{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := ann.d.forget(his); err != nil {
		t.Fatal(err)
	}
	left(ann.address, taken)
	refused()
	left(ann.address, taken)
	ann.restart()
	left(ann.address, taken)
	if box, err = ann.d.Mailbox(taken); err != nil {
		t.Fatal(err)
	}
	f, err := box.Folder(mailbox.Archive)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := f.Messages(); err != nil || len(list) != 1 {
		t.Errorf("of the mail, there is %v, %v", list, err)
	}

	// Who has ended the account meanwhile is not crossed.
	if _, err := ann.d.AddAccount(t.Context(), NewAccount{Address: taken, Password: personPassword}); err != nil {
		t.Fatal(err)
	}
	his = ann.d.account(taken)
	if err := ann.d.End(t.Context(), EndAccount{Address: taken}); err != nil {
		t.Fatal(err)
	}
	if err := ann.d.forget(his); err != nil || ann.d.account(taken) != his {
		t.Errorf("a revoked account was forgotten: %v", err)
	}
	ann.restart()
}

// TestRefusalIsLoggedWithoutTheName: that an alias is a user's is nothing for a log that
// others may read.
func TestRefusalIsLoggedWithoutTheName(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	p.person("ellington@north.test")
	ann := p.person("ann@north.test")
	if _, err := ann.d.AddAlias(t.Context(), NewAlias{Address: "ellington@north.test"}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(ann.one("Your alias ellington@north.test could not be registered").plain(), "the name ellington is taken at north.test") {
		t.Error("the user is not told which name is taken")
	}
	ann.close()
	log := ann.log.String()
	if !strings.Contains(log, "an account cannot be registered") || !strings.Contains(log, spool.StatusTaken.Error()) {
		t.Errorf("the refusal is not in the log:\n%s", log)
	}
	if strings.Contains(log, "ellington") {
		t.Errorf("the name is in the log:\n%s", log)
	}
}
