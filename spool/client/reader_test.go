package client

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mailproxy/mixclient"
	"mailproxy/spool"
	"mailproxy/spool/server/storetest"
)

// A remote is what a spool does, as a model: the property test needs blocks to go
// by age at any moment, and replies at any later one.
type remote struct {
	last   uint64
	blocks map[uint64]bool
}

func (m *remote) answer(cursor, want uint64) spool.ReadReply {
	r := spool.ReadReply{Last: m.last}
	for seq := range m.blocks {
		if seq <= cursor {
			delete(m.blocks, seq)
		}
	}
	for seq := cursor + 1; seq <= m.last; seq++ {
		if m.blocks[seq] {
			if r.Lowest == 0 {
				r.Lowest, r.Seq = seq, seq
			}
			r.Highest = seq
		}
	}
	if r.Lowest == 0 {
		return r
	}
	if m.blocks[want] && want > cursor {
		r.Seq = want
	}
	r.Block = storetest.Block(int(r.Seq))
	return r
}

func encodeReply(t interface{ Fatal(...any) }, r spool.ReadReply) []byte {
	b, err := spool.EncodeReply(spool.StatusOK, r)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, make([]byte, 5)...)
}

func newReader(t interface{ Fatal(...any) }, o ReaderOptions) *Reader {
	o.Key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	var nonce uint64
	o.Signing = Signing{Nonce: func() uint64 { nonce++; return nonce }}
	o.Service = mixclient.Service{Kind: mixclient.KindSpool, Provider: "north.test"}
	r, err := NewReader(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// next takes a slot and returns the request as the service reads it.
func next(t interface{ Fatal(...any) }, r *Reader) (*spool.Read, func([]byte, error)) {
	raw, done := r.Next(time.Unix(1_772_366_400, 0))
	req, _, status := spool.DecodeRequest(raw)
	if status != spool.StatusOK {
		t.Fatal(status)
	}
	return req.(*spool.Read), done
}

// Against a network that loses, delays and reorders, a store that fails, restarts
// of the daemon and a service that drops old blocks: every block that the service
// did not drop is delivered, and the cursor passes none that could still come.
func TestReaderProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &remote{blocks: make(map[uint64]bool)}
		type flight struct {
			done    func([]byte, error)
			read    *spool.Read
			reply   []byte // once the service has answered
			bearing uint64 // the block that the reply has
		}
		var flights []*flight
		stored := make(map[uint64]bool)  // durably, by Deliver
		dropped := make(map[uint64]bool) // by the service, for their age
		var saved uint64
		var failing bool
		var r *Reader
		restart := func() {
			flights = nil // replies to an earlier daemon do not come
			moved := saved
			r = newReader(t, ReaderOptions{
				Cursor: saved,
				Deliver: func(seq uint64, block []byte) error {
					if storetest.BlockNumber(block) != int(seq) {
						t.Fatalf("block %d came as %d", storetest.BlockNumber(block), seq)
					}
					if failing {
						return errors.New("disk is full")
					}
					stored[seq] = true
					return nil
				},
				Moved: func(cursor uint64) {
					if cursor <= moved {
						t.Fatalf("the cursor went from %d to %d", moved, cursor)
					}
					moved = cursor
				},
			})
		}
		restart()
		check := func() {
			for seq := uint64(1); seq <= r.Cursor(); seq++ {
				if stored[seq] {
					continue
				}
				if !dropped[seq] {
					t.Fatalf("the cursor %d passed %d, which was never stored", r.Cursor(), seq)
				}
				for _, f := range flights {
					if f.bearing == seq {
						t.Fatalf("the cursor %d passed %d, which is on its way", r.Cursor(), seq)
					}
				}
			}
		}
		pick := func(name string) *flight {
			if len(flights) == 0 {
				t.Skip("nothing in flight")
			}
			return flights[rapid.IntRange(0, len(flights)-1).Draw(t, name)]
		}
		land := func(f *flight, reply []byte, err error) {
			for i := range flights {
				if flights[i] == f {
					flights = append(flights[:i], flights[i+1:]...)
					break
				}
			}
			f.done(reply, err)
			check()
		}
		slot := func() {
			read, done := next(t, r)
			for _, f := range flights {
				if f.read.Want == read.Want {
					t.Fatalf("%d is asked for twice at once", read.Want)
				}
			}
			if stored[read.Want] && read.Want <= r.Cursor() {
				t.Fatalf("%d is asked for though the cursor is %d", read.Want, r.Cursor())
			}
			flights = append(flights, &flight{done: done, read: read})
		}
		arrive := func(f *flight) {
			if f.reply == nil {
				reply := m.answer(f.read.Cursor, f.read.Want)
				f.reply, f.bearing = encodeReply(t, reply), reply.Seq
			}
		}
		appendOne := func() {
			m.last++
			m.blocks[m.last] = true
		}
		t.Repeat(map[string]func(*rapid.T){
			"append":  func(*rapid.T) { appendOne() },
			"append2": func(*rapid.T) { appendOne(); appendOne() },
			"slot":    func(*rapid.T) { slot() },
			"slot2":   func(*rapid.T) { slot(); slot() },
			"arrive":  func(*rapid.T) { arrive(pick("arriving")) },
			"land": func(*rapid.T) {
				f := pick("landing")
				arrive(f)
				land(f, f.reply, nil)
			},
			"lost": func(*rapid.T) { land(pick("lost"), nil, mixclient.ErrLost) },
			"age": func(*rapid.T) { // any block: a clock that jumps leaves gaps
				if m.last == 0 {
					t.Skip("no blocks")
				}
				seq := rapid.Uint64Range(1, m.last).Draw(t, "aged")
				if m.blocks[seq] {
					delete(m.blocks, seq)
					dropped[seq] = true
				}
			},
			"full disk": func(*rapid.T) { failing = !failing },
			"save":      func(*rapid.T) { saved = r.Cursor() },
			"restart":   func(*rapid.T) { restart() },
			"":          func(*rapid.T) { check() },
		})
		// In the end everything comes, in as many slots as it must take: for each
		// gap, all reads that are in flight must have landed.
		failing = false
		most := (int(m.last) + 2) * (len(flights) + 2)
		for slots := 0; r.Cursor() < m.last; slots++ {
			if slots > most {
				t.Fatalf("the cursor is stuck at %d of %d", r.Cursor(), m.last)
			}
			slot()
			f := flights[0]
			arrive(f)
			land(f, f.reply, nil)
		}
		for seq := uint64(1); seq <= m.last; seq++ {
			if !stored[seq] && !dropped[seq] {
				t.Fatalf("block %d was lost", seq)
			}
		}
	})
}

// The case that the rule about absent blocks is for, spelled out.
func TestReaderWaitsForWhatIsOnItsWay(t *testing.T) {
	var got []uint64
	r := newReader(t, ReaderOptions{Deliver: func(seq uint64, _ []byte) error { got = append(got, seq); return nil }})
	_, first := next(t, r)
	_, second := next(t, r)
	reply := encodeReply(t, spool.ReadReply{Seq: 1, Block: storetest.Block(1), Lowest: 1, Highest: 1, Last: 1})
	// The service answered the first read with block 1, then dropped it for its
	// age, then answered the second, whose reply comes first.
	second(encodeReply(t, spool.ReadReply{Last: 1}), nil)
	if r.Cursor() != 0 {
		t.Fatal("the cursor passed a block that is on its way")
	}
	first(reply, nil)
	if r.Cursor() != 1 || len(got) != 1 {
		t.Fatalf("cursor %d after %v", r.Cursor(), got)
	}

	// Had the first been lost, the cursor would pass at once.
	r = newReader(t, ReaderOptions{Deliver: func(uint64, []byte) error { return nil }})
	_, first = next(t, r)
	_, second = next(t, r)
	second(encodeReply(t, spool.ReadReply{Last: 1}), nil)
	first(nil, mixclient.ErrLost)
	if r.Cursor() != 1 {
		t.Fatalf("cursor %d", r.Cursor())
	}
}

func TestReaderDoesNotPassWhatIsBeingStored(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	r := newReader(t, ReaderOptions{Deliver: func(seq uint64, _ []byte) error {
		if seq == 1 {
			close(entered)
			<-release
		}
		return nil
	}})
	_, first := next(t, r)
	_, second := next(t, r)
	block := func(n int, lowest uint64) []byte {
		return encodeReply(t, spool.ReadReply{Seq: uint64(n), Block: storetest.Block(n), Lowest: lowest, Highest: 2, Last: 2})
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		first(block(1, 1), nil)
	}()
	<-entered
	second(block(2, 2), nil) // 1 has gone by age meanwhile
	read, third := next(t, r)
	if r.Cursor() != 0 || read.Want != 3 || read.Cursor != 0 {
		t.Fatalf("cursor %d, then read %d", r.Cursor(), read.Want)
	}
	third(nil, mixclient.ErrLost)
	close(release)
	<-finished
	if r.Cursor() != 2 {
		t.Fatalf("cursor %d", r.Cursor())
	}
}

// Nor does it jump over such a block in the middle of a gap.
func TestReaderStopsAtABlockInAGap(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	r := newReader(t, ReaderOptions{Deliver: func(uint64, []byte) error {
		close(entered)
		<-release
		return nil
	}})
	_, first := next(t, r)
	_, second := next(t, r)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		second(encodeReply(t, spool.ReadReply{Seq: 2, Block: storetest.Block(2), Lowest: 1, Highest: 3, Last: 3}), nil)
	}()
	<-entered
	first(encodeReply(t, spool.ReadReply{Last: 3}), nil) // all have gone by age
	if r.Cursor() != 1 {
		t.Fatalf("cursor %d while 2 is being stored", r.Cursor())
	}
	close(release)
	<-finished
	if r.Cursor() != 3 {
		t.Fatalf("cursor %d", r.Cursor())
	}
}

func TestReaderFailures(t *testing.T) {
	var failed []error
	var fail error
	delivered := 0
	r := newReader(t, ReaderOptions{
		Deliver: func(uint64, []byte) error { delivered++; return fail },
		Failed:  func(err error) { failed = append(failed, err) },
	})
	reply := encodeReply(t, spool.ReadReply{Seq: 1, Block: storetest.Block(1), Lowest: 1, Highest: 1, Last: 1})
	refusal := func(s spool.Status, last uint64) []byte {
		b, err := spool.EncodeRefused(spool.Refused{Status: s, Time: time.Unix(1, 0), Last: last})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	step := func(reply []byte, err, want error, cursor uint64) {
		t.Helper()
		failed = nil
		_, done := next(t, r)
		done(reply, err)
		done(reply, err) // a second time: nothing
		if want == nil && failed != nil || want != nil && (len(failed) != 1 || !errors.Is(failed[0], want)) {
			t.Fatalf("failed with %v, want %v", failed, want)
		}
		if r.Cursor() != cursor {
			t.Fatalf("cursor %d, want %d", r.Cursor(), cursor)
		}
	}
	full := errors.New("disk is full")
	fail = full
	step(reply, nil, full, 0)
	fail = nil
	step(nil, mixclient.ErrLost, nil, 0)
	step(nil, mixclient.ErrClosed, nil, 0)
	step(nil, oddError("odd"), oddError("odd"), 0)
	step([]byte("rubbish"), nil, ErrReply, 0)
	step(encodeReply(t, spool.ReadReply{Seq: 1, Block: storetest.Block(1), Lowest: 2, Highest: 2, Last: 2}), nil, ErrReply, 0)
	step(refusal(spool.StatusOtherReader, 0), nil, ErrOtherReader, 0)
	step(reply, nil, nil, 1)
	step(refusal(spool.StatusCursorAhead, 0), nil, ErrCursorAhead, 1)
	if delivered != 2 {
		t.Fatalf("delivered %d times", delivered)
	}

	_, old := next(t, r)
	r.Reset(0)
	old(encodeReply(t, spool.ReadReply{Last: 5}), nil)
	if r.Cursor() != 0 {
		t.Fatal("a reply from before a Reset moved the cursor")
	}
	step(reply, nil, nil, 1)
}

type oddError string

func (e oddError) Error() string { return string(e) }

// A gap of any width is passed in one step.
func TestReaderWideGap(t *testing.T) {
	var moved []uint64
	r := newReader(t, ReaderOptions{
		Deliver: func(uint64, []byte) error { return nil },
		Moved:   func(c uint64) { moved = append(moved, c) },
	})
	const far = spool.MaxSequence - 2
	_, done := next(t, r)
	done(encodeReply(t, spool.ReadReply{Seq: far, Block: storetest.Block(1), Lowest: far, Highest: far, Last: far + 1}), nil)
	if r.Cursor() != far+1 || fmt.Sprint(moved) != fmt.Sprint([]uint64{far + 1}) {
		t.Fatalf("cursor %d, moved %v", r.Cursor(), moved)
	}
	if read, _ := next(t, r); read.Want != far+2 {
		t.Fatalf("wants %d", read.Want)
	}
}

func FuzzParseRead(f *testing.F) {
	for _, r := range []spool.ReadReply{{}, {Last: 9}, {Seq: 1, Block: storetest.Block(1), Lowest: 1, Highest: 2, Last: 3}} {
		b, err := spool.EncodeReply(spool.StatusOK, r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint64(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, cursor uint64) {
		cursor %= spool.MaxSequence
		r := newReader(t, ReaderOptions{Cursor: cursor, Deliver: func(seq uint64, block []byte) error {
			if seq <= cursor || len(block) != spool.BlockSize {
				t.Fatalf("block %d of %d bytes above %d", seq, len(block), cursor)
			}
			return nil
		}})
		for range 2 {
			_, done := next(t, r)
			done(b, nil)
		}
		if r.Cursor() < cursor {
			t.Fatalf("the cursor went back to %d", r.Cursor())
		}
		if reply, err := ParseRead(b, cursor); err == nil && (reply.Last < cursor || r.Cursor() > reply.Last) {
			t.Fatalf("cursor %d of %d", r.Cursor(), reply.Last)
		}
	})
}
