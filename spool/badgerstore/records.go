package badgerstore

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore/blockfile"
	"mailproxy/spool/server"
)

// recordFormat is the version of the records that this package writes.
const recordFormat = 2

// spoolRecord is what is known of a spool itself.
type spoolRecord struct {
	Format        uint8             `cbor:"1,keyasint"`
	Name          string            `cbor:"2,keyasint"` // that it belongs to
	Last          uint64            `cbor:"3,keyasint"` // sequence number given last; zero: none
	First         uint64            `cbor:"4,keyasint"` // none below is present: where to begin looking
	Blocks        [server.Lanes]int `cbor:"5,keyasint"` // present
	Remembered    [server.Lanes]int `cbor:"6,keyasint"` // ids of blocks that were removed
	AppendKey     ed25519.PublicKey `cbor:"7,keyasint,omitempty"`
	AppendVersion uint64            `cbor:"8,keyasint,omitempty"`
	Suspended     bool              `cbor:"9,keyasint,omitempty"`
	Revoked       bool              `cbor:"10,keyasint,omitempty"` // its name is
	Erased        bool              `cbor:"11,keyasint,omitempty"` // only this record is left, or soon will be
}

// blocks returns how many blocks are present.
func (r *spoolRecord) blocks() (n int) {
	for _, b := range r.Blocks {
		n += b
	}
	return n
}

func (r *spoolRecord) remembered() (n int) {
	for _, b := range r.Remembered {
		n += b
	}
	return n
}

// nameRecord is what is published under a name.
type nameRecord struct {
	Format    uint8              `cbor:"1,keyasint"`
	Hash      spool.NameHash     `cbor:"2,keyasint"`
	Identity  ed25519.PublicKey  `cbor:"3,keyasint"`
	Version   uint64             `cbor:"4,keyasint"`
	Spool     spool.ID           `cbor:"5,keyasint"`
	Bundle    spool.SignedBundle `cbor:"6,keyasint"` // empty if revoked
	Log       server.LogPlace    `cbor:"7,keyasint"`
	Suspended bool               `cbor:"8,keyasint,omitempty"`
	Revoked   bool               `cbor:"9,keyasint,omitempty"`
	Since     int64              `cbor:"10,keyasint"` // Unix nanoseconds
}

func (r *nameRecord) entry(name string) server.Entry {
	return server.Entry{
		Name: name, Hash: r.Hash, Identity: r.Identity, Version: r.Version, Spool: r.Spool, Bundle: r.Bundle,
		Log: r.Log, Suspended: r.Suspended,
	}
}

func getName(tx *store.Tx, name string) (*nameRecord, error) {
	raw, err := tx.Get(key('n', []byte(name)))
	if errors.Is(err, store.ErrNotFound) {
		return nil, server.ErrNoName
	}
	if err != nil {
		return nil, err
	}
	var r nameRecord
	if err := decode(raw, &r, &r.Format); err != nil {
		return nil, err
	}
	return &r, nil
}

func putName(tx *store.Tx, name string, r *nameRecord) error {
	r.Format = recordFormat
	return put(tx, key('n', []byte(name)), r)
}

// readSpool returns the record of a spool as of a transaction's snapshot.
func readSpool(tx *store.Tx, id spool.ID) (*spoolRecord, error) {
	raw, err := tx.Get(key('s', id[:]))
	if errors.Is(err, store.ErrNotFound) {
		return nil, server.ErrNoSpool
	}
	if err != nil {
		return nil, err
	}
	return decodeSpool(raw)
}

func decodeSpool(raw []byte) (*spoolRecord, error) {
	var r spoolRecord
	if err := decode(raw, &r, &r.Format); err != nil {
		return nil, err
	}
	return &r, nil
}

func put(tx *store.Tx, key []byte, record any) error {
	raw, err := codec.Marshal(record)
	if err != nil {
		return err
	}
	return tx.Set(key, raw)
}

func decode(raw []byte, record any, format *uint8) error {
	if err := codec.Unmarshal(raw, record); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if *format != recordFormat {
		return fmt.Errorf("%w: format %d, this program reads %d", ErrRecord, *format, recordFormat)
	}
	return nil
}

// meta is what is known of a block that is present.
type meta struct {
	at    [8]byte // stamp of its append
	lane  spool.Lane
	place blockfile.Place
	id    spool.BlockID
}

const metaSize = 8 + 1 + blockfile.PlaceSize + spool.BlockIDSize

func (m *meta) encode() []byte {
	b := append(make([]byte, 0, metaSize), m.at[:]...)
	b = append(b, byte(m.lane))
	b = append(b, m.place.Encode()...)
	return append(b, m.id[:]...)
}

func decodeMeta(b []byte) (m meta, err error) {
	if len(b) != metaSize || b[8] >= server.Lanes {
		return m, fmt.Errorf("%w: a block's has %d bytes", ErrRecord, len(b))
	}
	copy(m.at[:], b)
	m.lane = spool.Lane(b[8])
	m.place = blockfile.DecodePlace(b[9:])
	copy(m.id[:], b[9+blockfile.PlaceSize:])
	return m, nil
}

// getMeta returns what is known of a block, or store.ErrNotFound.
func getMeta(tx *store.Tx, id spool.ID, seq uint64) (meta, error) {
	raw, err := tx.Get(key('m', id[:], number(seq)))
	if err != nil {
		return meta{}, err
	}
	return decodeMeta(raw)
}

// filedSize is that of a block with what it is, as it lies in the files: spool,
// sequence number (8 bytes), block.
const filedSize = spool.IDSize + 8 + spool.BlockSize

func fileBlock(id spool.ID, seq uint64, block []byte) []byte {
	b := append(make([]byte, 0, filedSize), id[:]...)
	b = binary.BigEndian.AppendUint64(b, seq)
	return append(b, block...)
}

func filedPlace(b []byte) place {
	return place{spool.ID(b), binary.BigEndian.Uint64(b[spool.IDSize:])}
}

// unfile takes a block from what lies in the files, and checks that it is the one.
func unfile(b []byte, p place, m meta) ([]byte, error) {
	block := b[spool.IDSize+8:]
	if filedPlace(b) != p || spool.BlockIDOf(block) != m.id {
		return nil, fmt.Errorf("block %d of spool %x in file %d: %w: it is not what was appended", p.seq, p.spool[:4], m.place.File, ErrDamaged)
	}
	return block, nil
}

// known is what an id stands for: a block that is present under a sequence number,
// or one that was removed.
type known struct {
	seq  uint64 // zero: removed
	lane spool.Lane
	at   [8]byte // stamp of the removal
}

func (k *known) encode() []byte {
	b := number(k.seq)
	if k.seq != 0 {
		return b
	}
	return append(append(b, byte(k.lane)), k.at[:]...)
}

func decodeKnown(b []byte) (k known, err error) {
	switch {
	case len(b) == 8:
		if k.seq = binary.BigEndian.Uint64(b); k.seq != 0 {
			return k, nil
		}
	case len(b) == 17 && binary.BigEndian.Uint64(b) == 0 && b[8] < server.Lanes:
		k.lane = spool.Lane(b[8])
		copy(k.at[:], b[9:])
		return k, nil
	}
	return k, fmt.Errorf("%w: an id's has %d bytes", ErrRecord, len(b))
}
