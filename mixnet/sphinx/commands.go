package sphinx

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Identifiers of routing commands.
const (
	cmdNull      = 0x00
	cmdNextHop   = 0x01
	cmdRecipient = 0x02
	cmdSURBReply = 0x03
	cmdDelay     = 0x80
)

// appendNextHop, appendRecipient, appendSURBReply and appendDelay append the
// command to b.
func appendNextHop(b []byte, id *NodeID, mac *[macSize]byte) []byte {
	b = append(b, cmdNextHop)
	b = append(b, id[:]...)
	return append(b, mac[:]...)
}

func appendRecipient(b []byte, r *Recipient) []byte {
	return append(append(b, cmdRecipient), r[:]...)
}

func appendSURBReply(b []byte, id *SURBID) []byte {
	return append(append(b, cmdSURBReply), id[:]...)
}

// appendDelay wants d within checkDelay's limits.
func appendDelay(b []byte, d time.Duration) []byte {
	return binary.BigEndian.AppendUint32(append(b, cmdDelay), uint32(d/time.Millisecond))
}

// checkDelay returns an error for a delay that the command cannot express.
func checkDelay(d time.Duration) error {
	switch {
	case d < 0:
		return fmt.Errorf("%w: delay of %v", ErrPath, d)
	case d%time.Millisecond != 0:
		return fmt.Errorf("%w: delay of %v is not whole milliseconds", ErrPath, d)
	case d/time.Millisecond > math.MaxUint32:
		return fmt.Errorf("%w: delay of %v is longer than 32 bits of milliseconds", ErrPath, d)
	}
	return nil
}

// parseCommands reads the routing commands of a hop, which fill b together with
// the zeros after them, into u and, of a packet that goes on, the MAC of the next
// header into mac.
func parseCommands(b []byte, u *Unwrapped, mac *[macSize]byte) error {
	var next, recipient, delay bool
	// take copies the body of a command that must not have been seen.
	take := func(seen *bool, body []byte) bool {
		if *seen || len(b) < len(body) {
			return false
		}
		*seen = true
		b = b[copy(body, b):]
		return true
	}
	for len(b) > 0 {
		id := b[0]
		b = b[1:]
		ok := false
		switch id {
		case cmdNull:
			ok = isZero(b)
			b = nil
		case cmdNextHop:
			var body [NodeIDSize + macSize]byte
			ok = take(&next, body[:])
			copy(u.Next[:], body[:])
			copy(mac[:], body[NodeIDSize:])
		case cmdRecipient:
			ok = take(&recipient, u.Recipient[:])
		case cmdSURBReply:
			ok = take(&u.IsReply, u.SURBID[:])
		case cmdDelay:
			var body [4]byte
			ok = take(&delay, body[:])
			u.Delay = time.Duration(binary.BigEndian.Uint32(body[:])) * time.Millisecond
		}
		if !ok {
			return ErrCommands
		}
	}

	u.Last = !next
	switch {
	case next && (recipient || u.IsReply || !delay),
		u.Last && !recipient,
		u.IsReply && delay:
		return ErrCommands
	}
	return nil
}

// isZero reports whether all of b is zero, in constant time: of a payload's tag
// it must not tell how much was right.
func isZero(b []byte) bool {
	var or byte
	for _, v := range b {
		or |= v
	}
	return or == 0
}
