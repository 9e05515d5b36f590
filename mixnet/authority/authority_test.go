package authority

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

var members = []string{"gateway", "mix1", "mix2", "mix3", "extra", "service"}

func TestDirectoriesAgree(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) { // its cleanups come before the leak check
		c := newCouncil(t, time.Hour)
		c.start("dir1", "dir2", "dir3")
		e := c.epoch()
		keys := c.publish(e, members...)
		v := c.snapshot(c.client("gateway"), e)
		for name, want := range keys {
			if got, ok := v.Key(c.node(name)); !ok || got != want {
				t.Errorf("key of %s in the snapshot: %x, %v, want %x", name, got, ok, want)
			}
		}
		for name, a := range c.running {
			for deadline := time.Now().Add(2 * time.Minute); a.Snapshot(e) == nil; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%s has no snapshot", name)
				}
			}
		}
		for name, a := range c.running {
			if string(a.Snapshot(e).Body) != string(c.running["dir1"].Snapshot(e).Body) || len(a.Caught()) != 0 {
				t.Errorf("%s has another snapshot, or caught %v", name, a.Caught())
			}
		}
	})
}

// TestOneDirectoryAndOneNodeDown: what is down takes no part, and stops nothing.
func TestOneDirectoryAndOneNodeDown(t *testing.T) {
	// Short rounds: who is missing is waited for in each.
	c := newCouncil(t, 20*time.Second)
	c.start("dir1", "dir3")
	c.listener["dir2"].Close()
	c.listener["dir2"] = nil
	e := c.epoch()
	c.publish(e, "gateway", "mix1", "mix2", "mix3", "service")
	c.publish(e+1, "gateway", "mix1", "mix2", "mix3", "service")
	v := c.snapshot(c.client("mix1"), e+1)
	if _, ok := v.Key(c.node("extra")); ok {
		t.Error("a node that published nothing is in the snapshot")
	}
	if _, ok := v.Key(c.node("mix2")); !ok || len(v.Layer(2)) != 1 {
		t.Error("a node that published is not in the snapshot")
	}
	// A directory that comes back gets what the others have agreed on.
	c.start("dir2")
	for deadline := time.Now().Add(2 * time.Minute); c.running["dir2"].Snapshot(e+1) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a directory that comes back stays without a snapshot")
		}
	}
}

// TestRestartKeepsItsWord restarts a directory: it has its snapshot, and does not
// vote a second time in a round.
func TestRestartKeepsItsWord(t *testing.T) {
	c := newCouncil(t, time.Hour)
	c.start("dir1", "dir2", "dir3")
	e := c.epoch()
	c.publish(e, members...)
	c.snapshot(c.client("gateway"), e)
	for c.running["dir1"].Snapshot(e) == nil {
		time.Sleep(time.Millisecond)
	}
	before := c.running["dir1"].Snapshot(e)
	c.stop("dir1")
	c.start("dir1")
	a := c.running["dir1"]
	if after := a.Snapshot(e); after == nil || string(after.Body) != string(before.Body) {
		t.Error("a restarted directory has lost its snapshot")
	}
	a.mu.Lock()
	round, ok := a.voted.Rounds[e]
	a.mu.Unlock()
	if b, err := a.vote(e, round, time.Hour); !ok || b != nil || err != nil {
		t.Errorf("a restarted directory votes again in round %d: %v, %v", round, b, err)
	}
}

// TestTwoSnapshotsAreFoundOut has a directory sign two snapshots of one epoch.
func TestTwoSnapshotsAreFoundOut(t *testing.T) {
	c := newCouncil(t, time.Hour)
	e := c.epoch()
	var list []directory.SignedDescriptor
	for _, name := range members {
		private, err := sphinx.NewPrivateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		sd, err := directory.NewDescriptor(c.identity[name], e, private.Public(), nil)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, *sd)
	}
	body := func(list []directory.SignedDescriptor) []byte {
		var votes []*directory.Vote
		for _, name := range []string{"dir1", "dir2"} {
			v, err := directory.NewVote(c.doc, e, 3, list, c.identity[name])
			if err != nil {
				t.Fatal(err)
			}
			votes = append(votes, v)
		}
		b, err := directory.Tally(c.doc, e, 3, votes)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	all, without := body(list), body(slices.DeleteFunc(slices.Clone(list), func(sd directory.SignedDescriptor) bool {
		x, err := sd.Open(c.doc)
		return err != nil || x.Node == c.node("extra").ID()
	}))
	signed := func(b []byte, names ...string) *directory.SignedSnapshot {
		s := &directory.SignedSnapshot{Body: b}
		for _, name := range names {
			s.Signatures = append(s.Signatures, directory.SignSnapshot(b, c.identity[name]))
		}
		return s
	}

	// A client that is shown both keeps the first, and names who lied.
	views := directory.NewViews(c.doc)
	if added, err := views.Add(signed(all, "dir1", "dir2")); !added || err != nil {
		t.Fatal(added, err)
	}
	_, err := views.Add(signed(without, "dir2", "dir3"))
	if !errors.Is(err, directory.ErrConflict) || !strings.Contains(err.Error(), "dir2") || strings.Contains(err.Error(), "dir1") {
		t.Errorf("a second snapshot: %v, want ErrConflict that names dir2", err)
	}

	// So does a directory that sees both signatures.
	c.start("dir1")
	a := c.running["dir1"]
	add := func(a *Authority, e directory.Epoch, s *directory.SignedSnapshot) {
		if err := a.witness.Add(e, s); err != nil {
			t.Fatal(err)
		}
	}
	add(a, e, signed(all, "dir2"))
	if len(a.Caught()) != 0 {
		t.Error("caught after one signature")
	}
	add(a, e, signed(without, "dir2"))
	if got := a.Caught(); len(got) != 1 || got[0] != "dir2" {
		t.Errorf("caught %v, want dir2", got)
	}

	// What more it signs is not kept: all that is kept is handed on, and an answer
	// that is too long would keep honest directories from each other's signatures.
	add(a, e, signed(body(list[1:]), "dir2"))
	add(a, e, signed(all, "dir3"))
	kept, first := len(a.witness.Signed(e)), 0
	for _, s := range a.witness.Signed(e) {
		if string(s.Body) == string(all) {
			first = len(s.Signatures)
		}
	}
	if kept != 2 || first != 2 || len(a.Caught()) != 1 {
		t.Errorf("%d snapshots of one liar are kept, %d signatures on the first, caught %v; want 2, 2 and one", kept, first, a.Caught())
	}
}

// TestSignsOneSnapshotOfAnEpoch: what a directory has signed it signs again in
// later rounds and after a restart, and nothing else, whatever the others vote.
// Otherwise one that was cut off while others finished could make honest
// directories sign two.
func TestSignsOneSnapshotOfAnEpoch(t *testing.T) {
	c := newCouncil(t, time.Hour)
	for _, name := range []string{"dir2", "dir3"} {
		c.listener[name].Close() // so that they refuse at once
	}
	e := c.epoch()
	list := map[string]directory.SignedDescriptor{}
	for _, name := range members {
		private, err := sphinx.NewPrivateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		sd, err := directory.NewDescriptor(c.identity[name], e, private.Public(), nil)
		if err != nil {
			t.Fatal(err)
		}
		list[name] = *sd
	}
	ballotOf := func(round uint32, names ...string) *ballot {
		var have []directory.SignedDescriptor
		for _, name := range names {
			have = append(have, list[name])
		}
		b := &ballot{round: round, votes: map[sphinx.NodeID]*directory.Vote{}}
		for _, dir := range []string{"dir2", "dir3"} {
			v, err := directory.NewVote(c.doc, e, round, have, c.identity[dir])
			if err != nil {
				t.Fatal(err)
			}
			b.votes[c.node(dir).ID()] = v
		}
		return b
	}
	own := func(a *Authority) (bodies []string) {
		for _, s := range a.witness.Signed(e) {
			if slices.ContainsFunc(s.Signatures, func(g directory.Signature) bool { return g.Directory == a.self.ID() }) {
				bodies = append(bodies, string(s.Body))
			}
		}
		return bodies
	}
	c.start("dir1")
	a := c.running["dir1"]
	if err := a.count(e, ballotOf(0, "gateway", "mix1", "mix2", "mix3", "service"), time.Hour); err != nil {
		t.Fatal(err)
	}
	first := own(a)
	if len(first) != 1 {
		t.Fatalf("signed %d snapshots in the first round", len(first))
	}
	if err := a.count(e, ballotOf(1, members...), time.Hour); err != nil {
		t.Fatal(err)
	}
	if now := own(a); !slices.Equal(now, first) {
		t.Errorf("signed %d snapshots after a second round with other votes, want the first only", len(now))
	}
	c.stop("dir1")
	c.start("dir1")
	a = c.running["dir1"]
	if now := own(a); !slices.Equal(now, first) {
		t.Fatalf("after a restart it has signed %d snapshots, want the first", len(now))
	}
	if err := a.count(e, ballotOf(2, members...), time.Hour); err != nil {
		t.Fatal(err)
	}
	if now := own(a); !slices.Equal(now, first) {
		t.Errorf("signed %d snapshots after a restart, want the first only", len(now))
	}
	v, err := a.vote(e, 1<<20, time.Hour) // a round that has not been
	if err != nil || v == nil {
		t.Fatal(v, err)
	}
	if got := string(v.votes[a.self.ID()].Snapshot); got != first[0] {
		t.Error("it votes for other descriptors than those it has signed")
	}
}

// TestRefused lists what is not believed, and the words.
func TestRefused(t *testing.T) {
	c := newCouncil(t, time.Hour)
	e := c.epoch()
	private, err := sphinx.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, err := directory.NewDescriptor(c.identity["mix1"], e, private.Public(), nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := directory.NewDescriptor(ed25519.NewKeyFromSeed(make([]byte, 32)), e, private.Public(), nil)
	if err != nil {
		t.Fatal(err)
	}
	altered := &directory.SignedDescriptor{Body: slices.Clone(good.Body), Signature: good.Signature}
	altered.Body[len(altered.Body)-1] ^= 1
	late, err := directory.NewDescriptor(c.identity["mix1"], e+5, private.Public(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.start("dir1")
	c.listener["dir2"].Close() // so that they refuse at once
	c.listener["dir3"].Close()
	client := c.client("mix1")
	for _, test := range []struct {
		name string
		sd   *directory.SignedDescriptor
		says string
	}{
		{"altered", altered, `the signature of node "mix1" is false`},
		{"of a stranger", stranger, "no node of the network document"},
		{"for another time", late, "are both clocks right"},
	} {
		if taken, err := client.Publish(t.Context(), test.sd); taken != 0 || err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("a descriptor %s: %d took it, %v, want %q", test.name, taken, err, test.says)
		}
	}
	// Nor is one that another member has got hold of: it may be an older one.
	if taken, err := c.client("mix2").Publish(t.Context(), good); taken != 0 || err == nil || !strings.Contains(err.Error(), "not the sender's own") {
		t.Errorf("a descriptor of another: %d took it, %v", taken, err)
	}
	if taken, _ := client.Publish(t.Context(), good); taken != 1 {
		t.Errorf("a descriptor in order: %d took it, want the one directory that runs", taken)
	}
	// Who is not in the document may not even connect.
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.identity["stranger"] = key
	if taken, _ := c.client("stranger").Publish(t.Context(), good); taken != 0 {
		t.Error("a stranger may publish")
	}

	body, err := directory.Tally(c.doc, e, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	one := directory.SignSnapshot(body, c.identity["dir1"])
	two := directory.SignSnapshot(body, c.identity["dir2"])
	two.Signature = slices.Clone(two.Signature)
	two.Signature[0] ^= 1
	mix := directory.SignSnapshot(body, c.identity["mix1"])
	for _, test := range []struct {
		name string
		sigs []directory.Signature
		says string
	}{
		{"by too few", []directory.Signature{one, one}, "1 of 2 needed directories"},
		{"falsely", []directory.Signature{one, two}, `the signature of directory "dir2" is false`},
		{"by a mix", []directory.Signature{one, mix}, "no directory"},
	} {
		s := &directory.SignedSnapshot{Body: body, Signatures: test.sigs}
		if _, err := directory.NewViews(c.doc).Add(s); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("a snapshot signed %s: %v, want %q", test.name, err, test.says)
		}
	}
}

// TestNoRedirection has a directory send its asker elsewhere.
func TestNoRedirection(t *testing.T) {
	c := newCouncil(t, time.Hour)
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	config, err := wire.TLS(c.identity["dir1"], protocol, func(directory.Key) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	liar := &http.Server{Handler: http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect)}
	defer liar.Close()
	go liar.Serve(tls.NewListener(c.listener["dir1"], config)) // ends with Close
	if _, err := c.client("mix1").snapshotFrom(t.Context(), c.node("dir1"), c.epoch()); err == nil || asked {
		t.Errorf("the redirection was followed: %v; error %v", asked, err)
	}
}
