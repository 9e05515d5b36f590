package mailbox

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

// This file checks messages, the index of Message-IDs and the counts of references.

func (c *checker) checkMessages() error {
	var f *checkedFolder
	last := uint64(0)
	err := c.each("m", 12, true, func(rest []byte, it store.Item) error {
		folder, uid := binary.BigEndian.Uint64(rest), binary.BigEndian.Uint32(rest[8:])
		if f == nil || folder != last {
			if f, last = c.folders[folder], folder; f == nil {
				f = &checkedFolder{lost: true, rec: folderRecord{Name: c.at(folder, 0).Folder}}
				c.folders[folder] = f
				c.say(Problem{Folder: c.at(folder, 0).Folder}, rebuildingFolder(0, folder), "there are messages of folder number %d, and no such folder", folder)
			}
		}
		v, err := it.Value()
		if err != nil {
			return err
		}
		c.report.Messages++
		f.messages++
		f.highest = max(f.highest, uid)
		if uid == 0 || uid == 1<<32-1 {
			c.say(c.at(folder, uid), rehoming(folder, uid), "the message has a UID that none can have, %d", uid)
		}
		return c.checkMessage(folder, uid, v)
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(c.folders)) {
		f := c.folders[id]
		// A counter that is behind was lost or is old: it cannot be told which UIDs
		// were given since, so that they need another UIDVALIDITY.
		switch {
		case f.counter == 0 || f.counter > 1<<32-1:
			c.say(c.at(id, 0), restartingUIDs(f.acct, id), "the folder has no counter of UIDs")
		case uint64(f.highest) >= f.counter:
			c.say(c.at(id, 0), restartingUIDs(f.acct, id), "the folder's next UID is %d, and UID %d is given", f.counter, f.highest)
		}
	}
	return nil
}

func (c *checker) checkMessage(folder uint64, uid uint32, v []byte) error {
	at := c.at(folder, uid)
	var rec messageRecord
	if err := codec.Unmarshal(v, &rec); err != nil || rec.Format != FormatVersion {
		c.say(at, deleting(messageKey(folder, uid)), "the message's record cannot be read")
		return nil
	}
	if flags, err := CleanFlags(rec.Flags); err != nil || !slices.Equal(flags, rec.Flags) {
		c.say(at, cleaningFlags(folder, uid), "the message has flags that none can have, or not in their order")
	}
	if rec.Zone < -24*3600 || rec.Zone > 24*3600 {
		c.say(at, cleaningZone(folder, uid), "the message's date is in a zone that there is not")
	}
	if rec.IDHash != nil && len(rec.IDHash) != hashSize {
		c.say(at, rehashing(folder, uid, nil), "the message's record names a Message-ID in %d bytes", len(rec.IDHash))
		rec.IDHash = nil
	}
	if rec.IDHash != nil {
		c.entries[entry{folder, uid}] = [hashSize]byte(rec.IDHash)
	}
	b := c.blobs[rec.Blob]
	if b == nil {
		b = &checkedBlob{size: rec.Size, wire: rec.WireSize, hasHash: rec.IDHash != nil, first: entry{folder, uid}, acct: c.folders[folder].acct}
		copy(b.hash[:], rec.IDHash)
		c.blobs[rec.Blob] = b
		c.total += rec.Size
		c.report.Bytes += rec.Size
		c.report.Bodies++
	} else if b.size != rec.Size || b.wire != rec.WireSize {
		b.differ = true // finish knows who is right
	} else if b.hasHash != (rec.IDHash != nil) || b.hasHash && !bytes.Equal(b.hash[:], rec.IDHash) {
		c.say(at, rehashing(folder, uid, b.hashOrNil()), "the message has another Message-ID in its record than UID %d in folder %q, which shares its bytes",
			b.first.uid, c.at(b.first.folder, 0).Folder)
	}
	b.uses++
	return nil
}

func (b *checkedBlob) hashOrNil() []byte {
	if !b.hasHash {
		return nil
	}
	return b.hash[:]
}

// checkIDs compares the index of Message-IDs with the messages.
func (c *checker) checkIDs() error {
	err := c.each("i", 4+hashSize+12, false, func(rest []byte, it store.Item) error {
		acct, hash := binary.BigEndian.Uint32(rest), rest[4:4+hashSize]
		e := entry{binary.BigEndian.Uint64(rest[4+hashSize:]), binary.BigEndian.Uint32(rest[4+hashSize+8:])}
		want, ok := c.entries[e]
		f := c.folders[e.folder]
		if f != nil && f.lost && f.acct == 0 {
			f.acct = acct // a folder without a record: whose it was
		}
		if !ok || !bytes.Equal(want[:], hash) || f == nil || f.acct != acct {
			c.say(c.at(e.folder, e.uid), deleting(append([]byte(nil), it.Key...)), "the index of Message-IDs leads to a message that is not there or has another")
			return nil
		}
		delete(c.entries, e)
		return nil
	})
	if err != nil {
		return err
	}
	left := slices.SortedFunc(maps.Keys(c.entries), func(x, y entry) int {
		return bytes.Compare(messageKey(x.folder, x.uid), messageKey(y.folder, y.uid))
	})
	for _, e := range left {
		c.say(c.at(e.folder, e.uid), indexing(e.folder, e.uid), "the message is not in the index of Message-IDs")
	}
	return nil
}

// checkBlobs compares the counts of references with the messages.
func (c *checker) checkBlobs() error {
	return c.each("r", blobIDSize, true, func(rest []byte, it store.Item) error {
		id := blobID(rest)
		v, err := it.Value()
		if err != nil {
			return err
		}
		b := c.blobs[id]
		if b == nil {
			b = &checkedBlob{}
			c.blobs[id] = b // reported by checkUnclaimed
		}
		if len(v) == 8 {
			b.refs = binary.BigEndian.Uint64(v)
		}
		if b.uses > 0 && b.refs != b.uses {
			c.say(c.at(b.first.folder, b.first.uid), recounting(id), "the message's body is counted as shared by %d messages, and is by %d", b.refs, b.uses)
			b.refs = b.uses
		}
		return nil
	})
}

// checkSent reads what is noted of mail that went out.
func (c *checker) checkSent() error {
	for _, kind := range []string{"o", "p"} {
		err := c.each(kind, 4+hashSize, true, func(rest []byte, it store.Item) error {
			v, err := it.Value()
			if err != nil {
				return err
			}
			acct := binary.BigEndian.Uint32(rest)
			at := Problem{Account: c.accounts[acct]}
			format := uint8(0)
			if kind == "o" {
				var rec outgoingRecord
				err = codec.Unmarshal(v, &rec)
				format = rec.Format
			} else {
				var rec originalRecord
				err = codec.Unmarshal(v, &rec)
				format = rec.Format
			}
			if err != nil || format != FormatVersion {
				c.say(at, deleting(append([]byte(nil), it.Key...)), "a record of mail that was sent cannot be read")
			} else if c.accounts[acct] == "" && !c.unowned[acct] {
				c.say(at, deleting(append([]byte(nil), it.Key...)), "there is a record of mail that account number %d sent, which is not there", acct)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
