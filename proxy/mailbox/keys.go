package mailbox

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

// The keys. Numbers are big-endian, so that keys sort as the numbers do.
//
//	mailbox/version                          FormatVersion
//	mailbox/nextaccount, mailbox/nextfolder  counters; numbers are never reused
//	mailbox/a/<account name>                 accountRecord
//	mailbox/v/<account id>                   the last UIDVALIDITY given out; that of
//	                                         all accounts that were deleted has id 0
//	mailbox/f/<account id><folder id>        folderRecord
//	mailbox/n/<account id><folder name>      folder id
//	mailbox/s/<account id><folder name>      subscription (empty)
//	mailbox/u/<folder id>                    the next UID
//	mailbox/m/<folder id><uid>               messageRecord
//	mailbox/i/<account id><hash of Message-ID><folder id><uid>   (empty)
//	mailbox/o/<account id><hash of Message-ID>   outgoingRecord, by the id of a mail that went out
//	mailbox/p/<account id><hash of Message-ID>   originalRecord, by its mail program's id
//	mailbox/r/<blob id>                      number of messages that share it
//	mailbox/e/<blob id>                      Envelope
//	mailbox/b/<blob id>                      Structure
//	mailbox/c/<blob id><chunk number>        up to chunkSize bytes of the message
var (
	versionKey     = []byte("mailbox/version")
	nextAccountKey = []byte("mailbox/nextaccount")
	nextFolderKey  = []byte("mailbox/nextfolder")
	accountPrefix  = []byte("mailbox/a/")
	refsPrefix     = []byte("mailbox/r/")
	chunkPrefix    = []byte("mailbox/c/")
)

// deletedAccounts stands for all of them; the first account has the id 1.
const deletedAccounts = 0

const (
	blobIDSize = 16
	// hashSize bytes of a Message-ID's SHA-256 name it in the index.
	hashSize = 16
)

type blobID [blobIDSize]byte

type accountRecord struct {
	Format uint8  `cbor:"1,keyasint"`
	ID     uint32 `cbor:"2,keyasint"`
}

type folderRecord struct {
	Format      uint8  `cbor:"1,keyasint"`
	Name        string `cbor:"2,keyasint"`
	Use         string `cbor:"3,keyasint,omitempty"`
	UIDValidity uint32 `cbor:"4,keyasint"`
}

type messageRecord struct {
	Format   uint8    `cbor:"1,keyasint"`
	Flags    []string `cbor:"2,keyasint,omitempty"`
	Date     int64    `cbor:"3,keyasint"`           // internal date, Unix seconds
	Zone     int      `cbor:"4,keyasint,omitempty"` // its zone, seconds east of UTC
	Size     int64    `cbor:"5,keyasint"`
	WireSize int64    `cbor:"6,keyasint"`
	Blob     blobID   `cbor:"7,keyasint"`
	IDHash   []byte   `cbor:"8,keyasint,omitempty"` // of the Message-ID
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// getNumber reads a counter; store.ErrNotFound if it is not there.
func getNumber(tx *store.Tx, key []byte) (uint64, error) {
	v, err := tx.Get(key)
	if err != nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("number in store has %d bytes", len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

func key(kind string, parts ...[]byte) []byte {
	k := append([]byte("mailbox/"), kind...)
	k = append(k, '/')
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func accountKey(name string) []byte          { return key("a", []byte(name)) }
func validityKey(acct uint32) []byte         { return key("v", u32(acct)) }
func foldersKey(acct uint32) []byte          { return key("f", u32(acct)) }
func folderKey(acct uint32, f uint64) []byte { return key("f", u32(acct), number(f)) }
func nameKey(acct uint32, n string) []byte   { return key("n", u32(acct), []byte(n)) }
func subsKey(acct uint32) []byte             { return key("s", u32(acct)) }
func subKey(acct uint32, n string) []byte    { return key("s", u32(acct), []byte(n)) }
func uidNextKey(f uint64) []byte             { return key("u", number(f)) }
func messagesKey(f uint64) []byte            { return key("m", number(f)) }
func messageKey(f uint64, uid uint32) []byte { return key("m", number(f), u32(uid)) }
func refsKey(b blobID) []byte                { return key("r", b[:]) }
func envelopeKey(b blobID) []byte            { return key("e", b[:]) }
func structureKey(b blobID) []byte           { return key("b", b[:]) }
func chunkKey(b blobID, i uint32) []byte     { return key("c", b[:], u32(i)) }

// idsKey is the prefix of all messages of an account with one Message-ID.
func idsKey(acct uint32, hash []byte) []byte { return key("i", u32(acct), hash) }

// sentPrefixes are those of all that is kept of an account's mail that went out.
func sentPrefixes(acct uint32) [][]byte {
	return [][]byte{key("o", u32(acct)), key("p", u32(acct))}
}

func outgoingKey(acct uint32, hash []byte) []byte { return key("o", u32(acct), hash) }
func originalKey(acct uint32, hash []byte) []byte { return key("p", u32(acct), hash) }

func idKey(acct uint32, hash []byte, f uint64, uid uint32) []byte {
	return key("i", u32(acct), hash, number(f), u32(uid))
}

// hashID names a Message-ID in the index, whatever its length. It is nil for a
// message without one.
func hashID(id string) []byte {
	if id == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(id))
	return sum[:hashSize]
}

func putRecord(tx *store.Tx, k []byte, v any) error {
	b, err := codec.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Set(k, b)
}

func getRecord(tx *store.Tx, k []byte, v any) error {
	return tx.Read(k, func(b []byte) error { return codec.Unmarshal(b, v) }) // it copies what it keeps
}

func getMessage(tx *store.Tx, folder uint64, uid uint32) (messageRecord, error) {
	var rec messageRecord
	err := getRecord(tx, messageKey(folder, uid), &rec)
	if errors.Is(err, store.ErrNotFound) {
		return rec, ErrNoMessage
	}
	if err != nil {
		return rec, fmt.Errorf("read message record: %w", err)
	}
	return rec, nil
}
