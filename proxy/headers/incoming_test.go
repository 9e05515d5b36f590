package headers

import (
	"strings"
	"testing"
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
			got := Incoming([]byte(tt.in), Seal{Address: "alice@north.test", State: StatePinned})
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
