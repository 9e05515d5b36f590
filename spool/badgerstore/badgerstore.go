// Package badgerstore keeps the names and blocks of a spool service in one
// directory that one process opens.
//
// It implements server.Store and knows nothing of requests, signatures or
// networks. cmd/mailspool imports it, and hands it to spool/server.
//
// One goroutine writes. It takes all changes that wait, makes them in one
// transaction and syncs once: so many clients share a sync, no transaction meets
// another, and what is known of each spool (a hundred bytes or two) is in memory as of
// the last commit, where reads of an empty spool find it. This cache is right
// because the process has the directory to itself; a store that several processes
// share would do without it.
//
// Blocks are in files of their own (package blockfile), 64 MiB each, and all else
// is in internal/store's. A file whose blocks were all removed goes at once; when
// removed blocks take more than half as much as present ones do, and 256 MiB,
// what is present in the emptiest file is moved into a new one.
//
// On disk a name takes about 2 KB, most of it its key bundle; a block 8,248 bytes in
// its file and about 300 in the tables; the id of a removed block about 200, for
// as long as it is remembered. In memory a spool takes about 300 bytes.
// contrib/measure/spoolload measures all this, and how fast it is. With Badger's
// value log in place of the files, collected every 15 seconds, 60,000 appends with
// their trims at 64 clients went about as fast (5,600 to 6,000 in a second, on the
// same busy machine), and took 602 MB of disk at the most in place of 212, for 30
// that were live.
//
// The keys, each beginning with a letter; numbers are big-endian, times are Unix
// nanoseconds:
//
//	F                        → version of this layout
//	g                        → generation: see Restore
//	w                        → when a sweep was last made by a clock that was trusted
//	R                        → nothing: the store was not wholly restored
//	n name                   → CBOR of a name's record
//	s spool                  → CBOR of a spool's record
//	m spool sequence         → of a block: time of its append, lane, where it is, id
//	t time spool sequence    → nothing: blocks by age
//	i spool id               → sequence if the block is present; if it is
//	                           remembered, zero, lane and time of its removal
//	f time spool id          → nothing: remembered ids, by the time of removal
//	e spool                  → nothing: to be erased, which is not yet finished
//	v hash                   → CBOR of an invitation
//	l index                  → record of the key log
//	h index                  → hash of the key log, by its stored index
package badgerstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore/blockfile"
	"mailproxy/spool/server"
)

// DefaultReserve is how much of the disk is left alone by default, in bytes: room
// for the logs and tables that Badger writes at any time, and for trimming.
const DefaultReserve = 512 << 20

var (
	// ErrRecord is wrapped by the errors about records that cannot be read.
	ErrRecord = errors.New("record of the spool store cannot be read")
	// ErrFormat is wrapped by the errors about a store that another release wrote.
	ErrFormat = errors.New("spool store has another format")
	// ErrDamaged is wrapped by the errors about blocks that are not what was
	// appended.
	ErrDamaged = blockfile.ErrDamaged
	// ErrClosed is returned for changes after Close.
	ErrClosed = errors.New("spool store is closed")
)

// Options say what to open.
type Options struct {
	Dir string
	// Key encrypts the files at rest, store.KeySize bytes; nil for none.
	Key []byte
	// Reserve is how many bytes of the disk must be free for a block or a name to
	// be taken; DefaultReserve if zero. A full disk does not fail Badger's writes,
	// it ends the process (see store.Store.Room).
	Reserve int64
	// Free replaces the question to the system of how much is free, in tests.
	Free   func() (int64, error)
	Logger *slog.Logger // nil: none

	// FileBlocks is how many blocks a file has; 64 MiB of them if zero. Slack is how
	// many bytes of removed blocks are no reason to move others; 256 MiB if zero.
	FileBlocks int
	Slack      int64

	clock func() time.Time // for the tests of this package; nil: time.Now
}

// A Store is a server.Store on disk. Its methods may be called from any goroutine.
type Store struct {
	db    *store.Store
	files *blockfile.Files
	dir   string
	key   []byte // nil: none
	log   *slog.Logger

	changes chan *change   // to the writer
	closing chan struct{}  // closed by Close
	writer  sync.WaitGroup // waits for the writer's end

	// Only the writer uses these.
	unsure error        // why no change may be made; nil: any may
	tried  time.Time    // when it was last tried to find out
	fault  func() error // what becomes of commits, in tests

	// mu guards what is known in memory, which is as of the last commit. Only the
	// writer changes it; what is in the maps is replaced, never changed.
	mu     sync.RWMutex
	spools map[spool.ID]*spoolRecord
	stats  server.Stats // without Oldest

	floor uint64 // see last; set before anything else begins
	ages  ages

	usage      usage
	slack      int64
	counted    chan struct{} // closed when usage is
	countedOK  bool          // set before
	collecting sync.Mutex    // held by who gives room back
	counting   sync.Mutex    // held by who counts blocks anew, and who removes a file for its count
	cancel     context.CancelFunc
	collector  sync.WaitGroup
}

var _ server.Store = (*Store)(nil)

// Open opens or makes the store in o.Dir. It fails with the errors of store.Open,
// or ErrFormat.
func Open(o Options) (*Store, error) {
	if o.Reserve == 0 {
		o.Reserve = DefaultReserve
	}
	db, err := store.Open(store.Options{
		Dir: o.Dir, Key: o.Key, Reserve: o.Reserve, Free: o.Free, Logger: o.Logger, Tables: true,
	})
	if err != nil {
		return nil, fmt.Errorf("open spool store: %w", err)
	}
	s := &Store{
		db: db, log: o.Logger, dir: o.Dir, key: o.Key,
		changes: make(chan *change, maxChanges), closing: make(chan struct{}),
		usage:   usage{live: make(map[uint32]int64), damaged: make(map[uint32]bool)},
		counted: make(chan struct{}), slack: cmp.Or(o.Slack, slackBytes),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	err = s.checkFormat()
	if err == nil {
		err = s.load()
	}
	if err == nil {
		s.files, err = blockfile.Open(blockfile.Options{
			Dir: filepath.Join(o.Dir, blocksDir), Key: o.Key, Size: filedSize, Slots: cmp.Or(o.FileBlocks, fileSlots),
		})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open spool store %s: %w", o.Dir, err), db.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	began := make(chan struct{})
	s.collector.Go(func() {
		s.collectUntil(ctx, func() error {
			return s.db.View(func(tx *store.Tx) error {
				close(began)
				found, err := count(ctx, tx)
				if err == nil {
					s.usage.add(found)
				}
				return err
			})
		})
	})
	<-began
	s.writer.Go(s.write)
	return s, nil
}

// blocksDir is where the files of blocks are, in the store's directory.
const blocksDir = "blocks"

// Close waits for the changes that are under way and closes the files.
func (s *Store) Close() error {
	s.cancel()
	close(s.closing)
	s.collector.Wait()
	s.writer.Wait()
	if err := errors.Join(s.files.Close(), s.db.Close()); err != nil {
		return fmt.Errorf("close spool store: %w", err)
	}
	return nil
}

// layout is the version of the keys and records of this package.
const layout = 2

var (
	layoutKey     = []byte("F")
	generationKey = []byte("g")
	restoringKey  = []byte("R")
	lastSweepKey  = []byte("w")
)

// checkFormat refuses what another release wrote, and marks a new store.
func (s *Store) checkFormat() error {
	var have []byte
	empty, restoring := true, false
	err := s.db.View(func(tx *store.Tx) (err error) {
		if restoring, err = tx.Has(restoringKey); err != nil || restoring {
			return err
		}
		have, err = tx.Get(layoutKey)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		for _, kind := range []string{"n", "s"} {
			err := tx.Iterate(store.Range{Prefix: []byte(kind)}, func(store.Item) error {
				empty = false
				return store.ErrStop
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case restoring:
		return fmt.Errorf("%w: remove it, and restore it again", ErrHalf)
	case have == nil && !empty:
		return fmt.Errorf("%w: it is the first, without lanes and key log, and this program reads %d; it cannot be converted", ErrFormat, layout)
	case have == nil:
		return s.db.Update(func(tx *store.Tx) error { return tx.Set(layoutKey, number(layout)) })
	case len(have) != 8 || binary.BigEndian.Uint64(have) != layout:
		return fmt.Errorf("%w: it is %x, and this program reads %d", ErrFormat, have, layout)
	}
	return nil
}

func key(kind byte, parts ...[]byte) []byte {
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	k := append(make([]byte, 0, n), kind)
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// stamp orders times as keys do. Before 1970 there is no mail.
func stamp(t time.Time) []byte { return number(uint64(max(0, t.UnixNano()))) }

// unstamp reads a stamp.
func unstamp(b []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(b))) }
