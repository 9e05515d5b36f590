package server_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
	"mailproxy/spool/server/storetest"
)

// killDir is the variable by which TestKill tells its child where the store is,
// killFrom that with the number of the first block to append.
const (
	killDir  = "MAILPROXY_TEST_KILL_DIR"
	killFrom = "MAILPROXY_TEST_KILL_FROM"
)

// killSpan is how many block numbers a round has to itself.
const killSpan = 1_000_000

// A process that is killed at any moment has lost no block it acknowledged, and
// brings back none that it trimmed.
func TestKill(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		killChild(t, dir)
		return
	}
	if testing.Short() {
		t.Skip("kills processes")
	}
	dir := t.TempDir()
	acked := make(map[int]bool)  // blocks whose append was acknowledged
	seqs := make(map[int]uint64) // of the blocks that were read
	var issued, trimmed uint64   // cursors that were sent, and acknowledged
	for round := range 6 {
		child := exec.Command(os.Args[0], "-test.run=^TestKill$")
		child.Env = append(os.Environ(), killDir+"="+dir, fmt.Sprintf("%s=%d", killFrom, (round+1)*killSpan))
		var stderr bytes.Buffer
		child.Stderr = &stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines, progress := bufio.NewScanner(out), 0
		for lines.Scan() {
			var what string
			var n int
			var seq uint64
			if _, err := fmt.Sscan(lines.Text(), &what, &n, &seq); err != nil {
				continue // the testing package's own, or a line cut by the kill
			}
			switch what {
			case "acked":
				acked[n] = true
				if progress++; progress == 1 { // on a busy machine that takes a while
					time.AfterFunc(time.Duration(50+rand.IntN(150))*time.Millisecond, func() { child.Process.Kill() })
				}
			case "got":
				seqs[n] = seq
			case "issued":
				issued = max(issued, seq)
			case "trimmed":
				trimmed = max(trimmed, seq)
			}
		}
		if err := child.Wait(); err == nil || progress == 0 {
			t.Fatalf("round %d: child ended with %v after %d blocks: %s", round, err, progress, stderr.String())
		}
		killCheck(t, dir, acked, seqs, issued, trimmed)
	}
	if trimmed == 0 {
		t.Fatal("nothing was trimmed")
	}
	t.Logf("%d blocks acknowledged, %d trimmed", len(acked), trimmed)
}

// killChild appends, reads and trims until it is killed. It writes down what it is
// about to do and what was acknowledged.
func killChild(t *testing.T, dir string) {
	st, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Options{Store: st, Provider: "north.test"})
	if err != nil {
		t.Fatal(err)
	}
	var from int
	if _, err := fmt.Sscan(os.Getenv(killFrom), &from); err != nil {
		t.Fatal(err)
	}
	alice := newUser(t, 1)
	alice.auth.Nonce = uint64(from) * 10
	alice.auth.Expiry = time.Now().Add(5 * time.Minute).Unix()
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
	page, err := st.Read(context.Background(), alice.spool(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	cursor := page.Last
	if page.Lowest != 0 {
		cursor = page.Lowest - 1
	}
	say := func(what string, n int, seq uint64) { fmt.Fprintf(os.Stdout, "%s %d %d\n", what, n, seq) }
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := from + w; ; n += 4 {
				status, err := ask(t, s, encode(t, appendBlock(alice.spool(), n)), new(spool.Empty))
				if !status.Success() {
					t.Error(err)
					return
				}
				say("acked", n, 0)
			}
		})
	}
	wg.Go(func() {
		for {
			say("issued", 0, cursor)
			r := read(t, s, alice.reading(cursor, cursor+1))
			say("trimmed", 0, cursor)
			if r.Seq != 0 {
				say("got", storetest.BlockNumber(r.Block), r.Seq)
				cursor = r.Seq
			}
		}
	})
	wg.Wait()
}

func killCheck(t *testing.T, dir string, acked map[int]bool, seqs map[int]uint64, issued, trimmed uint64) {
	t.Helper()
	st, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err != nil {
		t.Fatalf("reopen: %v", err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	id := newUser(t, 1).spool()
	present := make(map[int]uint64)
	for cursor := uint64(0); ; {
		r, err := st.Read(t.Context(), id, cursor, 0)
		if err != nil {
			t.Fatal(err)
		}
		if r.Seq == 0 {
			break
		}
		if r.Seq <= trimmed {
			t.Fatalf("block %d is back, though trimmed up to %d", r.Seq, trimmed)
		}
		n := storetest.BlockNumber(r.Block)
		if seq, have := present[n]; have {
			t.Fatalf("block %d is there as %d and as %d", n, seq, r.Seq)
		}
		if seq, have := seqs[n]; have && seq != r.Seq {
			t.Fatalf("block %d was read as %d and is there as %d", n, seq, r.Seq)
		}
		present[n], cursor = r.Seq, r.Seq
	}
	for n := range acked {
		_, have := present[n]
		seq, read := seqs[n]
		if !have && !(read && seq <= issued) {
			t.Fatalf("block %d was acknowledged and is gone", n)
		}
	}
	// What is known must still be known, or a sender's repetition is a duplicate.
	sample := 0
	for n := range acked {
		if sample++; sample > 200 {
			break
		}
		a := storetest.Append(id, n, start)
		a.MaxBlocks = 0
		known, err := st.Append(t.Context(), a)
		if err != nil && !errors.Is(err, server.ErrFull) {
			t.Fatal(err)
		}
		if !known {
			t.Fatalf("block %d is not known any more", n)
		}
	}
}
