package mailbox

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"mailproxy/internal/store"
)

// System flags (RFC 9051 section 2.3.2).
const (
	FlagSeen     = `\Seen`
	FlagAnswered = `\Answered`
	FlagFlagged  = `\Flagged`
	FlagDeleted  = `\Deleted`
	FlagDraft    = `\Draft`
)

var systemFlags = []string{FlagAnswered, FlagDeleted, FlagDraft, FlagFlagged, FlagSeen}

// Marks are system flags, a bit for each.
type Marks uint8

// MarkOf returns a system flag's bit, in whatever case it is written, and 0 for
// what is none.
func MarkOf(flag string) Marks {
	if len(flag) == 0 || flag[0] != '\\' {
		return 0
	}
	i := slices.IndexFunc(systemFlags, func(f string) bool { return strings.EqualFold(f, flag) })
	if i < 0 {
		return 0
	}
	return 1 << i
}

const (
	maxFlags   = 64  // of one message
	maxKeyword = 100 // bytes of a flag
)

// A Folder is a folder of an account. It stays the same while it is renamed;
// once deleted, its methods return ErrNoFolder.
type Folder struct {
	a           *Account
	id          uint64
	uidValidity uint32

	// All that follows is guarded by a.mu.
	name, use  string
	gone       bool
	loaded     bool      // messages and uidNext are those of the store
	messages   []Message // by ascending UID
	uidNext    uint32
	rev        uint64 // grows with every change
	selections map[*Selection]struct{}
}

// A Message is what the index knows of a message.
type Message struct {
	UID      uint32
	marks    Marks    // of Flags
	Flags    []string // sorted; not to be changed
	Size     int64    // bytes
	WireSize int64    // bytes when every line ends in CRLF, see RFC 1939 section 11
	date     int64
	zone     int
	blob     blobID
	rev      uint64 // the folder's, when this message last changed
	was      uint64 // rev before the change that returned this Message
}

// Date returns the internal date (RFC 9051 section 2.3.3), to the second, in the
// zone in which it was given.
func (m Message) Date() time.Time { return time.Unix(m.date, 0).In(time.FixedZone("", m.zone)) }

// HasFlag reports whether the message has the flag, in whatever case.
func (m *Message) HasFlag(flag string) bool {
	if mark := MarkOf(flag); mark != 0 {
		return m.marks&mark != 0
	}
	return hasFlag(m.Flags, flag)
}

// Marked reports whether the message has all of some system flags, and none of
// others.
func (m *Message) Marked(all, none Marks) bool { return m.marks&(all|none) == all }

func (m *Message) setFlags(flags []string) {
	m.Flags, m.marks = flags, 0
	for _, f := range flags {
		m.marks |= MarkOf(f)
	}
}

func hasFlag(flags []string, flag string) bool {
	return slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, flag) })
}

// CleanFlags returns flags as they are kept: system flags in their usual
// spelling, keywords as written, sorted, each once. \Recent, which is not the
// client's to set, is left out. ErrFlag for anything that is no flag.
func CleanFlags(flags []string) ([]string, error) {
	var out []string
next:
	for _, f := range flags {
		if strings.HasPrefix(f, `\`) {
			if strings.EqualFold(f, `\Recent`) {
				continue
			}
			for _, sys := range systemFlags {
				if strings.EqualFold(f, sys) {
					if !slices.Contains(out, sys) {
						out = append(out, sys)
					}
					continue next
				}
			}
			return nil, fmt.Errorf("%w: no such system flag", ErrFlag)
		}
		if f == "" || len(f) > maxKeyword || strings.ContainsFunc(f, func(r rune) bool {
			return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r)
		}) {
			return nil, fmt.Errorf("%w: a keyword is an atom of at most %d characters", ErrFlag, maxKeyword)
		}
		if !hasFlag(out, f) {
			out = append(out, f)
		}
	}
	if len(out) > maxFlags {
		return nil, fmt.Errorf("%w: a message has at most %d", ErrFlag, maxFlags)
	}
	slices.Sort(out)
	return out, nil
}

// changed wakes all who look at the folder. Callers hold a.mu.
func (f *Folder) changed() {
	f.rev++
	for s := range f.selections {
		select {
		case s.wake <- struct{}{}:
		default: // it has not yet looked since the last time
		}
	}
}

// Name returns the folder's present name.
func (f *Folder) Name() string {
	f.a.mu.RLock()
	defer f.a.mu.RUnlock()
	return f.name
}

// Use returns the folder's special use, or "".
func (f *Folder) Use() string {
	f.a.mu.RLock()
	defer f.a.mu.RUnlock()
	return f.use
}

// UIDValidity never changes (RFC 9051 section 2.3.1.1).
func (f *Folder) UIDValidity() uint32 { return f.uidValidity }

// read runs fn with a.mu held for reading and the folder's index in memory.
func (f *Folder) read(fn func() error) error {
	for {
		f.a.mu.RLock()
		if f.gone {
			f.a.mu.RUnlock()
			return ErrNoFolder
		}
		if f.loaded {
			defer f.a.mu.RUnlock()
			return fn()
		}
		f.a.mu.RUnlock()
		f.a.mu.Lock()
		err := f.load()
		f.a.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// load reads what the store has beyond the last UID in memory: everything, the
// first time. Callers hold a.mu. A delivery's transaction is seen here no later
// than by its OnCommit, and UIDs are committed in ascending order (each reads
// the counter that the one before wrote), so that none is ever skipped.
func (f *Folder) load() error {
	if f.gone {
		return nil
	}
	if !f.loaded {
		f.messages = nil
	}
	var last uint32
	if n := len(f.messages); n > 0 {
		last = f.messages[n-1].UID
	}
	// In parts, since a slice that grows to a hundred thousand messages leaves twice
	// as much memory behind.
	var parts [][]Message
	var part []Message
	var next uint64
	err := f.a.s.st.View(func(tx *store.Tx) error {
		var err error
		if next, err = getNumber(tx, uidNextKey(f.id)); err != nil {
			return err
		}
		prefix := messagesKey(f.id)
		var reader recordReader
		var rec messageRecord
		r := store.Range{Prefix: prefix, From: messageKey(f.id, last+1)}
		return tx.Iterate(r, func(it store.Item) error {
			if err := it.Read(func(v []byte) error { return reader.read(v, &rec) }); err != nil {
				return err
			}
			if len(part) == cap(part) {
				parts, part = append(parts, part), make([]Message, 0, min(max(16, 2*cap(part)), 4096))
			}
			part = append(part, rec.message(binary.BigEndian.Uint32(it.Key[len(prefix):])))
			return nil
		})
	})
	if err != nil {
		f.loaded = false
		return fmt.Errorf("read folder index: %w", err)
	}
	parts = append(parts, part)
	for _, part := range parts {
		for i := range part {
			part[i].rev = f.rev + 1
		}
	}
	if !f.loaded {
		f.messages = slices.Concat(parts...)
	} else {
		for _, part := range parts {
			f.messages = append(f.messages, part...)
		}
	}
	f.uidNext, f.loaded = uint32(next), true
	f.changed()
	return nil
}

func (r *messageRecord) message(uid uint32) Message {
	m := Message{UID: uid, Size: r.Size, WireSize: r.WireSize, date: r.Date, zone: r.Zone, blob: r.Blob}
	m.setFlags(r.Flags)
	return m
}

func iterateUIDs(tx *store.Tx, folder uint64, from uint32, fn func(uid uint32)) error {
	prefix := messagesKey(folder)
	return tx.Iterate(store.Range{Prefix: prefix, From: messageKey(folder, from)}, func(it store.Item) error {
		fn(binary.BigEndian.Uint32(it.Key[len(prefix):]))
		return nil
	})
}

// find returns the index of uid in f.messages. Callers hold a.mu.
func (f *Folder) find(uid uint32) (int, bool) {
	i := sort.Search(len(f.messages), func(i int) bool { return f.messages[i].UID >= uid })
	return i, i < len(f.messages) && f.messages[i].UID == uid
}

// Messages returns all messages by ascending UID.
func (f *Folder) Messages() (list []Message, err error) {
	err = f.read(func() error {
		list = slices.Clone(f.messages)
		return nil
	})
	return list, err
}

// Message returns one message, or ErrNoMessage.
func (f *Folder) Message(uid uint32) (m Message, err error) {
	err = f.read(func() error {
		i, ok := f.find(uid)
		if !ok {
			return ErrNoMessage
		}
		m = f.messages[i]
		return nil
	})
	return m, err
}

// Status are the figures of a folder.
type Status struct {
	UIDValidity, UIDNext      uint32
	Messages, Unseen, Deleted uint32
	FirstUnseen               uint32 // position of the first message without \Seen, from 1; 0 if none
	Size                      int64  // bytes of all messages
	DeletedSize               int64  // bytes of those with \Deleted
	Keywords                  []string
}

// Status counts the folder's messages.
func (f *Folder) Status() (s Status, err error) {
	err = f.read(func() error {
		s = f.status()
		return nil
	})
	return s, err
}

// status is Status. Callers hold a.mu.
func (f *Folder) status() Status {
	s := Status{UIDValidity: f.uidValidity, UIDNext: f.uidNext, Messages: uint32(len(f.messages))}
	keywords := make(map[string]string) // by lower case: two spellings are one keyword
	for i := range f.messages {
		m := &f.messages[i]
		if !m.HasFlag(FlagSeen) {
			s.Unseen++
			if s.FirstUnseen == 0 {
				s.FirstUnseen = uint32(i) + 1
			}
		}
		if m.HasFlag(FlagDeleted) {
			s.Deleted++
			s.DeletedSize += m.Size
		}
		s.Size += m.Size
		for _, flag := range m.Flags {
			if strings.HasPrefix(flag, `\`) {
				continue
			}
			if k := strings.ToLower(flag); keywords[k] == "" {
				keywords[k] = flag
			}
		}
	}
	s.Keywords = slices.Sorted(maps.Values(keywords))
	return s
}
