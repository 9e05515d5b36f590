package sphinx

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"
)

func TestCommandVectors(t *testing.T) {
	var v struct {
		NextHopID, NextHopMAC, NextHopCmdWant hexBytes
		RecipientID, RecipientCmdWant         hexBytes
		SURBReplyID, SURBReplyCmdWant         hexBytes
		NodeDelay                             int64
		NodeDelayCmdWant                      hexBytes
	}
	readJSON(t, "sphinx_commands_vectors.json", &v)
	id, mac := NodeID(v.NextHopID), [macSize]byte(v.NextHopMAC)
	recipient, surb := Recipient(v.RecipientID), SURBID(v.SURBReplyID)
	delay := time.Duration(v.NodeDelay) * time.Millisecond
	for _, c := range []struct {
		name      string
		got, want []byte
	}{
		{"next hop", appendNextHop(nil, &id, &mac), v.NextHopCmdWant},
		{"recipient", appendRecipient(nil, &recipient), v.RecipientCmdWant},
		{"SURB reply", appendSURBReply(nil, &surb), v.SURBReplyCmdWant},
		{"delay", appendDelay(nil, delay), v.NodeDelayCmdWant},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: %x, want %x", c.name, c.got, c.want)
		}
	}

	var u Unwrapped
	var gotMAC [macSize]byte
	if err := parseCommands(append(v.NodeDelayCmdWant, v.NextHopCmdWant...), &u, &gotMAC); err != nil {
		t.Fatal(err)
	}
	if u.Last || u.Next != id || gotMAC != mac || u.Delay != delay {
		t.Errorf("parsed %+v, MAC %x", u, gotMAC)
	}
	u = Unwrapped{}
	if err := parseCommands(append(v.SURBReplyCmdWant, v.RecipientCmdWant...), &u, &gotMAC); err != nil {
		t.Fatal(err)
	}
	if !u.Last || u.Recipient != recipient || !u.IsReply || u.SURBID != surb {
		t.Errorf("parsed %+v", u)
	}
}

func TestParseCommands(t *testing.T) {
	next := appendNextHop(nil, &NodeID{1}, &[macSize]byte{2})
	recipient := appendRecipient(nil, &Recipient{3})
	surb := appendSURBReply(nil, &SURBID{4})
	delay := appendDelay(nil, time.Second)
	null := []byte{0}
	padded := func(parts ...[]byte) []byte {
		b := bytes.Join(parts, nil)
		return append(b, make([]byte, max(hopSize-len(b), 0))...)
	}
	var full []byte // commands to the last byte
	full = append(full, recipient...)
	full = append(full, surb...)

	for _, c := range []struct {
		name string
		b    []byte
		ok   bool
	}{
		{"forward", padded(delay, next), true},
		{"forward, other order", padded(next, delay), true},
		{"last", padded(recipient), true},
		{"last, with Katzenpost's delay", padded(recipient, delay), true},
		{"reply", padded(recipient, surb), true},
		{"reply, other order", padded(surb, recipient), true},
		{"no null at the end", full, true},
		{"one null at the end", append(bytes.Clone(full), 0), true},

		{"empty", nil, false},
		{"null only", padded(null), false},
		{"next hop without delay", padded(next), false},
		{"delay only", padded(delay), false},
		{"SURB id only", padded(surb), false},
		{"reply with delay", padded(recipient, surb, delay), false},
		{"next hop and recipient", bytes.Join([][]byte{delay, next, recipient}, nil), false},
		{"next hop and SURB id", bytes.Join([][]byte{delay, next, surb}, nil), false},
		{"two next hops", bytes.Join([][]byte{delay, next, next}, nil), false},
		{"two delays", padded(delay, next, delay), false},
		{"two recipients", padded(recipient, recipient), false},
		{"two SURB ids", padded(recipient, surb, surb), false},
		{"unknown", padded(recipient, []byte{4}), false},
		{"unknown, high", padded(recipient, []byte{0x81}), false},
		{"command after null", padded(recipient, null, surb), false},
		{"last byte not zero", append(padded(recipient)[:hopSize-1], 1), false},
		{"next hop cut", next[:len(next)-1], false},
		{"recipient cut", recipient[:len(recipient)-1], false},
		{"SURB id cut", append(bytes.Clone(recipient), surb[:16]...), false},
		{"delay cut", append(bytes.Clone(recipient), delay[:4]...), false},
		{"delay without body", append(bytes.Clone(recipient), cmdDelay), false},
	} {
		var u Unwrapped
		var mac [macSize]byte
		err := parseCommands(c.b, &u, &mac)
		if c.ok && err != nil || !c.ok && !errors.Is(err, ErrCommands) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestCheckPath(t *testing.T) {
	r, s := new(Recipient), new(SURBID)
	long := time.Duration(math.MaxUint32) * time.Millisecond
	for _, c := range []struct {
		name string
		path []Hop
		surb bool
		ok   bool
	}{
		{"one hop", []Hop{{Recipient: r}}, false, true},
		{"longest delay", []Hop{{Delay: long}, {Recipient: r}}, false, true},
		{"SURB", []Hop{{}, {Recipient: r, SURBID: s}}, true, true},

		{"empty", nil, false, false},
		{"six hops", []Hop{{}, {}, {}, {}, {}, {Recipient: r}}, false, false},
		{"no recipient", []Hop{{}, {}}, false, false},
		{"recipient in the middle", []Hop{{Recipient: r}, {Recipient: r}}, false, false},
		{"forward with SURB id", []Hop{{Recipient: r, SURBID: s}}, false, false},
		{"SURB without id", []Hop{{Recipient: r}}, true, false},
		{"SURB id in the middle", []Hop{{SURBID: s}, {Recipient: r, SURBID: s}}, true, false},
		{"negative delay", []Hop{{Delay: -time.Millisecond}, {Recipient: r}}, false, false},
		{"fraction of a millisecond", []Hop{{Delay: time.Microsecond}, {Recipient: r}}, false, false},
		{"delay too long", []Hop{{Delay: long + time.Millisecond}, {Recipient: r}}, false, false},
		{"delay at the last hop", []Hop{{Delay: time.Millisecond, Recipient: r}}, false, false},
	} {
		err := checkPath(c.path, c.surb)
		if c.ok && err != nil || !c.ok && !errors.Is(err, ErrPath) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// FuzzCommands checks that what is accepted is unambiguous: encoded again, the
// commands are those bytes, in one of the orders there are.
func FuzzCommands(f *testing.F) {
	f.Add(appendNextHop(appendDelay(nil, time.Second), &NodeID{1}, &[macSize]byte{2}))
	f.Add(appendSURBReply(appendRecipient(nil, &Recipient{3}), &SURBID{4}))
	f.Add(make([]byte, hopSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		var u Unwrapped
		var mac [macSize]byte
		if parseCommands(b, &u, &mac) != nil {
			return
		}
		delay, next := appendDelay(nil, u.Delay), appendNextHop(nil, &u.Next, &mac)
		recipient, surb := appendRecipient(nil, &u.Recipient), appendSURBReply(nil, &u.SURBID)
		var orders [][]byte
		switch {
		case !u.Last:
			orders = [][]byte{append(delay, next...), append(next, delay...)}
		case u.IsReply:
			orders = [][]byte{append(recipient, surb...), append(surb, recipient...)}
		default:
			orders = [][]byte{append(recipient, delay...), append(delay, recipient...), recipient}
		}
		for _, o := range orders {
			if bytes.HasPrefix(b, o) && isZero(b[len(o):]) {
				return
			}
		}
		t.Errorf("accepted %x as %+v", b, u)
	})
}
