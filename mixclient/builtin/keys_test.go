package builtin

import (
	"encoding/binary"
	"log/slog"
	"testing"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/mixclient"
	"mailproxy/mixnet/directory"
)

// TestPiecesOutOfOrder puts before a snapshot what no gateway should send: pieces
// that follow no first one.
func TestPiecesOutOfOrder(t *testing.T) {
	net := startNetwork(t)
	source := startClient(t, net)
	var signed *directory.SignedSnapshot
	epoch := net.Document.Parameters.EpochAt(time.Now())
	for end := time.Now().Add(2 * time.Minute); signed == nil; time.Sleep(time.Millisecond) {
		if signed = source.views.Signed(epoch); time.Now().After(end) {
			t.Fatal("no snapshot")
		}
	}
	b, err := codec.Marshal(signed)
	if err != nil {
		t.Fatal(err)
	}
	const count = 4
	var frames [][]byte
	for i := range count {
		rest := b[i*len(b)/count : (i+1)*len(b)/count]
		f := binary.BigEndian.AppendUint64(nil, uint64(epoch))
		f = binary.BigEndian.AppendUint64(f, uint64(time.Now().UnixMilli()))
		f = binary.BigEndian.AppendUint16(f, uint16(i))
		f = binary.BigEndian.AppendUint16(f, count)
		f = binary.BigEndian.AppendUint16(f, uint16(len(rest)))
		frames = append(frames, append(append(f, rest...), make([]byte, 100)...))
	}
	c := &Client{
		doc: net.Document, views: directory.NewViews(net.Document), now: time.Now,
		log: slog.New(slog.DiscardHandler), events: make(chan mixclient.Event, 1),
	}
	var p pieces
	for n, i := range []int{2, 3, 1, 0, 1, 3, 2, 0, 1, 2, 3} {
		if err := c.piece(&p, frames[i]); err != nil {
			t.Fatalf("piece %d: %v", i, err)
		}
		if got, want := c.views.Signed(epoch) != nil, n == 10; got != want {
			t.Fatalf("after %d pieces there is a snapshot: %v", n+1, got)
		}
	}
}
