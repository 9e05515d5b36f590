package node

import (
	"crypto/ed25519"
	"crypto/tls"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/wire"
)

// snapshotOf makes the snapshot of e with these nodes, signed by the directories.
func (b *bench) snapshotOf(e directory.Epoch, nodes, directories []string) (*directory.SignedSnapshot, error) {
	var list []directory.SignedDescriptor
	for _, name := range nodes {
		sd, err := directory.NewDescriptor(b.identity[name], e, [32]byte{1}, nil)
		if err != nil {
			return nil, err
		}
		list = append(list, *sd)
	}
	var votes []*directory.Vote
	for _, name := range directories {
		v, err := directory.NewVote(b.doc, e, 0, list, b.identity[name])
		if err != nil {
			return nil, err
		}
		votes = append(votes, v)
	}
	body, err := directory.Tally(b.doc, e, 0, votes)
	if err != nil {
		return nil, err
	}
	s := &directory.SignedSnapshot{Body: body}
	for _, name := range directories {
		s.Signatures = append(s.Signatures, directory.SignSnapshot(body, b.identity[name]))
	}
	return s, nil
}

// serve plays a directory that hands out snapshots of these nodes, signed by these
// directories, and knows nothing else.
func (b *bench) serve(name string, nodes, directories []string) {
	b.t.Helper()
	config, err := wire.TLS(b.identity[name], "http/1.1", func(directory.Key) error { return nil })
	if err != nil {
		b.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/descriptor", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /v1/snapshot/{epoch}", func(w http.ResponseWriter, r *http.Request) {
		var body []byte
		e, err := strconv.ParseUint(r.PathValue("epoch"), 10, 64)
		if err == nil {
			var s *directory.SignedSnapshot
			if s, err = b.snapshotOf(directory.Epoch(e), nodes, directories); err == nil {
				body, err = codec.Marshal(s)
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write(body)
	})
	server := &http.Server{Handler: mux}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Serve(tls.NewListener(b.listeners[name], config)) // ends with Close
	}()
	b.t.Cleanup(func() { server.Close(); <-ended })
}

// TestSnapshotsAreCompared has a directory sign one snapshot with one of two others
// and another with the other. A node is shown one of them by each, and takes one.
func TestSnapshotsAreCompared(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"dir2", "dir3"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		pub, identity, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		b.identity[name], b.listeners[name] = identity, l
		b.doc.Nodes = append(b.doc.Nodes, directory.Node{
			Name: name, Operator: "operator of " + name, Role: directory.RoleDirectory, Address: l.Addr().String(), Identity: directory.Key(pub),
		})
	}
	b.doc.SnapshotThreshold = 2
	if err := b.doc.Check(); err != nil {
		t.Fatal(err)
	}
	all := []string{"gateway", "mix1", "mix2", "mix3", "service"}
	b.serve("directory", all, []string{"directory", "dir2"})
	b.serve("dir2", all, []string{"directory", "dir2"})
	b.serve("dir3", all[:4], []string{"dir2", "dir3"})

	lies := filepath.Join(t.TempDir(), "lies")
	n, err := Start(Config{Document: b.doc, Identity: b.identity["mix1"], Keys: b.rings["mix1"], Listener: b.listeners["mix1"], Lies: lies})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(2 * time.Minute); len(n.LyingDirectories()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody is caught")
		}
	}
	if got := n.LyingDirectories(); len(got) != 1 || got[0] != "dir2" {
		t.Errorf("caught %v, want dir2", got)
	}
	lines, _ := figures(t, n, false)
	for name, want := range map[string]float64{"directory": 0, "dir2": 1, "dir3": 0} {
		if got, ok := lines["mixnet_directory_liar directory="+name]; !ok || got != want {
			t.Errorf("mixnet_directory_liar of %s: %v, %v, want %v", name, got, ok, want)
		}
	}
	if files, err := filepath.Glob(filepath.Join(lies, "*.lie")); err != nil || len(files) != 1 {
		t.Errorf("proofs: %v, %v, want one", files, err)
	}
}
