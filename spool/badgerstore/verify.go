package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"mailproxy/internal/codec"
	"mailproxy/spool"
	"mailproxy/spool/server"
)

// verifier collects what is wrong.
type verifier struct {
	*snapshot
	s        *Store
	progress func(blocks, of int)

	mu     sync.Mutex // guards report
	report Report

	blocks map[spool.ID]*tally
	files  map[uint32]int64

	// Sums of what one index has, less what the other should have to it: zero if
	// they fit. To look up each entry in the other would take many times longer,
	// and is done where they do not.
	ages, ids, forgets fingerprint
	seeds              [2]maphash.Seed

	hashes []tlog.Hash // of the key log, made anew
	log    []spool.LogRecord
}

// tally counts what a spool has.
type tally struct {
	blocks, remembered [server.Lanes]int
	present            int // ids of present blocks
	first, last        uint64
}

func (v *verifier) wrong(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Wrong++
	if len(v.report.Problems) < mostProblems {
		v.report.Problems = append(v.report.Problems, fmt.Sprintf(format, args...))
	}
}

func (v *verifier) tally(id spool.ID) *tally {
	t := v.blocks[id]
	if t == nil {
		t = new(tally)
		v.blocks[id] = t
	}
	return t
}

// Verify checks one snapshot of the whole store, while it goes on being used:
// every record, every block by its id, every index both ways, every count, and
// every hash of the key log. progress is told now and then how many blocks were
// read, nil for nobody. The error is about what kept it from checking.
func (s *Store) Verify(ctx context.Context, progress func(blocks, of int)) (Report, error) {
	began := time.Now()
	snap, err := s.snapshot(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	if progress == nil {
		progress = func(int, int) {}
	}
	v := &verifier{
		snapshot: snap, s: s, progress: progress,
		blocks: make(map[spool.ID]*tally), files: make(map[uint32]int64), seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
	}
	if cerr := s.db.Checksums(); cerr != nil {
		v.wrong("%v", cerr)
	}
	for _, check := range []func(context.Context) error{
		v.checkLog, v.checkNames, v.checkBlocks, v.checkAges, v.checkIDs, v.checkForget, v.checkFit, v.checkSpools, v.checkInvites,
	} {
		if err == nil {
			err = check(ctx)
		}
	}
	v.checkTotals()
	if cerr := snap.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	v.report.Took = time.Since(began)
	return v.report, nil
}

func (v *verifier) checkLog(ctx context.Context) error {
	err := v.each(ctx, 'l', func(key, value []byte) error {
		n := v.report.LogSize
		v.report.LogSize++
		if !bytes.Equal(key[1:], number(n)) {
			v.wrong("key log: record %d is missing, or its key is %x", n, key)
		}
		r, err := spool.DecodeLogRecord(value)
		if err != nil {
			v.wrong("key log: record %d: %v", n, err)
		}
		v.log = append(v.log, r)
		hashes, err := tlog.StoredHashes(int64(n), value, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
			list := make([]tlog.Hash, len(indexes))
			for i, index := range indexes {
				list[i] = v.hashes[index]
			}
			return list, nil
		}))
		v.hashes = append(v.hashes, hashes...)
		return err
	})
	if err != nil {
		return err
	}
	n := 0
	err = v.each(ctx, 'h', func(key, value []byte) error {
		if n >= len(v.hashes) || !bytes.Equal(key[1:], number(uint64(n))) || !bytes.Equal(value, v.hashes[n][:]) {
			v.wrong("key log: stored hash %d does not fit the records", n)
		}
		n++
		return nil
	})
	if n != len(v.hashes) {
		v.wrong("key log: %d hashes are stored, the records have %d", n, len(v.hashes))
	}
	return err
}

func (v *verifier) checkNames(ctx context.Context) error {
	var newest = make(map[spool.NameHash]uint64)
	for n, r := range v.log {
		newest[r.Name] = uint64(n)
	}
	return v.each(ctx, 'n', func(key, value []byte) error {
		name := string(key[1:])
		var r nameRecord
		if err := decode(value, &r, &r.Format); err != nil {
			v.wrong("name %q: %v", name, err)
			return nil
		}
		v.report.Names++
		sp, err := readSpool(v.Tx, r.Spool)
		if err != nil {
			v.wrong("name %q: its spool: %v", name, err)
			return nil
		}
		if sp.Name != name || sp.Suspended != r.Suspended || sp.Revoked != r.Revoked {
			v.wrong("name %q: its spool is %q's, or one of them is suspended or revoked and not the other", name, sp.Name)
		}
		if r.Revoked != (r.Bundle.Body == nil) {
			v.wrong("name %q: revoked: %v, but %d bytes of key bundle", name, r.Revoked, len(r.Bundle.Body))
		}
		at, ok := newest[r.Hash]
		switch {
		case !ok || at != r.Log.Index || len(r.Identity) != 32:
			v.wrong("name %q: its newest record in the key log is not %d", name, r.Log.Index)
		case v.log[at] != spool.LogRecord{Kind: r.Log.Kind, Name: r.Hash, Identity: [32]byte(r.Identity), Version: r.Log.Version}:
			v.wrong("name %q: record %d of the key log says something else", name, at)
		case (r.Log.Kind == spool.LogRevoked) != r.Revoked:
			v.wrong("name %q: revoked: %v, and not so in the key log", name, r.Revoked)
		}
		return nil
	})
}

// verifyReaders is how many goroutines read blocks at once.
const verifyReaders = 8

// checkBlocks reads every block.
func (v *verifier) checkBlocks(ctx context.Context) error {
	type job struct {
		p place
		m meta
	}
	jobs := make(chan job, 256)
	var wg sync.WaitGroup
	var read atomic.Int64
	for range verifyReaders {
		wg.Go(func() {
			for j := range jobs {
				if _, err := v.s.block(j.p, j.m); err != nil {
					v.wrong("%v", err)
					v.mu.Lock()
					v.report.damaged = append(v.report.damaged, j.p)
					v.mu.Unlock()
				}
				if n := read.Add(1); n%16384 == 0 {
					v.progress(int(n), v.stats.Blocks)
				}
			}
		})
	}
	err := v.each(ctx, 'm', func(k, value []byte) error {
		m, err := decodeMeta(value)
		if err != nil || len(k) != 1+spool.IDSize+8 {
			v.wrong("record %x of a block: %v", k, err)
			return nil
		}
		p := place{spool.ID(k[1:]), binary.BigEndian.Uint64(k[1+spool.IDSize:])}
		v.report.Blocks++
		v.report.Bytes += spool.BlockSize
		v.files[m.place.File]++
		t := v.tally(p.spool)
		t.blocks[m.lane]++
		if t.first == 0 {
			t.first = p.seq
		}
		t.last = p.seq
		v.ages.add(v.seeds, m.at[:], k[1:])
		v.ids.add(v.seeds, k[1:], m.id[:])
		jobs <- job{p, m}
		return nil
	})
	close(jobs)
	wg.Wait()
	return err
}

func (v *verifier) checkAges(ctx context.Context) error {
	return v.each(ctx, 't', func(k, _ []byte) error {
		if len(k) != 1+8+spool.IDSize+8 {
			v.wrong("index by age: key %x", k)
			return nil
		}
		v.ages.sub(v.seeds, k[1:9], k[9:])
		return nil
	})
}

func (v *verifier) checkIDs(ctx context.Context) error {
	return v.each(ctx, 'i', func(k, value []byte) error {
		id, err := decodeKnown(value)
		if err != nil || len(k) != 1+spool.IDSize+spool.BlockIDSize {
			v.wrong("index of ids: %x: %v", k, err)
			return nil
		}
		t := v.tally(spool.ID(k[1:]))
		if id.seq == 0 {
			v.report.Remembered++
			t.remembered[id.lane]++
			v.forgets.add(v.seeds, id.at[:], k[1:])
			return nil
		}
		t.present++
		v.ids.sub(v.seeds, k[1:1+spool.IDSize], number(id.seq), k[1+spool.IDSize:])
		return nil
	})
}

func (v *verifier) checkForget(ctx context.Context) error {
	return v.each(ctx, 'f', func(k, _ []byte) error {
		if len(k) != 1+8+spool.IDSize+spool.BlockIDSize {
			v.wrong("index of what to forget: key %x", k)
			return nil
		}
		v.forgets.sub(v.seeds, k[1:9], k[9:])
		return nil
	})
}

func (v *verifier) checkSpools(ctx context.Context) error {
	err := v.each(ctx, 's', func(k, value []byte) error {
		r, err := decodeSpool(value)
		if err != nil || len(k) != 1+spool.IDSize {
			v.wrong("spool %x: %v", k[1:], err)
			return nil
		}
		id := spool.ID(k[1:])
		v.report.Spools++
		t := v.blocks[id]
		if t == nil {
			t = new(tally)
		}
		delete(v.blocks, id)
		if r.Blocks != t.blocks || r.Remembered != t.remembered || r.blocks() != t.present {
			v.wrong("spool %x: it counts %v blocks and %v remembered, and has %v, %v and the ids of %d", id[:4], r.Blocks, r.Remembered, t.blocks, t.remembered, t.present)
		}
		if t.first != 0 && (t.first < r.First || t.last > r.Last) {
			v.wrong("spool %x: it has blocks %d to %d outside %d to %d", id[:4], t.first, t.last, r.First, r.Last)
		}
		if n, err := getName(v.Tx, r.Name); err != nil || n.Spool != id {
			v.wrong("spool %x: name %q does not have it: %v", id[:4], r.Name, err)
		}
		if r.Erased && (!r.Revoked || t.present > 0 || r.remembered() > 0) && !v.has(key('e', id[:])) {
			v.wrong("spool %x: it was erased, and is not empty", id[:4])
		}
		have, err := codec.Marshal(v.spools[id])
		if err != nil || !bytes.Equal(have, value) {
			v.wrong("spool %x: what is in memory is something else", id[:4])
		}
		return nil
	})
	for id := range v.blocks {
		v.wrong("spool %x: it has blocks or ids, and no record", id[:4])
	}
	return err
}

func (v *verifier) checkInvites(ctx context.Context) error {
	return v.each(ctx, 'v', func(k, value []byte) error {
		var r inviteRecord
		if err := decode(value, &r, &r.Format); err != nil {
			v.wrong("invitation %x: %v", k[1:5], err)
			return nil
		}
		if r.UsedBy == "" {
			v.report.Invites++
		} else if _, err := getName(v.Tx, r.UsedBy); err != nil {
			v.wrong("invitation %x: name %q, which used it: %v", k[1:5], r.UsedBy, err)
		}
		return nil
	})
}

// checkTotals compares what was found with what is counted in memory.
func (v *verifier) checkTotals() {
	r, st := &v.report, v.stats
	for _, c := range []struct {
		what        string
		found, kept int
	}{
		{"names", r.Names, st.Names + st.Revoked}, {"blocks", r.Blocks, st.Blocks}, {"remembered ids", r.Remembered, st.Remembered},
		{"records of the key log", int(r.LogSize), int(st.LogSize)}, {"open invitations", r.Invites, st.Invites},
		{"spools", r.Spools, len(v.spools)}, {"bytes", int(r.Bytes), int(st.Bytes)},
	} {
		if c.found != c.kept {
			v.wrong("count of %s: %d in memory, %d on disk", c.what, c.kept, c.found)
		}
	}
	for file, n := range v.live {
		if v.files[file] != n {
			v.wrong("file %d of blocks: %d in memory, %d on disk", file, n, v.files[file])
		}
	}
}
