package headers

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const ours = "X-Mailproxy-Sender: pinned; address=alice@north.test; from=same\r\n"

func TestIncoming(t *testing.T) {
	tests := []struct {
		name, in, want   string
		differs, damaged bool
	}{
		{name: "plain", in: lines("From: Alice <alice@north.test>", "Subject: x", "", "body"),
			want: lines("From: Alice <alice@north.test>", "Subject: x", "", "body")},
		{name: "fields of the receiver", in: lines(
			"Return-Path: <x@y>", "Received: from a", "\tby b", "From: alice@north.test", "x-mailproxy-sender : verified; address=bob@north.test",
			"X-MAILPROXY-Other: x", "Authentication-Results: localhost; dkim=pass", " header.d=x", "ARC-Seal: x", "X-Mozilla-Status: 0001",
			"X-Mozilla-Keys: $label1", "Status: RO", "X-Spam-Flag: NO", "Delivered-To: x", "Statusx: kept", "", "Received: in the body"),
			want: lines("From: alice@north.test", "Statusx: kept", "", "Received: in the body")},
		{name: "others stay as they are", in: lines("X-Foo:  a", "\t b ", "from:alice@north.test", "Subject: =?x?=", "X-Foo: c", "", ""),
			want: lines("X-Foo:  a", "\t b ", "from:alice@north.test", "Subject: =?x?=", "X-Foo: c", "", "")},
		{name: "line endings", in: "From: alice@north.test\nTo: x\n\na\n", want: lines("From: alice@north.test", "To: x", "", "a")},
		{name: "a field hidden behind a CR", in: "From: alice@north.test\r\nSubject: a\rX-Mailproxy-Sender: verified\r\n\r\n",
			want: "From: alice@north.test\r\nSubject: a X-Mailproxy-Sender: verified\r\n\r\n"},
		{name: "no From", in: lines("Subject: x", "", ""), want: lines("Subject: x", "", ""), differs: true},
		{name: "another From", in: lines("From: bob@north.test", "", ""), want: lines("From: bob@north.test", "", ""), differs: true},
		{name: "another From behind the sender's name", in: lines("From: \"alice@north.test\" <bob@north.test>", "", ""),
			want: lines("From: \"alice@north.test\" <bob@north.test>", "", ""), differs: true},
		{name: "two in From", in: lines("From: alice@north.test, bob@north.test", "", ""),
			want: lines("From: alice@north.test, bob@north.test", "", ""), differs: true},
		{name: "two From fields", in: lines("From: alice@north.test", "From: alice@north.test", "", ""),
			want: lines("From: alice@north.test", "From: alice@north.test", "", ""), differs: true},
		{name: "part of From unreadable", in: lines("From: alice@north.test, x y", "", ""),
			want: lines("From: alice@north.test, x y", "", ""), differs: true},
		{name: "damaged", in: lines("From: alice@north.test", "no field", "X-Mailproxy-Sender: verified", "", "body"),
			want: lines("From: alice@north.test", "", "no field", "X-Mailproxy-Sender: verified", "", "body"), damaged: true},
		{name: "damaged at once", in: lines("no field", "From: alice@north.test", "", ""),
			want: lines("", "no field", "From: alice@north.test", "", ""), damaged: true, differs: true},
		{name: "a name that only looks like ours", in: lines("From: alice@north.test", "X-Mailproxy\u00adSender: verified", "", ""),
			want: lines("From: alice@north.test", "", "X-Mailproxy\u00adSender: verified", "", ""), damaged: true},
		{name: "no body", in: "From: alice@north.test", want: "From: alice@north.test\r\n\r\n"},
		{name: "nothing", in: "", want: "\r\n", differs: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := arriveAll([]byte(tt.in), Seal{Address: "alice@north.test", State: StatePinned})
			want := ours + tt.want
			if tt.differs {
				want = strings.Replace(want, "from=same", "from=differs", 1)
			}
			if string(got.Message) != want {
				t.Errorf("got:\n%q\nwant:\n%q", got.Message, want)
			}
			if got.FromMatches == tt.differs || got.Damaged != tt.damaged {
				t.Errorf("FromMatches %v, Damaged %v", got.FromMatches, got.Damaged)
			}
		})
	}
}

// TestArriveInPieces: a mail that comes in pieces is taken as one in memory, whatever
// its sender made of it.
func TestArriveInPieces(t *testing.T) {
	by := Seal{Address: "alice@north.test", State: StatePinned}
	long := "X: " + strings.Repeat("y", MaxHeader)
	for name, in := range map[string]string{
		"usual":       "From: alice@north.test\r\nReceived: x\r\n\r\nbody\nline\r\n",
		"empty":       "",
		"header only": "From: alice@north.test",
		"flaw":        "From: alice@north.test\r\nno field\r\nReceived: x\r\n\r\nbody",
		"long header": "From: alice@north.test\n" + long + "\nReceived: x\n\nbody\n",
		"long line":   long,
		"large":       "From: alice@north.test\r\n\r\n" + strings.Repeat("a line\n", 3*bufferSize),
	} {
		whole := arriveAll([]byte(in), by)
		a, r, err := Arrive(iotest.OneByteReader(strings.NewReader(in)), by)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, whole.Message) || a.FromMatches != whole.FromMatches || a.Damaged != whole.Damaged {
			t.Errorf("%s: %d bytes in pieces, %d at once, %+v, %v", name, len(got), len(whole.Message), a, err)
		}
		if long := strings.HasPrefix(name, "long"); a.Damaged != (long || name == "flaw") {
			t.Errorf("%s: damaged is %v", name, a.Damaged)
		}
		// Nothing is lost, and what is not believed is body.
		_, body, _ := bytes.Cut(got, []byte("\r\n\r\n"))
		if want := strings.ReplaceAll(in[strings.Index(in, "\n")+1:], "\n", "\r\n"); name == "long header" && string(body) != want {
			t.Errorf("the body has %d bytes, want %d", len(body), len(want))
		}
	}
	broken := errors.New("disk is gone")
	if _, _, err := Arrive(iotest.ErrReader(broken), by); !errors.Is(err, broken) {
		t.Errorf("a reader that fails: %v", err)
	}
}
