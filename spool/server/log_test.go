package server_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"testing"

	"mailproxy/spool"
	"mailproxy/spool/keylog"
	"mailproxy/spool/server"
)

// TestKeyLog follows a log from its beginning, and from each later head, over the
// service's own replies, and checks the proofs of look-ups against each head.
func TestKeyLog(t *testing.T) {
	const users = 23
	s := newServer(t, openStore(t), newClock(), server.Limits{})
	ask := func(r spool.Request, body any) spool.Status {
		t.Helper()
		b, err := spool.EncodeRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		status, err := spool.DecodeReply(s.Answer(context.Background(), b), body)
		if err != nil && status.Success() {
			t.Fatal(err)
		}
		return status
	}
	var heads []spool.LogHead
	name := func(i int) string { return fmt.Sprintf("user%d", i) }
	for i := range users {
		u := newUser(t, byte(i+1))
		if status := ask(u.register(name(i)+"@north.test", uint64(i+1)), new(spool.Empty)); status != spool.StatusOK {
			t.Fatal(status)
		}
		// A later bundle is no change of identity, and leaves no record.
		if status := ask(u.replace(name(i)+"@north.test", uint64(i+2), 1), new(spool.Empty)); status != spool.StatusOK {
			t.Fatal(status)
		}
		head, err := spool.ParseNotice(s.Notice())
		if err != nil {
			t.Fatal(err)
		}
		if head.Size != uint64(i+1) {
			t.Fatalf("head of %d records after %d users", head.Size, i+1)
		}
		heads = append(heads, head)
	}
	for at, head := range heads {
		for i := range users {
			var found spool.LookupReply
			if status := ask(&spool.Lookup{Name: name(i), Size: head.Size}, &found); status != spool.StatusOK {
				t.Fatal(status)
			}
			record := spool.LogRecord{
				Kind: found.Kind, Name: spool.HashName(name(i) + "@north.test"), Version: found.Version,
				Identity: [32]byte(newUser(t, byte(i+1)).identity.Public().(ed25519.PublicKey)),
			}
			if found.Index != uint64(i) || found.Version != uint64(i+1) || found.Kind != spool.LogMade {
				t.Fatalf("record of %s is said to be %d: kind %d, version %d", name(i), found.Index, found.Kind, found.Version)
			}
			if i > at {
				if len(found.Proof) != 0 {
					t.Errorf("a record newer than the head has a proof")
				}
				continue
			}
			if err := keylog.CheckRecord(head, found.Index, record, found.Proof); err != nil {
				t.Errorf("%s in head %d: %v", name(i), head.Size, err)
			}
		}
		// From here on to the last head.
		var part spool.LogReply
		if status := ask(&spool.Log{From: head.Size, Size: users, Edge: true}, &part); status != spool.StatusOK {
			t.Fatal(status)
		}
		tree, err := keylog.NewTree(head.Size, part.Edge)
		if err != nil {
			t.Fatal(err)
		}
		if tree.Head() != head {
			t.Errorf("the edge of %d records is another head's", head.Size)
		}
		for b := part.Records; len(b) > 0; b = b[spool.LogRecordSize:] {
			r, err := spool.DecodeLogRecord(b[:spool.LogRecordSize])
			if err != nil {
				t.Fatal(err)
			}
			tree.Append(r)
		}
		if tree.Head() != heads[users-1] {
			t.Errorf("from %d records on the log comes to another head", head.Size)
		}
	}
	var none spool.LookupReply
	if status := ask(&spool.Lookup{Name: name(0)}, &none); status != spool.StatusOK || len(none.Proof) != 0 {
		t.Errorf("look-up without a proof: %v, %d bytes", status, len(none.Proof))
	}
	for _, r := range []spool.Request{
		&spool.Lookup{Name: name(0), Size: users + 1}, &spool.Log{From: 0, Size: users + 1}, &spool.Log{From: users + 1, Size: users + 1, Edge: true},
	} {
		if status := ask(r, new(spool.Empty)); status != spool.StatusNoLog {
			t.Errorf("%+v: %v", r, status)
		}
	}
}

// TestLongLog has more records than a reply.
func TestLongLog(t *testing.T) {
	st := openStore(t)
	s := newServer(t, st, newClock(), server.Limits{})
	const users = 2*spool.MaxLogRecords + 55 // 255: the longest edge that so few can have
	for i := range users {
		address := fmt.Sprintf("user%d@north.test", i)
		e := server.Entry{
			Name: fmt.Sprintf("user%d", i), Hash: spool.HashName(address), Identity: make([]byte, 32), Version: 1, Spool: spool.ID{byte(i), byte(i >> 8)},
		}
		if err := st.Publish(t.Context(), e, server.Publication{Create: true, Now: start}); err != nil {
			t.Fatal(err)
		}
	}
	head, err := s.LogHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var tree keylog.Tree
	replies := 0
	for tree.Size() < head.Size {
		b, err := spool.EncodeRequest(&spool.Log{From: tree.Size(), Size: head.Size, Edge: true})
		if err != nil {
			t.Fatal(err)
		}
		raw := s.Answer(t.Context(), b)
		if len(raw) > spool.MaxReplySize {
			t.Fatalf("reply has %d bytes", len(raw))
		}
		var part spool.LogReply
		if _, err := spool.DecodeReply(raw, &part); err != nil {
			t.Fatal(err)
		}
		if string(part.Edge) != string(tree.Edge()) {
			t.Fatalf("edge of %d records is wrong", tree.Size())
		}
		for b := part.Records; len(b) > 0; b = b[spool.LogRecordSize:] {
			r, err := spool.DecodeLogRecord(b[:spool.LogRecordSize])
			if err != nil {
				t.Fatal(err)
			}
			tree.Append(r)
		}
		if replies++; replies > 4 {
			t.Fatal("the log does not end")
		}
	}
	if tree.Head() != head || replies != 3 {
		t.Errorf("%d replies brought another head", replies)
	}
}

// TestNoticeWithoutStore announces nothing while the store cannot be read, and tries
// again before.
func TestNoticeWithoutStore(t *testing.T) {
	t.Parallel()
	st := &brokenLog{Store: openStore(t)}
	s, err := server.New(server.Options{Store: st, Provider: "north.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want, err := s.LogHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	st.err, st.faults = fmt.Errorf("the disk hiccups"), 1
	if b := s.Notice(); string(b) != string(want.Notice()) {
		t.Errorf("announced %x after a fault, want %x", b, want.Notice())
	}
	st.err, st.faults = fmt.Errorf("the disk is gone"), 1000
	if b := s.Notice(); b != nil {
		t.Errorf("announced %x of a log that cannot be read", b)
	}
}

type brokenLog struct {
	server.Store
	err    error
	faults int // that are left
}

func (b *brokenLog) LogSize(ctx context.Context) (uint64, error) {
	if b.faults > 0 {
		b.faults--
		return 0, b.err
	}
	return b.Store.LogSize(ctx)
}
