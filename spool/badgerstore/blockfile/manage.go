package blockfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// A File says what a file has.
type File struct {
	Number uint32
	Slots  uint32 // that were written, or may have been
	Open   bool   // more may come: it cannot be removed
}

// Files lists the files by their numbers. The appending goroutine must not be
// at work.
func (f *Files) Files() []File {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []File
	for _, one := range f.files {
		list = append(list, File{Number: one.number, Slots: one.slots})
	}
	slices.SortFunc(list, func(a, b File) int { return int(int64(a.Number) - int64(b.Number)) })
	for i := range list {
		if w := f.writing; w != nil && list[i].Number == w.number {
			list[i].Slots, list[i].Open = f.slot, true
			continue
		}
		list[i].Slots = min(list[i].Slots, f.written(list[i].Number))
	}
	return list
}

// written returns how many slots the size of a file has room for. f.mu is held.
func (f *Files) written(n uint32) uint32 {
	info, err := f.files[n].f.Stat()
	if err != nil || info.Size() <= headerSize {
		return 0
	}
	return uint32((info.Size() - headerSize + f.recordSize() - 1) / f.recordSize())
}

// Remove removes a file, of which nothing is of use any more, from the disk: at
// once, or when nobody has it pinned.
func (f *Files) Remove(n uint32) error {
	f.mu.Lock()
	one := f.files[n]
	if one == nil || one == f.writing {
		f.mu.Unlock()
		return fmt.Errorf("remove file of blocks: %w: %s", ErrGone, fileName(n))
	}
	delete(f.files, n)
	if f.pins > 0 {
		f.gone = append(f.gone, one)
		f.mu.Unlock()
		return nil
	}
	f.mu.Unlock()
	return f.drop(one)
}

func (f *Files) drop(one *file) error {
	defer f.release(one)
	err := os.Remove(filepath.Join(f.o.Dir, fileName(one.number)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove file of blocks: %w", err)
	}
	return nil
}

// Pin keeps the places that are known now readable, until unpin is called.
func (f *Files) Pin() (unpin func() error) {
	f.mu.Lock()
	f.pins++
	f.mu.Unlock()
	return func() (err error) {
		f.mu.Lock()
		var gone []*file
		if f.pins--; f.pins == 0 {
			gone, f.gone = f.gone, nil
		}
		f.mu.Unlock()
		for _, one := range gone {
			err = errors.Join(err, f.drop(one))
		}
		return err
	}
}

// Close closes all files. Nothing else may be under way.
func (f *Files) Close() error {
	err := f.Sync()
	if w := f.writing; w != nil {
		// What the disk keeps for it and was not written is given back.
		err = errors.Join(err, w.f.Truncate(headerSize+int64(f.slot)*f.recordSize()))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.files {
		err = errors.Join(err, one.f.Close())
	}
	f.files, f.writing = nil, nil
	return err
}

// SlotSize returns how much of the disk a record takes, in bytes.
func (f *Files) SlotSize() int64 { return f.recordSize() }
