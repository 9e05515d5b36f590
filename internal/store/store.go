// Package store is a small key-value store on Badger with the settings that
// every durable part of mailproxy shares: each write transaction is synced to
// disk before it returns, the files may be encrypted at rest, one process opens
// a directory at a time, and a version record refuses what another release
// wrote.
//
// It knows nothing of mail, blocks or accounts: those who use it give their keys
// a prefix of their own. It may be imported by proxy and the packages below it,
// imap, spool/badgerstore and cmd.
package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// FormatVersion is the version of the store's own layout. The packages above
// give the values that they keep versions of their own.
const FormatVersion = 1

// KeySize is the length of an at-rest encryption key in bytes (AES-256).
const KeySize = 32

var (
	// ErrNotFound is returned by Tx.Get for a key that is not there.
	ErrNotFound = errors.New("not found")
	// ErrLocked is returned by Open when another process holds the directory.
	ErrLocked = errors.New("store is in use by another process")
	// ErrWrongKey is returned by Open when the key does not fit the files.
	ErrWrongKey = errors.New("store key does not fit")
	// ErrVersion is returned by Open for a store of another format version.
	ErrVersion = errors.New("store has another version")
	// ErrDamaged is returned by Open for files that are not what was written.
	ErrDamaged = errors.New("store is damaged")
	// ErrFull wraps the operating system's error when a write finds no room.
	ErrFull = errors.New("disk is full")
)

// metaPrefix holds the store's own records; users must not write below it.
var versionKey = []byte("\x00store/version")

// Options says which directory to open and how.
type Options struct {
	// Dir holds the files; it is made, readable by its owner only.
	Dir string
	// Key encrypts the files at rest. It is KeySize bytes, or nil for none.
	Key []byte
	// Reserve is how many bytes of the disk must be free for Room to say that
	// there is room; zero if it never is to say that there is none.
	Reserve int64
	// Free replaces the question to the system of how much is free, in tests.
	Free func() (int64, error)
	// Logger receives warnings of the database; nil discards them.
	Logger *slog.Logger
	// Tables is for millions of records: all values, of up to 64 KiB, are in the
	// tables and none in the value log, caches are larger, and all tables are read
	// and checked by Open, which otherwise takes what is damaged for what is not
	// there. It takes about 250 MB of memory instead of 50.
	Tables bool
}

// A Store is one open directory. Its methods may be called from any goroutine.
type Store struct {
	db      *badger.DB
	reserve int64
	free    func() (int64, error)
	cancel  context.CancelFunc
	gc      sync.WaitGroup
	dir     string
	tables  bool
	// pushAfter is the constant of that name but for tests.
	pushAfter int64

	collecting sync.Mutex // lets one Collect run at a time; guards pushed
	pushed     int64      // bytes that the value log had when the memory table was last pushed out
	pages      pages
}

// Open opens or creates the store in o.Dir. It fails with ErrLocked, ErrWrongKey
// or ErrVersion where one of these is the reason.
func Open(o Options) (*Store, error) {
	if len(o.Key) != 0 && len(o.Key) != KeySize {
		return nil, fmt.Errorf("open store: key has %d bytes, want %d", len(o.Key), KeySize)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make store directory: %w", err)
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := mend(o.Dir); err != nil {
		return nil, fmt.Errorf("open store %s: %w", o.Dir, err)
	}
	db, err := badger.Open(settings(o, log))
	if err != nil {
		return nil, openError(o.Dir, err)
	}
	s := &Store{db: db, reserve: o.Reserve, free: o.Free, dir: o.Dir, tables: o.Tables, pushAfter: pushAfter}
	if s.free == nil {
		s.free = func() (int64, error) { return Free(o.Dir) }
	}
	if _, err := s.free(); errors.Is(err, ErrFreeUnknown) && s.reserve > 0 {
		log.Warn("store: a full disk will end this process", "err", err)
		s.reserve = 0
	}
	if err := s.checkVersion(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.gc.Go(func() { s.collect(ctx, log) })
	return s, nil
}

// settings keeps Badger near 50 MB resident: its defaults are for servers.
func settings(o Options, log *slog.Logger) badger.Options {
	opt := badger.DefaultOptions(o.Dir).
		WithSyncWrites(true).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(6).
		WithNumCompactors(2).
		WithBlockCacheSize(16 << 20).
		WithIndexCacheSize(8 << 20).
		WithValueLogFileSize(64 << 20).
		WithValueThreshold(1 << 10).
		WithCompression(options.None).
		WithMetricsEnabled(false).
		WithLogger(badgerLog{log})
	if o.Tables {
		opt = opt.
			WithMemTableSize(32 << 20).
			WithNumMemtables(3).
			WithNumLevelZeroTables(4).
			WithNumLevelZeroTablesStall(12).
			WithBlockCacheSize(64 << 20).
			WithIndexCacheSize(64 << 20).
			WithValueLogFileSize(16 << 20).
			WithValueThreshold(64 << 10).
			WithChecksumVerificationMode(options.OnTableRead)
	}
	if len(o.Key) != 0 {
		// The data keys are wrapped by o.Key; a year keeps their file small.
		opt = opt.WithEncryptionKey(o.Key).WithEncryptionKeyRotationDuration(365 * 24 * time.Hour)
	}
	return opt
}

func openError(dir string, err error) error {
	switch {
	case errors.Is(err, badger.ErrEncryptionKeyMismatch) || strings.Contains(err.Error(), "Encryption key mismatch"):
		return fmt.Errorf("open store %s: %w", dir, ErrWrongKey)
	case strings.Contains(err.Error(), "Cannot acquire directory lock"):
		return fmt.Errorf("open store %s: %w", dir, ErrLocked)
	}
	for _, sign := range []string{"checksum", "CHECKSUM", "manifest has bad magic", "read index"} {
		if strings.Contains(err.Error(), sign) {
			return fmt.Errorf("open store %s: %w: %w", dir, ErrDamaged, err)
		}
	}
	return fmt.Errorf("open store %s: %w", dir, FullOr(err))
}

func (s *Store) checkVersion() error {
	var have []byte
	err := s.View(func(tx *Tx) (err error) {
		have, err = tx.Get(versionKey)
		return err
	})
	want := binary.BigEndian.AppendUint32(nil, FormatVersion)
	switch {
	case errors.Is(err, ErrNotFound):
		return s.Update(func(tx *Tx) error { return tx.Set(versionKey, want) })
	case err != nil:
		return fmt.Errorf("read store version: %w", err)
	case !bytes.Equal(have, want):
		return fmt.Errorf("%w: it is %x, this program reads %x", ErrVersion, have, want)
	}
	return nil
}

// Room returns an error that wraps ErrFull when less than the reserve is free.
// Badger writes through memory maps of sparse files: on a full disk that is a bus
// error, which ends the process, and not an error from Update. So whoever is about
// to take something new asks first; what changes, removes or finishes need not.
func (s *Store) Room() error { return s.roomFor(s.reserve) }

// Brink is Room for all else: it fails when less than an eighth of the reserve is
// free, where Badger's own writes may meet the end of the disk. Update asks.
func (s *Store) Brink() error { return s.roomFor(s.reserve / 8) }

func (s *Store) roomFor(kept int64) error {
	if s.reserve == 0 {
		return nil
	}
	free, err := s.free()
	if err != nil {
		return err
	}
	if free < kept {
		return fmt.Errorf("%w: %d bytes are free, %d are kept", ErrFull, free, kept)
	}
	return nil
}

// Close waits for the store's own work and releases the directory.
func (s *Store) Close() error {
	s.cancel()
	s.gc.Wait()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// Compact drops what was overwritten or deleted from the tables and the value log,
// as far as it can be. It takes long, and much of the disk's time.
func (s *Store) Compact() error {
	if err := s.db.Flatten(2); err != nil {
		return fmt.Errorf("compact store: %w", FullOr(err))
	}
	for {
		err := s.db.RunValueLogGC(0.1)
		if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("compact store: %w", FullOr(err))
		}
	}
}

// Checksums reads all tables and fails if one is not what was written.
func (s *Store) Checksums() (err error) {
	defer func() {
		// Badger's way to say that it cannot read a table's index.
		if r := recover(); r != nil {
			err = fmt.Errorf("check store: %v", r)
		}
	}()
	if err := s.db.VerifyChecksum(); err != nil {
		return fmt.Errorf("check store: %w", err)
	}
	return nil
}

// SizeOnDisk returns the bytes that the directory's files occupy.
func SizeOnDisk(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += info.Size()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure store: %w", err)
	}
	return total, nil
}

// badgerLog hands Badger's warnings to slog and drops its chatter.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(f string, a ...any) { l.say(slog.LevelError, f, a) }

// Warningf drops the one that means that there is nothing to compact: two compactors
// looked at the same tables.
func (l badgerLog) Warningf(f string, a ...any) {
	for _, v := range a {
		if err, ok := v.(error); ok && err.Error() == "Unable to fill tables" {
			return
		}
	}
	l.say(slog.LevelWarn, f, a)
}

func (l badgerLog) say(level slog.Level, f string, a []any) {
	l.log.Log(context.Background(), level, "store: "+strings.TrimSpace(fmt.Sprintf(f, a...)))
}

func (l badgerLog) Infof(string, ...any)  {}
func (l badgerLog) Debugf(string, ...any) {}
