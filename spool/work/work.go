// Package work is the postage of the strangers' lane: a proof that somebody has
// spent computing time and memory on one block for one spool.
//
// It is hashcash with Argon2id (RFC 9106) for its hash. A sender looks for a nonce
// whose hash begins with enough zero bits, and that takes 2^Bits evaluations in the
// mean; whoever checks needs one. Memory and Time say what an evaluation is, Bits
// says how many a block costs: the first two are the checker's cost and stay as they
// are, the third is the price and is what an operator changes.
//
//	evaluations to find a proof    2^Bits in the mean; one in e^3 = 20 needs three times as many
//	evaluations to check one       1
//	memory of an evaluation        Memory KiB
//
// With Default an evaluation takes 4 MiB and about 4 ms of one core of 2.5 GHz, and
// a proof 64 of them: a quarter of a second. A daemon sends a block every 1.7 s at
// most, so the work never holds up its packets. A thousand blocks a day to
// strangers, which is much for a person, cost 4 minutes; a million, which is little
// for somebody who sends unwanted mail, 3 days of one core.
//
// What this cannot do: a graphics card evaluates Argon2id of this size perhaps a
// hundred times as fast as a core does, because 4 MiB is little, and it is little
// because a service checks for people who pay nothing. And a proof that is wrong
// costs its maker a packet, and the checker an evaluation: how many it makes is for
// the checker to bound. Package server does.
//
// It is a leaf above package spool; spool/server and the user daemon import it.
package work

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/crypto/argon2"

	"mailproxy/spool"
)

// Default is the price of a service that sets no other.
var Default = spool.Terms{Memory: 4096, Time: 1, Bits: 6}

// Bounds of terms that make sense.
const (
	minMemory = 8 // KiB, RFC 9106 section 3.1
	maxMemory = 64 << 10
	maxTime   = 16
	maxBits   = 24
)

// MaxCost is what Solve pays at most, in KiB and passes: about 70 s of a core in
// the mean. A service that asks for more is not in its right mind, or wants to
// keep its users' correspondents busy.
const MaxCost = 4096 << 14

// ProofSize is the size of a proof: format (1) ‖ nonce (8) ‖ memory (4) ‖ time (4) ‖
// bits (1), numbers big-endian. The terms are those that the proof was made for, so
// that it can be taken for a while after the price has changed.
const ProofSize = 1 + 8 + 4 + 4 + 1

// format is the version of the proofs.
const format = 1

var (
	// ErrTerms is wrapped by errors about terms that are none.
	ErrTerms = errors.New("terms of the strangers' lane make no sense")
	// ErrDear is wrapped by the error of Solve for more than MaxCost.
	ErrDear = errors.New("service asks for more work than this program does")
)

// Valid says whether the terms are such that proofs can be made and checked. The
// terms of an open lane, all zero, are not.
func Valid(t spool.Terms) error {
	switch {
	case t.Memory < minMemory || t.Memory > maxMemory:
		return fmt.Errorf("%w: memory of %d KiB, not %d to %d", ErrTerms, t.Memory, minMemory, maxMemory)
	case t.Time < 1 || t.Time > maxTime:
		return fmt.Errorf("%w: %d passes, not 1 to %d", ErrTerms, t.Time, maxTime)
	case t.Bits < 1 || t.Bits > maxBits:
		return fmt.Errorf("%w: %d bits, not 1 to %d", ErrTerms, t.Bits, maxBits)
	}
	return nil
}

// Cost is what a proof costs in the mean: KiB of memory filled, all passes of all
// evaluations together.
func Cost(t spool.Terms) uint64 { return uint64(t.Memory) * uint64(t.Time) << t.Bits }

// Solve makes the proof for an input of spool.AppendInput, on one core. It takes as
// long as luck will have it; when ctx ends, it returns ctx's error. The same input
// and terms give the same proof.
func Solve(ctx context.Context, input [32]byte, t spool.Terms) (proof []byte, err error) {
	if err := Valid(t); err != nil {
		return nil, fmt.Errorf("work for a stranger's block: %w", err)
	}
	if Cost(t) > MaxCost {
		return nil, fmt.Errorf("work for a stranger's block: %w: %d KiB, %d passes, %d bits", ErrDear, t.Memory, t.Time, t.Bits)
	}
	for nonce := uint64(0); ; nonce++ {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("work for a stranger's block: %w", err)
		}
		if enough(input, nonce, t) {
			b := make([]byte, 0, ProofSize)
			b = append(b, format)
			b = binary.BigEndian.AppendUint64(b, nonce)
			b = binary.BigEndian.AppendUint32(b, t.Memory)
			b = binary.BigEndian.AppendUint32(b, t.Time)
			return append(b, t.Bits), nil
		}
	}
}

// Claimed returns the terms that a proof says it was made for. It costs nothing and
// shows nothing: a checker needs it to turn away what it would not take.
func Claimed(proof []byte) (t spool.Terms, ok bool) {
	if len(proof) != ProofSize || proof[0] != format {
		return t, false
	}
	return spool.Terms{
		Memory: binary.BigEndian.Uint32(proof[9:]), Time: binary.BigEndian.Uint32(proof[13:]), Bits: proof[17],
	}, true
}

// Check says whether proof is one for this input and at least these terms. It makes
// one evaluation, or none if it can tell without: never one of other memory or
// time than those of t.
func Check(input [32]byte, proof []byte, t spool.Terms) bool {
	c, ok := Claimed(proof)
	if !ok || c.Memory != t.Memory || c.Time != t.Time || c.Bits < t.Bits || Valid(t) != nil {
		return false
	}
	return enough(input, binary.BigEndian.Uint64(proof[1:]), t)
}

// enough evaluates Argon2id, version 0x13, with the nonce's 8 bytes as password, the
// input as salt, one lane and a tag of 32 bytes.
func enough(input [32]byte, nonce uint64, t spool.Terms) bool {
	tag := argon2.IDKey(binary.BigEndian.AppendUint64(nil, nonce), input[:], t.Time, t.Memory, 1, 32)
	return bits.LeadingZeros64(binary.BigEndian.Uint64(tag)) >= int(t.Bits)
}
