package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/maphash"

	"mailproxy/spool"
)

// A fingerprint is the sum of hashes of entries, in any order: of the same entries
// it is the same, and of others but by a chance of 2^-128. The hashes have seeds
// that nobody knows.
type fingerprint [2]uint64

func (f *fingerprint) add(seeds [2]maphash.Seed, parts ...[]byte) { f.change(1, seeds, parts) }

// sub takes an entry out of the sum.
func (f *fingerprint) sub(seeds [2]maphash.Seed, parts ...[]byte) { f.change(^uint64(0), seeds, parts) }

func (f *fingerprint) change(by uint64, seeds [2]maphash.Seed, parts [][]byte) {
	for i, seed := range seeds {
		var h maphash.Hash
		h.SetSeed(seed)
		for _, p := range parts {
			h.Write(p) // each of a fixed length, so that they cannot be cut elsewhere
		}
		f[i] += by * h.Sum64()
	}
}

// checkFit finds what does not fit where indexes do not.
func (v *verifier) checkFit(ctx context.Context) (err error) {
	was := v.report.Wrong
	fits := true
	for _, c := range []struct {
		fingerprint
		checks []func(ctx context.Context) error
	}{
		{v.ages, []func(ctx context.Context) error{v.blocksByAge, v.agesOfBlocks}},
		{v.ids, []func(ctx context.Context) error{v.blocksByID, v.idsOfBlocks}},
		{v.forgets, []func(ctx context.Context) error{v.idsToForget, v.forgetOfIDs}},
	} {
		if c.fingerprint == (fingerprint{}) {
			continue
		}
		fits = false
		for _, check := range c.checks {
			if err == nil {
				err = check(ctx)
			}
		}
	}
	if !fits && err == nil && v.report.Wrong == was {
		v.wrong("indexes of blocks do not fit each other")
	}
	return err
}

func (v *verifier) blocksByAge(ctx context.Context) error {
	return v.each(ctx, 'm', func(k, value []byte) error {
		if m, err := decodeMeta(value); err == nil && !v.has(key('t', m.at[:], k[1:])) {
			v.wrong("block %x of spool %x is not in the index by age", k[1+spool.IDSize:], k[1:5])
		}
		return nil
	})
}

func (v *verifier) agesOfBlocks(ctx context.Context) error {
	return v.each(ctx, 't', func(k, _ []byte) error {
		if len(k) != 1+8+spool.IDSize+8 {
			return nil
		}
		m, err := getMeta(v.Tx, spool.ID(k[9:]), binary.BigEndian.Uint64(k[9+spool.IDSize:]))
		if err != nil || !bytes.Equal(m.at[:], k[1:9]) {
			v.wrong("index by age: there is no block to %x", k[1:])
		}
		return nil
	})
}

func (v *verifier) blocksByID(ctx context.Context) error {
	return v.each(ctx, 'm', func(k, value []byte) error {
		m, err := decodeMeta(value)
		if err != nil {
			return nil // said before
		}
		raw, err := v.Get(key('i', k[1:1+spool.IDSize], m.id[:]))
		if id, derr := decodeKnown(raw); err != nil || derr != nil || !bytes.Equal(number(id.seq), k[1+spool.IDSize:]) {
			v.wrong("block %x of spool %x is not in the index of ids", k[1+spool.IDSize:], k[1:5])
		}
		return nil
	})
}

func (v *verifier) idsOfBlocks(ctx context.Context) error {
	return v.each(ctx, 'i', func(k, value []byte) error {
		id, err := decodeKnown(value)
		if err != nil || id.seq == 0 || len(k) != 1+spool.IDSize+spool.BlockIDSize {
			return nil
		}
		if m, err := getMeta(v.Tx, spool.ID(k[1:]), id.seq); err != nil || !bytes.Equal(m.id[:], k[1+spool.IDSize:]) {
			v.wrong("index of ids: spool %x has no block %d with this id", k[1:5], id.seq)
		}
		return nil
	})
}

func (v *verifier) idsToForget(ctx context.Context) error {
	return v.each(ctx, 'i', func(k, value []byte) error {
		if id, err := decodeKnown(value); err == nil && id.seq == 0 && !v.has(key('f', id.at[:], k[1:])) {
			v.wrong("index of ids: one of spool %x will never be forgotten", k[1:5])
		}
		return nil
	})
}

func (v *verifier) forgetOfIDs(ctx context.Context) error {
	return v.each(ctx, 'f', func(k, _ []byte) error {
		if len(k) != 1+8+spool.IDSize+spool.BlockIDSize {
			return nil
		}
		raw, err := v.Get(key('i', k[9:]))
		if id, derr := decodeKnown(raw); err != nil || derr != nil || id.seq != 0 || !bytes.Equal(id.at[:], k[1:9]) {
			v.wrong("index of what to forget: spool %x remembers no such id", k[9:13])
		}
		return nil
	})
}
