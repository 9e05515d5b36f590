package authority

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"mailproxy/internal/codec"
	"mailproxy/internal/durable"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
)

// A Witness remembers which directory has signed which snapshot, and so notices one
// that has signed two of an epoch. Directories and nodes each have one, and go on
// showing it what all directories have signed while an epoch's snapshot is in use:
// a directory that lies shows one snapshot to some and another to others, each of
// whom sees nothing wrong. Its methods may be called from any goroutine.
type Witness struct {
	views *directory.Views // its documents have the directories' keys
	dir   string           // where proofs are kept; empty: nowhere
	log   *slog.Logger

	mu     sync.Mutex // guards all below
	seen   map[directory.Epoch]signatures
	caught map[sphinx.NodeID]bool // directories that signed two snapshots
}

// signatures are those seen on snapshots of an epoch, by the bytes that they are
// on: more than one set of bytes when directories disagree.
type signatures map[string]map[sphinx.NodeID]directory.Signature

// A lie is the proof that a directory signed two snapshots of one epoch: both, each
// with its signature. Anybody who has its key can check it.
type lie struct {
	Version   uint8                      `cbor:"1,keyasint"`
	Snapshots []directory.SignedSnapshot `cbor:"2,keyasint"`
}

const (
	lieVersion = 1
	lieSuffix  = ".lie"
)

// NewWitness returns a witness that keeps the proofs of lies in dir, which it makes
// when there is one. It knows the directories again that proofs in dir convict, as
// long as they are in a document that views has.
func NewWitness(views *directory.Views, dir string, log *slog.Logger) (*Witness, error) {
	w := &Witness{views: views, dir: dir, log: log, seen: map[directory.Epoch]signatures{}, caught: map[sphinx.NodeID]bool{}}
	if dir == "" {
		return w, nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"+lieSuffix))
	if err != nil {
		return nil, fmt.Errorf("read proofs of lies: %w", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read proofs of lies: %w", err)
		}
		id, err := w.convicts(b)
		if err != nil {
			log.Warn("directories: a kept proof of a lie proves nothing here", "file", file, "err", err)
			continue
		}
		w.caught[id] = true
	}
	return w, nil
}

// convicts returns whom a proof convicts.
func (w *Witness) convicts(b []byte) (id sphinx.NodeID, err error) {
	var l lie
	if err := codec.Unmarshal(b, &l); err != nil {
		return id, err
	}
	if l.Version != lieVersion || len(l.Snapshots) != 2 || string(l.Snapshots[0].Body) == string(l.Snapshots[1].Body) {
		return id, errors.New("it is no proof that this program reads")
	}
	var epochs [2]directory.Epoch
	for i, s := range l.Snapshots {
		if len(s.Signatures) != 1 || s.Signatures[0].Directory != l.Snapshots[0].Signatures[0].Directory {
			return id, errors.New("it is not of one directory")
		}
		if err := w.signedBy(&s.Signatures[0], s.Body); err != nil {
			return id, err
		}
		var x directory.Snapshot
		if err := codec.Unmarshal(s.Body, &x); err != nil {
			return id, err
		}
		epochs[i] = x.Epoch
	}
	if epochs[0] != epochs[1] {
		return id, errors.New("its snapshots are of two epochs")
	}
	return l.Snapshots[0].Signatures[0].Directory, nil
}

// signedBy checks a signature by the keys of any document in use.
func (w *Witness) signedBy(g *directory.Signature, body []byte) (err error) {
	for _, d := range w.views.Documents() {
		if _, err = g.Verify(d, body); err == nil {
			return nil
		}
	}
	return err
}

// Add takes up who has signed s, a snapshot of e by as many as have signed it so
// far, and notices who has signed another. It returns an error for what is no
// snapshot of e, and for signatures that are false; the others on it count.
func (w *Witness) Add(e directory.Epoch, s *directory.SignedSnapshot) error {
	body := string(s.Body)
	doc := w.views.DocumentOf(s.Body)
	w.mu.Lock()
	known := w.seen[e][body] != nil
	w.mu.Unlock()
	if !known {
		x, err := directory.ParseSnapshot(doc, s.Body)
		if err != nil {
			return err
		}
		if x.Epoch != e {
			return fmt.Errorf("%w: it is of %v, not of %v", directory.ErrSnapshot, x.Epoch, e)
		}
	}
	var errs []error
	for _, g := range s.Signatures {
		w.mu.Lock()
		_, known := w.seen[e][body][g.Directory]
		w.mu.Unlock()
		if known {
			continue
		}
		n, err := g.Verify(doc, s.Body)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, w.note(e, body, n.Name, g))
	}
	return errors.Join(errs...)
}

// note takes up one signature that was checked.
func (w *Witness) note(e directory.Epoch, body, name string, g directory.Signature) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[e] == nil {
		w.seen[e] = signatures{}
	}
	seen := w.seen[e]
	var others []directory.SignedSnapshot // that it has signed beside this one
	for other, set := range seen {
		if h, ok := set[g.Directory]; ok && other != body {
			others = append(others, directory.SignedSnapshot{Body: []byte(other), Signatures: []directory.Signature{h}})
		}
	}
	if len(others) > 1 {
		// Two prove that it lies. Were all kept and handed on, one directory
		// could fill the others' memory, and make their answers too long to read.
		return nil
	}
	if seen[body] == nil {
		seen[body] = map[sphinx.NodeID]directory.Signature{}
	}
	seen[body][g.Directory] = g
	if len(others) == 0 || w.caught[g.Directory] {
		return nil
	}
	w.caught[g.Directory] = true
	proof, err := w.keep(e, g.Directory, append(others, directory.SignedSnapshot{Body: []byte(body), Signatures: []directory.Signature{g}}))
	w.log.Error("directories: a directory has signed two snapshots of one epoch: it lies, or its key is stolen; tell the other operators",
		"name", name, "epoch", uint64(e), "proof", proof)
	if err != nil {
		return fmt.Errorf("keep the proof: %w", err)
	}
	return nil
}

// keep writes a proof to its own file, whose name it returns.
func (w *Witness) keep(e directory.Epoch, id sphinx.NodeID, both []directory.SignedSnapshot) (file string, err error) {
	if w.dir == "" {
		return "", nil
	}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return "", err
	}
	b, err := codec.Marshal(lie{Version: lieVersion, Snapshots: both})
	if err != nil {
		return "", err
	}
	file = filepath.Join(w.dir, fmt.Sprintf("%d-%s%s", uint64(e), hex.EncodeToString(id[:8]), lieSuffix))
	return file, durable.WriteFile(file, b, 0o600)
}

// Ask fetches from each of these directories the snapshot of e that it gives to
// those who ask, and the signatures that it has seen, and takes them up. It returns
// those that have answered with a snapshot.
func (w *Witness) Ask(ctx context.Context, c *Client, from []*directory.Node, e directory.Epoch) (answered []sphinx.NodeID) {
	var mu sync.Mutex // guards answered
	var wg sync.WaitGroup
	for _, n := range from {
		wg.Go(func() {
			if s, err := c.snapshotFrom(ctx, n, e); err == nil {
				w.hear(n, e, *s)
				mu.Lock()
				answered = append(answered, n.ID())
				mu.Unlock()
			}
			w.askSignatures(ctx, c, n, e)
		})
	}
	wg.Wait()
	return answered
}

// askSignatures fetches what signatures a directory has seen, and takes them up.
func (w *Witness) askSignatures(ctx context.Context, c *Client, from *directory.Node, e directory.Epoch) {
	if sets, err := c.signaturesFrom(ctx, from, e); err == nil { // else it is down, or has none yet
		w.hear(from, e, sets...)
	}
}

// hear takes up what a directory has handed on.
func (w *Witness) hear(from *directory.Node, e directory.Epoch, sets ...directory.SignedSnapshot) {
	for _, s := range sets {
		if err := w.Add(e, &s); err != nil {
			w.log.Warn("directories: what a directory hands on is not all valid", "from", from.Name, "epoch", uint64(e), "err", err)
		}
	}
}

// Signed returns all that was seen signed of an epoch, each with the signatures
// that were seen on it.
func (w *Witness) Signed(e directory.Epoch) (sets []directory.SignedSnapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for body, set := range w.seen[e] {
		s := directory.SignedSnapshot{Body: []byte(body)}
		for _, g := range set {
			s.Signatures = append(s.Signatures, g)
		}
		sets = append(sets, s)
	}
	return sets
}

// Caught reports which of these directories were seen to sign two snapshots of one
// epoch.
func (w *Witness) Caught(among []*directory.Node) []*directory.Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(among), func(n *directory.Node) bool { return !w.caught[n.ID()] })
}

// divergent returns of how many epochs signatures on several snapshots were seen.
func (w *Witness) divergent() (epochs int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, bodies := range w.seen {
		if len(bodies) > 1 {
			epochs++
		}
	}
	return epochs
}

// Forget drops what was signed of epochs before e. Who was caught stays caught.
func (w *Witness) Forget(e directory.Epoch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for old := range w.seen {
		if old < e {
			delete(w.seen, old)
		}
	}
}
