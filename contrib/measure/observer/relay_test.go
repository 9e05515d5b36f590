package main

import (
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"mailproxy/mixnet/node"
	"mailproxy/mixnet/sphinx"
	"mailproxy/spool"
)

func record(n int) []byte {
	return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...)
}

func TestRecords(t *testing.T) {
	stream := slices.Concat(record(9000), record(0), record(1), record(16384))
	want := []int{9005, 5, 6, 16389}
	for _, chunk := range []int{1, 2, 3, 4, 5, 7, 4096, len(stream)} {
		var r records
		var got []int
		for b := range slices.Chunk(stream, chunk) {
			r.take(b, func(size int) { got = append(got, size) })
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pieces of %d bytes: records of %v bytes, want %v", chunk, got, want)
		}
	}
}

// before puts r before a gateway that the test plays.
func before(t *testing.T, r *recorder) (public, private net.Listener) {
	t.Helper()
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if private, err = r.front("gateway1", public); err != nil {
		t.Fatal(err)
	}
	return public, private
}

// connect connects to the gateway through the recorder and returns both ends.
func connect(t *testing.T, public, private net.Listener) (client, gateway net.Conn) {
	t.Helper()
	client, err := net.Dial("tcp", public.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if gateway, err = private.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); gateway.Close() })
	return client, gateway
}

// One client's traffic is on its tape, both ways, and the mixes' on none.
func TestRelay(t *testing.T) {
	r := newRecorder()
	public, private := before(t, r)
	talk := func() {
		t.Helper()
		c, g := connect(t, public, private)
		for _, x := range []struct {
			from, to net.Conn
			size     int
		}{{c, g, 300}, {g, c, 200}, {c, g, 300}} {
			if _, err := x.from.Write(record(x.size)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(x.to, make([]byte, recordHeader+x.size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	talk() // a mix
	mine := r.begin()
	talk()
	id := sphinx.Recipient{1}
	r.sight(node.Sighting{Client: id})
	if !r.known(mine) {
		t.Error("the client has a connection and a key, and is not known")
	}
	r.sight(node.Sighting{Client: id, Reply: true})
	if err := r.err(); err != nil {
		t.Error(err)
	}
	r.sight(node.Sighting{Client: sphinx.Recipient{2}})
	if r.err() == nil {
		t.Error("a client that nobody started does not spoil the recording")
	}
	if err := private.Close(); err != nil {
		t.Error(err)
	}
	r.close()
	var got []int
	for _, e := range mine.link {
		if e.up {
			got = append(got, e.size)
		} else {
			got = append(got, -e.size)
		}
	}
	if want := []int{305, -205, 305}; !slices.Equal(got, want) {
		t.Errorf("on the tape: %v, want %v", got, want)
	}
	if !slices.IsSortedFunc(mine.link, func(a, b event) int { return int(a.at - b.at) }) {
		t.Error("the tape is not in order")
	}
	if len(mine.gate) != 2 || !mine.gate[0].up || mine.gate[1].up {
		t.Errorf("of the gateway's view: %v", mine.gate)
	}
}

func TestConnectingTwiceSpoilsTheRecording(t *testing.T) {
	r := newRecorder()
	public, private := before(t, r)
	r.begin()
	for range 2 {
		connect(t, public, private)
	}
	for deadline := time.Now().Add(2 * time.Minute); r.err() == nil && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if r.err() == nil {
		t.Error("a second connection is not noticed")
	}
	if err := private.Close(); err != nil {
		t.Error(err)
	}
	r.close()
}

// emptySpool answers every append with success and every read with nothing.
type emptySpool struct{ t *testing.T }

func (s emptySpool) Answer(_ context.Context, request []byte) []byte {
	req, _, _ := spool.DecodeRequest(request)
	var body any = spool.Empty{}
	if _, ok := req.(*spool.Read); ok {
		body = spool.ReadReply{}
	}
	b, err := spool.EncodeReply(spool.StatusOK, body)
	if err != nil {
		s.t.Error(err)
	}
	return b
}

func TestHeldReads(t *testing.T) {
	encode := func(r spool.Request) []byte {
		b, err := spool.EncodeRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key := make([]byte, 32)
	read := encode(&spool.Read{ReadKey: key, Auth: spool.Auth{Signature: make([]byte, 64)}})
	mail := encode(&spool.Append{Spool: spool.IDOf(key), Block: make([]byte, spool.BlockSize)})
	other := encode(&spool.Append{Spool: spool.ID{9}, Block: make([]byte, spool.BlockSize)})
	for _, c := range []struct {
		what       string
		hold, took time.Duration
		mail       []byte
	}{
		{"a sound service", 0, 0, mail},
		{"mail comes", time.Minute, 10 * time.Second, mail},
		{"mail comes for others", time.Minute, time.Minute, other},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWatched(emptySpool{t}, c.hold)
			go func() {
				time.Sleep(10 * time.Second)
				w.Answer(t.Context(), c.mail)
			}()
			start := time.Now()
			w.Answer(t.Context(), read)
			if took := time.Since(start); took != c.took {
				t.Errorf("%s: a read was answered after %v, want %v", c.what, took, c.took)
			}
			time.Sleep(time.Hour)
		})
	}
}
