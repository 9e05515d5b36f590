package badgerstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore/blockfile"
)

// Restore makes the store of o.Dir, which must not be there or be empty, of what
// Backup wrote, and returns how many blocks it has. An encrypted backup needs the
// key of the store it is of, in o.Key, which encrypts the new store as well. A
// backup that is not whole fails with ErrBackup; what is in o.Dir then is no
// store, and Open says so.
//
// The restored store is of a new generation: its spools give no sequence number
// that the original may have given since the backup was made. A daemon's cursor
// is good for it; what the original took and nobody read is lost.
func Restore(ctx context.Context, o Options, r io.Reader, progress func(Progress)) (blocks int, err error) {
	entries, err := os.ReadDir(o.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("restore: %w", err)
	}
	if len(entries) > 0 {
		return 0, fmt.Errorf("restore: %s is not empty", o.Dir)
	}
	b, err := openBackup(r, o.Key)
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	db, err := store.Open(store.Options{
		Dir: o.Dir, Key: o.Key, Reserve: cmp.Or(o.Reserve, DefaultReserve), Free: o.Free, Logger: o.Logger, Tables: true,
	})
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	defer func() {
		if cerr := db.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("restore: %w", cerr)
		}
	}()
	// From here on it is half a store.
	if err := db.Update(func(tx *store.Tx) error { return tx.Set(restoringKey, nil) }); err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	files, err := blockfile.Open(blockfile.Options{
		Dir: filepath.Join(o.Dir, blocksDir), Key: o.Key, Size: filedSize, Slots: cmp.Or(o.FileBlocks, fileSlots),
	})
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	defer func() {
		if cerr := files.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("restore: %w", cerr)
		}
	}()
	re := &restorer{db: db, files: files, progress: progress}
	if err := re.run(ctx, b); err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	err = db.Update(func(tx *store.Tx) error {
		next := nextGeneration(re.generation, re.last, o.now())
		if next >= 1<<(63-generationShift) {
			return fmt.Errorf("there is no generation after %d; is the clock right?", re.generation)
		}
		return errors.Join(tx.Set(generationKey, number(next)), tx.Delete(restoringKey))
	})
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	return re.blocks, nil
}

// restorer writes what a backup has.
type restorer struct {
	db       *store.Store
	files    *blockfile.Files
	progress func(Progress)

	blocks     int
	generation uint64 // of the backup
	last       uint64 // highest sequence number in it

	entries [][2][]byte // not yet written
	weight  int
	filed   map[place]blockfile.Place // of blocks whose record has not come
}

func (r *restorer) run(ctx context.Context, b *backupReader) error {
	r.filed = make(map[place]blockfile.Place)
	for {
		k, v, err := b.next()
		if err == io.EOF {
			if len(r.filed) > 0 {
				return fmt.Errorf("%w: it has blocks without a record", ErrBackup)
			}
			return r.flush(ctx)
		}
		if err != nil {
			return err
		}
		if v, err = r.take(k, v); err != nil {
			return err
		}
		if v == nil {
			continue
		}
		r.entries = append(r.entries, [2][]byte{k, v})
		if r.weight += len(k) + len(v) + 64; r.weight > maxWeight {
			if err := r.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// take looks at an entry and returns the value to store; nil: none.
func (r *restorer) take(k, v []byte) ([]byte, error) {
	if v == nil {
		v = []byte{}
	}
	switch kind := k[0]; kind {
	case 'b', 'm':
		if len(k) != 1+spool.IDSize+8 {
			return nil, fmt.Errorf("%w: key of a block has %d bytes", ErrBackup, len(k))
		}
		p := place{spool.ID(k[1:]), binary.BigEndian.Uint64(k[1+spool.IDSize:])}
		if kind == 'b' {
			if len(v) != spool.BlockSize {
				return nil, fmt.Errorf("%w: a block has %d bytes", ErrBackup, len(v))
			}
			if err := r.db.Room(); err != nil {
				return nil, err
			}
			filed, err := r.files.Append(fileBlock(p.spool, p.seq, v))
			if err != nil {
				return nil, err
			}
			r.filed[p] = filed
			if r.blocks++; r.progress != nil && r.blocks%4096 == 0 {
				r.progress(Progress{Blocks: r.blocks})
			}
			return nil, nil
		}
		m, err := decodeMeta(v)
		filed, ok := r.filed[p]
		if err != nil || !ok {
			return nil, fmt.Errorf("%w: record of a block without the block: %w", ErrBackup, err)
		}
		delete(r.filed, p)
		m.place = filed
		return m.encode(), nil
	case 'g':
		if len(v) != 8 {
			return nil, fmt.Errorf("%w: its generation has %d bytes", ErrBackup, len(v))
		}
		r.generation = binary.BigEndian.Uint64(v)
		return nil, nil
	case 's':
		sp, err := decodeSpool(v)
		if err != nil {
			return nil, err
		}
		r.last = max(r.last, sp.Last)
	default:
		if bytes.IndexByte(backupKinds, kind) < 0 {
			return nil, fmt.Errorf("%w: it has an entry of the kind %q", ErrBackup, kind)
		}
	}
	return v, nil
}

func (r *restorer) flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.files.Sync(); err != nil {
		return err
	}
	err := r.db.Update(func(tx *store.Tx) error {
		for _, e := range r.entries {
			if err := tx.Set(e[0], e[1]); err != nil {
				return err
			}
		}
		return nil
	})
	r.entries, r.weight = r.entries[:0], 0
	return err
}
