package badgerstore_test

import (
	"bytes"
	"crypto/ed25519"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/client"
	"mailproxy/spool/server"
	"mailproxy/spool/server/storetest"
)

// A daemon that was off while its provider was put back to a backup reads all that
// came since. Were numbers given again, its cursor would trim it unread.
func TestReaderAfterRestore(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	id := spool.IDOf(key.Public().(ed25519.PublicKey))
	dir := t.TempDir()
	open := func(name string) (*badgerstore.Store, *server.Server) {
		t.Helper()
		st, err := badgerstore.Open(badgerstore.Options{Dir: filepath.Join(dir, name)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		s, err := server.New(server.Options{Store: st, Provider: "north.test"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return st, s
	}
	var nonce atomic.Uint64
	var got []int
	cursor := uint64(0)
	reader := func() *client.Reader {
		t.Helper()
		r, err := client.NewReader(client.ReaderOptions{
			Service: mixclient.Service{Kind: mixclient.KindSpool, Provider: "north.test"}, Key: key, Cursor: cursor,
			Signing: client.Signing{Instance: spool.Instance{1}, Nonce: func() uint64 { return nonce.Add(1) }},
			Deliver: func(_ uint64, block []byte) error { got = append(got, storetest.BlockNumber(block)); return nil },
			Moved:   func(c uint64) { cursor = c },
			Failed:  func(err error) { t.Errorf("a read failed: %v", err) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	read := func(s *server.Server, r *client.Reader, slots int) {
		t.Helper()
		for range slots {
			request, done := r.Next(time.Now())
			done(s.Answer(t.Context(), request), nil)
		}
	}
	add := func(st *badgerstore.Store, from, to int) {
		t.Helper()
		for n := from; n <= to; n++ {
			if known, err := st.Append(t.Context(), storetest.Append(id, n, time.Now())); known || err != nil {
				t.Fatalf("Append(%d) = %v, %v", n, known, err)
			}
		}
	}

	st, s := open("first")
	e := storetest.Entry(t, "alice")
	e.Spool = id
	if err := st.Publish(t.Context(), e, storetest.Create()); err != nil {
		t.Fatal(err)
	}
	add(st, 1, 3)
	read(s, reader(), 3) // 1 and 2 are trimmed, 3 is read and not yet
	var b bytes.Buffer
	if _, err := st.Backup(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	add(st, 4, 6)
	read(s, reader(), 5)
	if !slices.Equal(got, []int{1, 2, 3, 4, 5, 6}) || cursor != 6 {
		t.Fatalf("read %v up to %d", got, cursor)
	}

	// The machine is lost. While the daemon is off, six more come to the new one.
	if _, err := badgerstore.Restore(t.Context(), badgerstore.Options{Dir: filepath.Join(dir, "second")}, &b, nil); err != nil {
		t.Fatal(err)
	}
	st, s = open("second")
	add(st, 101, 106)
	got = nil
	r := reader()
	read(s, r, 12)
	if !slices.Equal(got, []int{101, 102, 103, 104, 105, 106}) {
		t.Fatalf("read %v up to %d", got, cursor)
	}
	if i, err := st.Spool(t.Context(), id); err != nil || i.Last != cursor || i.Blocks[0] != 0 || r.Backlog() != 0 {
		t.Fatalf("Spool = %+v, %v; cursor %d", i, err, cursor)
	}
}
