package mailbox

import (
	"encoding/binary"
	"fmt"

	"mailproxy/internal/codec"
)

// A recordReader decodes the records of a whole folder. All of them are read when
// the folder is opened, so that it has a way of its own through what codec writes,
// which takes a tenth of the time; what it does not know it leaves to codec, as it
// does everything that is wrong. Messages with the same flags share one list of
// them, and the hash of the Message-ID is not copied.
type recordReader struct {
	flags map[string][]string // by how codec writes them
}

func (r *recordReader) read(b []byte, rec *messageRecord) error {
	*rec = messageRecord{}
	if r.quick(b, rec) {
		return nil
	}
	*rec = messageRecord{}
	if err := codec.Unmarshal(b, rec); err != nil {
		return fmt.Errorf("message record: %w", err)
	}
	return nil
}

// quick reports whether it understood all of b (RFC 8949 section 4.2.1: a map with
// ascending keys, all heads as short as can be).
func (r *recordReader) quick(b []byte, rec *messageRecord) bool {
	major, pairs, b, ok := cborHead(b)
	if !ok || major != cborMap {
		return false
	}
	last := uint64(0)
	for range pairs {
		var major byte
		var k, n uint64
		if major, k, b, ok = cborHead(b); !ok || major != cborUint || k <= last {
			return false
		}
		last = k
		value := b
		if major, n, b, ok = cborHead(b); !ok {
			return false
		}
		switch {
		case k == 1 && major == cborUint && n < 256:
			rec.Format = uint8(n)
		case k == 2 && major == cborArray && n > 0:
			if rec.Flags, b, ok = r.list(value, b, n); !ok {
				return false
			}
		case k == 3 && major <= cborNegative && n < 1<<63:
			rec.Date = signed(major, n)
		case k == 4 && major <= cborNegative && n < 1<<31:
			rec.Zone = int(signed(major, n))
		case k == 5 && major == cborUint && n < 1<<63:
			rec.Size = int64(n)
		case k == 6 && major == cborUint && n < 1<<63:
			rec.WireSize = int64(n)
		case k == 7 && major == cborBytes && n == blobIDSize && len(b) >= blobIDSize:
			rec.Blob, b = blobID(b[:blobIDSize]), b[blobIDSize:]
		case k == 8 && major == cborBytes && n > 0 && n <= uint64(len(b)):
			rec.IDHash, b = b[:n:n], b[n:]
		default:
			return false
		}
	}
	return len(b) == 0 && last >= 7
}

// list returns the n flags at the beginning of b, and what follows them. value is b
// with the list's head.
func (r *recordReader) list(value, b []byte, n uint64) (flags []string, rest []byte, ok bool) {
	if n > maxFlags {
		return nil, nil, false
	}
	rest = b
	for range n {
		major, size, after, ok := cborHead(rest)
		if !ok || major != cborText || size > uint64(len(after)) {
			return nil, nil, false
		}
		rest = after[size:]
	}
	written := value[:len(value)-len(rest)]
	if flags := r.flags[string(written)]; flags != nil {
		return flags, rest, true
	}
	if err := codec.Unmarshal(written, &flags); err != nil {
		return nil, nil, false
	}
	if r.flags == nil {
		r.flags = make(map[string][]string)
	}
	r.flags[string(written)] = flags
	return flags, rest, true
}

// The major types of CBOR (RFC 8949 section 3.1) that a record has.
const (
	cborUint = iota
	cborNegative
	cborBytes
	cborText
	cborArray
	cborMap
)

func signed(major byte, n uint64) int64 {
	if major == cborNegative {
		return -1 - int64(n)
	}
	return int64(n)
}

// cborHead reads a data item's head (RFC 8949 section 3). It takes none that could
// be shorter.
func cborHead(b []byte) (major byte, n uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, 0, nil, false
	}
	major, info, b := b[0]>>5, b[0]&31, b[1:]
	least := uint64(0)
	switch {
	case info < 24:
		return major, uint64(info), b, true
	case info == 24 && len(b) >= 1:
		n, least, b = uint64(b[0]), 24, b[1:]
	case info == 25 && len(b) >= 2:
		n, least, b = uint64(binary.BigEndian.Uint16(b)), 1<<8, b[2:]
	case info == 26 && len(b) >= 4:
		n, least, b = uint64(binary.BigEndian.Uint32(b)), 1<<16, b[4:]
	case info == 27 && len(b) >= 8:
		n, least, b = binary.BigEndian.Uint64(b), 1<<32, b[8:]
	default:
		return 0, 0, nil, false
	}
	return major, n, b, n >= least
}
