package spool

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func TestReplies(t *testing.T) {
	full := ReadReply{Seq: 3, Block: make([]byte, BlockSize), Lowest: 2, Highest: MaxSequence, Last: MaxSequence}
	proof := LookupReply{
		Bundle: *testBundle(t, "alice@north.test", 1), Index: 3, Kind: LogMade, Version: 1,
		Proof: make([]byte, 32*63), Terms: Terms{Memory: 1 << 20, Time: 9, Bits: 40},
	}
	log := LogReply{Records: make([]byte, MaxLogRecords*LogRecordSize), Edge: make([]byte, 32*16)}
	for _, body := range []any{Empty{}, LookupReply{Bundle: *testBundle(t, "alice@north.test", 1)}, proof, log, ReadReply{Last: 4}, full} {
		b, err := EncodeReply(StatusOK, body)
		if err != nil || len(b) > MaxReplySize {
			t.Fatalf("%T: %d bytes, %v", body, len(b), err)
		}
		var got any
		switch body.(type) {
		case Empty:
			got = new(Empty)
		case LookupReply:
			got = new(LookupReply)
		case LogReply:
			got = new(LogReply)
		case ReadReply:
			got = new(ReadReply)
		}
		status, err := DecodeReply(append(b, 0, 0), got)
		if err != nil || status != StatusOK {
			t.Fatalf("%T: %v, %v", body, status, err)
		}
		if again, err := EncodeReply(StatusOK, got); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%T came back as another, %v", body, err)
		}
		if _, err := DecodeReply(append(b, 1), got); !errors.Is(err, ErrReply) {
			t.Fatalf("%T with bytes after the end: %v", body, err)
		}
	}
	now := time.Unix(1_772_366_400, 0)
	b, err := EncodeRefused(Refused{Status: StatusCursorAhead, Time: now, Last: 9})
	if err != nil {
		t.Fatal(err)
	}
	_, err = DecodeReply(append(b, 0), new(ReadReply))
	var refused *Refused
	if !errors.As(err, &refused) || !errors.Is(err, StatusCursorAhead) || !refused.Time.Equal(now) || refused.Last != 9 {
		t.Fatalf("refusal came back as %v", err)
	}
	for _, bad := range [][]byte{nil, make([]byte, 8512), {Version + 1, 1, 0, 1, 0xa0}, {Version, 0x7f, 0, 1, 0xa0}, {Version, 1, 0, 9, 0xa0}, {Version, 1, 0xff, 0xff, 0xa0}} {
		if _, err := DecodeReply(bad, new(Empty)); !errors.Is(err, ErrReply) {
			t.Errorf("DecodeReply(%x) = %v", bad[:min(len(bad), 8)], err)
		}
	}
}

func TestReadReplyCheck(t *testing.T) {
	block := make([]byte, BlockSize)
	for _, tt := range []struct {
		r      ReadReply
		cursor uint64
		good   bool
	}{
		{ReadReply{}, 0, true},
		{ReadReply{Last: 5}, 5, true},
		{ReadReply{Last: 5}, 6, false},
		{ReadReply{Seq: 2, Block: block, Lowest: 1, Highest: 3, Last: 4}, 0, true},
		{ReadReply{Seq: 2, Block: block, Lowest: 1, Highest: 3, Last: 4}, 1, false},
		{ReadReply{Seq: 4, Block: block, Lowest: 1, Highest: 3, Last: 4}, 0, false},
		{ReadReply{Seq: 1, Block: block, Lowest: 2, Highest: 3, Last: 4}, 0, false},
		{ReadReply{Seq: 2, Block: block, Lowest: 1, Highest: 5, Last: 4}, 0, false},
		{ReadReply{Seq: 2, Block: block[1:], Lowest: 1, Highest: 3, Last: 4}, 0, false},
		{ReadReply{Seq: 2, Lowest: 1, Highest: 3, Last: 4}, 0, false},
		{ReadReply{Lowest: 1, Highest: 3, Last: 4}, 0, false},
		{ReadReply{Block: block, Last: 4}, 0, false},
		{ReadReply{Last: MaxSequence + 1}, 0, false},
	} {
		if err := tt.r.Check(tt.cursor); (err == nil) != tt.good || err != nil && !errors.Is(err, ErrReply) {
			t.Errorf("Check(%d) of %d in %d to %d of %d: %v", tt.cursor, tt.r.Seq, tt.r.Lowest, tt.r.Highest, tt.r.Last, err)
		}
	}
}

func TestEveryStatusSaysSomething(t *testing.T) {
	seen := make(map[string]Status)
	for s, text := range statusText {
		if other, have := seen[text]; have || text == "" {
			t.Errorf("0x%02x and 0x%02x say the same", uint8(s), uint8(other))
		}
		seen[text] = s
		if s.Success() != (s < StatusMalformed) || s == 0 {
			t.Errorf("0x%02x is a success or is not", uint8(s))
		}
	}
	if Status(0xee).Error() != "status 0xee" {
		t.Error(Status(0xee).Error())
	}
}

func FuzzDecodeReply(f *testing.F) {
	for _, body := range []any{Empty{}, LookupReply{}, ReadReply{Last: 4}, ReadReply{Seq: 1, Block: make([]byte, BlockSize), Lowest: 1, Highest: 1, Last: 1}} {
		b, err := EncodeReply(StatusOK, body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	b, err := EncodeRefused(Refused{Status: StatusFull})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, body := range []any{new(Empty), new(LookupReply), new(ReadReply)} {
			status, err := DecodeReply(b, body)
			if err != nil {
				var refused *Refused
				if !errors.As(err, &refused) && !errors.Is(err, ErrReply) {
					t.Fatalf("an error of no kind: %v", err)
				}
				continue
			}
			again, err := EncodeReply(status, body)
			if err != nil || !bytes.HasPrefix(b, again) {
				t.Fatalf("a second encoding of one reply: %v", err)
			}
		}
	})
}
