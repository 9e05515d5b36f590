package server_test

import (
	"context"
	"errors"
	"testing"

	"mailproxy/spool"
	"mailproxy/spool/work"
)

// Whatever comes is answered, and what is refused, or only asks, changes nothing.
// The seeds are refused, by as late a check as can be, so that what is near them is
// tried; nobody without a key can make of them what is carried out.
func FuzzAnswer(f *testing.F) {
	w := newRefusals(f)
	before := digest(f, w.st)
	past := start.Unix() - 100
	for _, r := range []func() spool.Request{w.read, w.access, w.register, w.replace, w.gone} {
		f.Add(encode(f, w.alice.expiring(past, r)))
	}
	for _, r := range append(w.replayed,
		w.alice.access(2, 5), w.alice.replace(aliceAddress, 5, 9), w.alice.register("alice2@north.test", 9),
		w.alice.revoke("bob", w.bob.spool(), true), w.alice.revoke("alice", w.bob.spool(), true),
		appendBlock(w.alice.spool(), 2), fromContact(w.alice, 2, 2), fromContact(w.eve, 1, 2), fromStranger(f, w.eve, cheap, 2),
		&spool.Lookup{Name: "alice"}, &spool.Lookup{Name: "carol", Size: 3}, &spool.Log{From: 0, Size: 4, Edge: true},
	) {
		f.Add(encode(f, r))
	}
	f.Add(mangled(f, fromContact(w.alice, 1, 9), func(m map[int]any) { m[2] = make([]byte, spool.BlockSize-1) }))
	f.Fuzz(func(t *testing.T, b []byte) {
		reply := w.s.Answer(context.Background(), b)
		if len(reply) == 0 || len(reply) > spool.MaxReplySize {
			t.Fatalf("a reply of %d bytes", len(reply))
		}
		request, kind, _ := spool.DecodeRequest(b)
		body := any(new(spool.Empty))
		switch kind {
		case spool.TypeLookup:
			body = new(spool.LookupReply)
		case spool.TypeLog:
			body = new(spool.LogReply)
		case spool.TypeRead:
			body = new(spool.ReadReply)
		}
		_, err := spool.DecodeReply(reply, body)
		var refused *spool.Refused
		if err != nil && !errors.As(err, &refused) {
			t.Fatal(err)
		}
		if err == nil && kind == spool.TypeAppend {
			// Work can be guessed: with these terms, once in 16.
			a := request.(*spool.Append)
			input := spool.AppendInput(spool.LaneStrangers, w.alice.service, a.Spool, spool.BlockIDOf(a.Block))
			if a.Lane == nil || a.Lane.Lane != spool.LaneStrangers || !work.Check(input, a.Lane.Proof, cheap) {
				t.Fatalf("a block without proof was taken: %+v", a.Lane)
			}
			before = digest(t, w.st)
		}
		if err == nil && kind != spool.TypeAppend && kind != spool.TypeLookup && kind != spool.TypeLog {
			t.Fatalf("carried out: %x", b)
		}
		if digest(t, w.st) != before {
			t.Fatalf("something changed by %x", b)
		}
	})
}
