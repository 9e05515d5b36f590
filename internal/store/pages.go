package store

import (
	"path/filepath"
	"sync/atomic"
)

// releaseEvery is how many bytes of values are written and read until the pages that
// hold them are given back. Values below leastWritten are in the tables and do not
// count. What is read counts from leastRead on: small mail is often read again, and
// may stay.
const (
	releaseEvery = 32 << 20
	leastWritten = 1 << 10
	leastRead    = 16 << 10
	// faultAround is how much Linux maps for a read of one page, if it has the rest in
	// memory (fault_around_bytes): blocks of several mails lie between each other.
	faultAround = 64 << 10
)

// pages counts what passes through the value log. Badger maps its files into memory,
// where pages that were written or read count as the process's own until the system
// wants them for others: a mail of 25 MB that goes from one key to the next makes the
// process 100 MB larger. What is written is synced, and the system keeps it in mind as
// it does any file, so nothing is lost by giving the pages back.
type pages struct {
	passed    atomic.Int64
	releasing atomic.Bool
	useless   atomic.Bool // the system does not take them
}

func (p *pages) wrote(n int) {
	if n >= leastWritten {
		p.passed.Add(int64(n))
	}
}

// hasRead counts what was read. A transaction may read hundreds of megabytes, so that
// it does not wait for its end.
func (s *Store) hasRead(n int) {
	if n >= leastRead {
		s.passed(n)
	}
}

func (s *Store) passed(n int) {
	s.pages.passed.Add(int64(n))
	s.release()
}

// release gives pages back if there may be many. What is written comes into them when a
// transaction is committed.
func (s *Store) release() {
	p := &s.pages
	if p.passed.Load() < releaseEvery || p.useless.Load() || !p.releasing.CompareAndSwap(false, true) {
		return
	}
	defer p.releasing.Store(false)
	p.passed.Store(0)
	dir, err := filepath.Abs(s.db.Opts().ValueDir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir) // as the system knows the files
	}
	if err == nil {
		err = releasePages(dir)
	}
	if err != nil {
		p.useless.Store(true) // memory is what it costs, until the system wants it
	}
}
