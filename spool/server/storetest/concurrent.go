package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"mailproxy/spool"
	"mailproxy/spool/server"
)

func testConcurrent(t *testing.T, s server.Store) {
	const spools, writers, blocks = 3, 4, 10
	var wg sync.WaitGroup
	for i := range spools {
		id := Make(t, s, fmt.Sprintf("user%d", i))
		for w := range writers {
			wg.Go(func() {
				for n := range blocks {
					if known, err := s.Append(t.Context(), Append(id, w*blocks+n, start)); err != nil || known {
						t.Errorf("Append = %v, %v", known, err)
					}
				}
			})
		}
		wg.Go(func() {
			seen := make(map[int]bool)
			for cursor := uint64(0); cursor < writers*blocks; {
				r, err := s.Read(t.Context(), id, cursor, cursor+1)
				if err != nil {
					t.Errorf("Read: %v", err)
					return
				}
				if r.Seq == 0 {
					continue
				}
				if r.Seq != cursor+1 || seen[BlockNumber(r.Block)] {
					t.Errorf("Read above %d gave %d", cursor, r.Seq)
					return
				}
				cursor, seen[BlockNumber(r.Block)] = r.Seq, true
				if err := s.Trim(t.Context(), id, cursor, start); err != nil {
					t.Errorf("Trim: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func testConcurrentSameBlock(t *testing.T, s server.Store) {
	id := Make(t, s, "alice")
	var wg sync.WaitGroup
	results := make(chan bool, 16)
	for range cap(results) {
		wg.Go(func() {
			known, err := s.Append(t.Context(), Append(id, 1, start))
			if err != nil {
				t.Error(err)
			}
			results <- known
		})
	}
	wg.Wait()
	close(results)
	fresh := 0
	for known := range results {
		if !known {
			fresh++
		}
	}
	if fresh != 1 {
		t.Fatalf("stored %d times", fresh)
	}
	expect(t, s, id, 0, 1, 1, 1, 1, 1, 1)
}

func testConcurrentPublish(t *testing.T, s server.Store) {
	var wg sync.WaitGroup
	var won sync.Map
	for i := range 8 {
		e := Entry(t, "alice")
		wg.Go(func() {
			switch err := s.Publish(t.Context(), e, Create()); {
			case err == nil:
				won.Store(i, e.Spool)
			case !errors.Is(err, server.ErrTaken):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	winners := 0
	won.Range(func(_, id any) bool {
		winners++
		expect(t, s, id.(spool.ID), 0, 1, 0, 0, 0, 0, 0)
		return true
	})
	if winners != 1 {
		t.Fatalf("%d won the name", winners)
	}
}
