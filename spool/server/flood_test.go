package server_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/server"
	"mailproxy/spool/server/storetest"
	"mailproxy/spool/work"
)

// guessed is an append by a stranger who has not worked: it costs its maker
// nothing, and the service an evaluation.
func guessed(u *user, n int) *spool.Append {
	a := appendBlock(u.spool(), n)
	proof := make([]byte, work.ProofSize)
	proof[0] = 1
	binary.BigEndian.PutUint64(proof[1:], uint64(n))
	binary.BigEndian.PutUint32(proof[9:], work.Default.Memory)
	binary.BigEndian.PutUint32(proof[13:], work.Default.Time)
	proof[17] = work.Default.Bits
	a.Lane = &spool.LaneProof{Lane: spool.LaneStrangers, Proof: proof}
	return a
}

// A flood at one spool uses up what that spool may have, and is turned away from
// then on; its neighbour's mail goes in and out as before.
func TestFloodAtOneSpool(t *testing.T) {
	s, err := server.New(server.Options{Store: openStore(t), Provider: "north.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	victim, bob := newUser(t, 1), newUser(t, 3)
	for name, u := range map[string]*user{"victim": victim, "bob": bob} {
		u.auth.Expiry = time.Now().Add(5 * time.Minute).Unix()
		expect(t, s, u.register(name+"@north.test", 1), spool.StatusOK)
		expect(t, s, u.access(1, 1), spool.StatusOK)
	}
	policy := server.DefaultPolicy()
	policy.Contacts.Rate = server.Rate{PerSecond: 1, Burst: 20}
	policy.Strangers.Rate = server.Rate{PerSecond: 1, Burst: 5}
	if err := s.SetPolicy(policy); err != nil {
		t.Fatal(err)
	}
	const n = 200
	var wg sync.WaitGroup
	for i := range n {
		contact, stranger := encode(t, fromContact(victim, 1, i)), encode(t, guessed(victim, 1000+i))
		wg.Go(func() {
			s.Answer(context.Background(), contact)
			s.Answer(context.Background(), stranger)
		})
	}
	for i := range 20 {
		expect(t, s, fromContact(bob, 1, i), spool.StatusOK)
		if r := read(t, s, bob.reading(uint64(i), uint64(i)+1)); storetest.BlockNumber(r.Block) != i {
			t.Fatalf("bob reads block %d, want %d", storetest.BlockNumber(r.Block), i)
		}
	}
	wg.Wait()
	// One second or more may have passed, each worth a token.
	taken := int(s.Answers(spool.TypeAppend, spool.StatusOK)) - 20
	if busy := s.Answers(spool.TypeAppend, spool.StatusBusy); taken > 40 || busy < 2*n-100 {
		t.Errorf("of %d blocks %d were taken, %d appends turned away", n, taken, busy)
	}
	if r := read(t, s, victim.reading(0, 1)); r.Seq != 1 {
		t.Error("the victim of the flood cannot read")
	}
}

// How long the reads of one spool take, and synced appends to it, while others are
// flooded with 400 appends in a second: by their contacts, by strangers who have not
// worked at one spool, and at many. Compare within one run.
func BenchmarkFlood(b *testing.B) {
	const many = 64
	for _, flood := range []struct {
		name string
		make func(users []*user, n int) *spool.Append
	}{
		{"quiet", nil},
		{"contacts", func(users []*user, n int) *spool.Append { return fromContact(users[0], 1, n) }},
		{"strangers-one", func(users []*user, n int) *spool.Append { return guessed(users[0], n) }},
		{"strangers-many", func(users []*user, n int) *spool.Append { return guessed(users[n%many], n) }},
	} {
		b.Run(flood.name, func(b *testing.B) {
			s, err := server.New(server.Options{Store: openStore(b), Provider: "north.test"})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			do := func(r spool.Request, reply any) {
				if status, err := ask(b, s, encode(b, r), reply); !status.Success() {
					b.Fatal(err)
				}
			}
			var users []*user
			for i := range many + 1 {
				u := newUser(b, byte(i))
				u.auth.Expiry = time.Now().Add(9 * time.Minute).Unix()
				do(u.register(fmt.Sprintf("u%d@north.test", i), 1), new(spool.Empty))
				do(u.access(1, 1), new(spool.Empty))
				users = append(users, u)
			}
			bob := users[many]
			policy := server.DefaultPolicy()
			policy.Reads, policy.Contacts.Rate = server.Rate{}, server.Rate{PerSecond: 400, Burst: 400}
			if err := s.SetPolicy(policy); err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			if flood.make != nil {
				wg.Go(func() {
					tick := time.NewTicker(time.Second / 400)
					defer tick.Stop()
					for n := 1 << 20; ctx.Err() == nil; n++ {
						r := encode(b, flood.make(users, n))
						wg.Go(func() { s.Answer(context.Background(), r) })
						<-tick.C
					}
				})
			}
			var reads, appends []time.Duration
			for i := 0; b.Loop(); i++ {
				began := time.Now()
				do(bob.reading(0, 1), new(spool.ReadReply))
				reads = append(reads, time.Since(began))
				if i%20 == 0 {
					r := fromContact(bob, 1, i)
					began := time.Now()
					do(r, new(spool.Empty))
					appends = append(appends, time.Since(began))
				}
			}
			cancel()
			wg.Wait()
			report := func(what string, took []time.Duration) {
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), what+"-p50-us")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), what+"-p99-us")
				for _, ms := range []int{20, 50} { // a node's replies leave after 50
					i, _ := slices.BinarySearch(took, time.Duration(ms)*time.Millisecond)
					b.ReportMetric(float64(len(took)-i)/float64(len(took))*100, fmt.Sprintf("%s-%%>%dms", what, ms))
				}
			}
			report("read", reads)
			report("append", appends)
		})
	}
}

// Proofs that are worth nothing use up nothing that a spool has for strangers.
func TestBadProofsCostTheSpoolNothing(t *testing.T) {
	s := withPolicy(t, openStore(t), newClock(), strict(func(p *server.Policy) {
		p.Strangers.Rate = server.Rate{PerSecond: 0.001, Burst: 2}
	}))
	alice := newUser(t, 1)
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
	for n := range 8 {
		bad := fromStranger(t, alice, cheap, n)
		for work.Check(spool.AppendInput(spool.LaneStrangers, alice.service, bad.Spool, spool.BlockIDOf(bad.Block)), bad.Lane.Proof, cheap) {
			bad.Lane.Proof[8]++
		}
		expect(t, s, bad, spool.StatusWork)
	}
	for n := range 2 {
		expect(t, s, fromStranger(t, alice, cheap, n), spool.StatusOK)
	}
	expect(t, s, fromStranger(t, alice, cheap, 3), spool.StatusBusy)
}
