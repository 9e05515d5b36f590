package demo

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"mailproxy/proxy"
	"mailproxy/proxy/progress"
	"mailproxy/spool"
	"mailproxy/spool/server"
)

// contact returns what account knows of address.
func (w *testWorld) contact(t *testing.T, account, address string) proxy.ContactStatus {
	t.Helper()
	list, err := w.Daemon.Contacts(account)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(c proxy.ContactStatus) bool { return c.Address == address })
	if i < 0 {
		t.Fatalf("%s does not know %s", account, address)
	}
	return list[i]
}

// exchange sends a mail each way and waits for both.
func (w *testWorld) exchange(t *testing.T, a, b string) {
	t.Helper()
	for _, way := range [][2]string{{a, b}, {b, a}} {
		before := w.delivered(way[1])
		w.send(t, way[0], way[1], "hello", "from "+way[0])
		eventually(t, "delivery to "+way[1], func() bool { return w.delivered(way[1]) == before+1 })
	}
}

// TestBlock goes through the lanes as users meet them: the first mail is paid for,
// the answer is not, and who is blocked is refused by the contacts' lane, pays, and
// is not read. Others go on.
func TestBlock(t *testing.T) {
	t.Parallel()
	p := parameters(t)
	policy := Policy(p)
	w, _ := newHousehold(t, p, &policy)
	north := w.Spools["north.test"]
	refused := func() uint64 { return north.Answers(spool.TypeAppend, spool.StatusAppendKey) }
	paid := func(from, to string) int { return w.count(progress.Paid, from, to) }
	eventually(t, "append keys", func() bool {
		return north.Answers(spool.TypeAccess, spool.StatusOK) >= 2 // alice's and carol's
	})

	w.exchange(t, Alice, Bob)
	w.exchange(t, Alice, carol)
	if n, m := paid(Alice, Bob), paid(Alice, carol); n != 1 || m != 1 {
		t.Errorf("alice paid for %d blocks to bob and %d to carol, want one each", n, m)
	}
	if n, m := paid(Bob, Alice), paid(carol, Alice); n+m+int(refused()) != 0 {
		t.Errorf("the answers to alice cost work for %d and %d blocks, and %d were refused", n, m, refused())
	}
	if c := w.contact(t, Bob, Alice); c.PaysWork || c.Blocked {
		t.Errorf("bob knows of alice: %+v", c)
	}

	keys := north.Answers(spool.TypeAccess, spool.StatusOK)
	out, err := w.Daemon.Block(proxy.BlockContact{Account: Alice, Address: strings.ToUpper(Bob)})
	if err != nil || !out.Changed || out.Address != Bob || out.Rekeyed != 1 {
		t.Fatalf("block: %+v, %v", out, err)
	}
	if out, err = w.Daemon.Block(proxy.BlockContact{Account: Alice, Address: Bob}); err != nil || out.Changed {
		t.Errorf("block once more: %+v, %v", out, err)
	}
	eventually(t, "the new append key", func() bool { return north.Answers(spool.TypeAccess, spool.StatusOK) == keys+1 })

	inbox := w.delivered(Alice)
	w.send(t, Bob, Alice, "unwanted", "you cannot do that")
	dropped := func() uint64 {
		for _, a := range w.Daemon.Status().Accounts {
			if a.Address == Alice {
				return a.Blocked
			}
		}
		return 0
	}
	eventually(t, "the drop", func() bool { return dropped() == 1 })
	if refused() == 0 || paid(Bob, Alice) != 1 {
		t.Errorf("bob's mail was refused %d times and cost work for %d blocks", refused(), paid(Bob, Alice))
	}
	if w.delivered(Alice) != inbox {
		t.Error("alice has mail of bob, whom she has blocked")
	}

	// Carol is told the new key some time later. Until then she pays, and her mail
	// arrives all the same.
	free := false
	for n := 1; n < 20 && !free; n++ {
		before, cost := refused(), paid(carol, Alice)
		w.send(t, carol, Alice, "wanted", "still there?")
		eventually(t, "carol's mail", func() bool { return w.delivered(Alice) == inbox+n })
		free = refused() == before && paid(carol, Alice) == cost
	}
	if !free {
		t.Error("carol never has the new key")
	}

	if out, err = w.Daemon.Block(proxy.BlockContact{Account: Alice, Address: Bob, Unblock: true}); err != nil || !out.Changed {
		t.Errorf("unblock: %+v, %v", out, err)
	}
	w.exchange(t, Alice, Bob)
	if n := paid(Bob, Alice); n != 1 {
		t.Errorf("bob paid for %d blocks once he is not blocked any more", n-1)
	}
}

// TestRevokeAndDelete takes accounts back: nobody can write to them any more.
func TestRevokeAndDelete(t *testing.T) {
	t.Parallel()
	p := parameters(t)
	policy := Policy(p)
	w, _ := newHousehold(t, p, &policy)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w.exchange(t, Alice, carol)

	if err := w.Daemon.End(ctx, proxy.EndAccount{Address: Alice}); err != nil {
		t.Fatal(err)
	}
	if err := w.Submit(w.account(t, Alice), Bob, mailOf(Alice, Bob, "x", "x")); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a revoked account sends: %v", err)
	}
	w.send(t, Bob, Alice, "too late", "where are you?")
	eventually(t, "the report", func() bool { return len(w.fetch(t, Bob, "INBOX")) == 1 })
	if got := string(w.fetch(t, Bob, "INBOX")[0]); !strings.Contains(got, "5.1.6") || !strings.Contains(got, "not used any more") {
		t.Errorf("bob reads\n%s", got)
	}

	for _, address := range []string{Alice, carol} {
		if err := w.Daemon.End(ctx, proxy.EndAccount{Address: address, Delete: true, Mail: address == carol}); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.fetch(t, Alice, "INBOX"); len(got) != 1 {
		t.Errorf("alice's mail: %d messages, want the one she had", len(got))
	}
	list := w.Daemon.Status().Accounts
	if len(list) != 2 || list[0].Address != Alice || list[0].Ending != "deleted" || list[1].Address != Bob {
		t.Errorf("accounts are %+v", list)
	}
	if _, err := w.Daemon.AddAccount(ctx, proxy.NewAccount{Address: Alice}); err == nil || !strings.Contains(err.Error(), "for good") {
		t.Errorf("add a deleted account: %v", err)
	}
	if _, err := w.Daemon.AddAccount(ctx, proxy.NewAccount{Address: carol}); err != nil {
		t.Fatal(err)
	}
	if err := w.Daemon.WaitRegistered(ctx, carol); err == nil || !strings.Contains(err.Error(), "choose another name") {
		t.Errorf("register a deleted name: %v", err)
	}
}

// TestInvite registers at a provider that wants invitations.
func TestInvite(t *testing.T) {
	t.Parallel()
	p := parameters(t)
	policy := Policy(p)
	w, _ := newHousehold(t, p, &policy)
	policy.Invite = true
	if err := w.Spools["north.test"].SetPolicy(policy); err != nil {
		t.Fatal(err)
	}
	const code = "the-code-that-was-mailed"
	now := time.Now()
	if err := w.stores[0].AddInvite(t.Context(), server.Invite{Hash: sha256.Sum256([]byte(code)), Created: now, Expires: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, c := range []struct{ address, invite, want string }{
		{"dave@north.test", "", "by invitation only"},
		{"erin@north.test", "some other code", "by invitation only"},
		{"frank@north.test", strings.Repeat("x", spool.MaxInviteSize+1), "no invitation has more than"},
		{"gina@north.test", " " + code + "\n", ""},
		{"henry@north.test", code, "used up"},
	} {
		_, err := w.Daemon.AddAccount(ctx, proxy.NewAccount{Address: c.address, Invite: c.invite})
		if err == nil {
			err = w.Daemon.WaitRegistered(ctx, c.address)
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %q: %v, want %q", c.address, c.invite, err, c.want)
		}
	}
}
