package spool

import (
	"bytes"
	"errors"
	"testing"
)

func TestLogRecord(t *testing.T) {
	r := LogRecord{Kind: LogChanged, Name: HashName("alice@north.test"), Identity: [32]byte{5}, Version: 9}
	b := r.Encode()
	if len(b) != LogRecordSize {
		t.Fatalf("%d bytes", len(b))
	}
	if got, err := DecodeLogRecord(b); err != nil || got != r {
		t.Fatalf("%+v came back as %+v, %v", r, got, err)
	}
	for _, bad := range [][]byte{nil, b[1:], append(bytes.Clone(b), 0), append([]byte{2}, b[1:]...), append([]byte{1, 0}, b[2:]...), append([]byte{1, 4}, b[2:]...)} {
		if _, err := DecodeLogRecord(bad); !errors.Is(err, ErrReply) {
			t.Errorf("DecodeLogRecord(%x) = %v", bad, err)
		}
	}
}

func TestNotice(t *testing.T) {
	h := LogHead{Size: 77, Root: [32]byte{1, 2}}
	b := h.Notice()
	if got, err := ParseNotice(b); err != nil || got != h {
		t.Fatalf("%+v came back as %+v, %v", h, got, err)
	}
	for _, bad := range [][]byte{nil, b[1:], append(bytes.Clone(b), 0), append([]byte{2}, b[1:]...), append([]byte{1, 0xff}, b[2:]...)} {
		if _, err := ParseNotice(bad); !errors.Is(err, ErrReply) {
			t.Errorf("ParseNotice(%x) = %v", bad, err)
		}
	}
}
