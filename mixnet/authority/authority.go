// Package authority is a directory: it collects the nodes' descriptors, votes with
// the other directories on what belongs into the snapshot of each epoch, and signs
// the one that they agree on.
//
// An epoch is voted on in rounds. In each, a directory makes one vote of the
// descriptors that it has, fetches those of the others, and signs what the votes
// make (directory.Tally); once enough signatures are on the same bytes, that is the
// snapshot. If a round brings none, because a directory was down or a descriptor
// late, the next begins anew. A directory signs one snapshot of an epoch only: what
// it has signed it votes for and signs again in later rounds, also after a restart.
// Since each snapshot has a majority's signatures, there are never two of an epoch
// unless a directory lies. So that this is found out, directories go on comparing
// what each of them has signed until the epoch is over, twice a round, and nodes
// compare once what all directories hand out (Witness).
//
// Directories, and the nodes that publish to them and fetch from them, speak HTTP
// over TLS with pinned keys; Client is that side. It knows nothing of packets.
// mixnet/node, mixnet/local and cmd import it.
package authority

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/durable"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
	"mailproxy/mixnet/wire"
)

// Config says which directory to run.
type Config struct {
	Document *directory.Document
	// Earlier, if not nil, is the document before it, of which snapshots may be in
	// use still.
	Earlier  *directory.Document
	Identity ed25519.PrivateKey // its public half is the directory's entry in Document
	Dir      string             // what outlives the process; empty: nothing does
	Lies     string             // where proofs of directories that lie are kept; empty: nowhere
	Listener net.Listener       // the authority closes it
	Now      func() time.Time   // nil means time.Now
	Logger   *slog.Logger       // nil discards
}

// Counters tell what a directory has done since its start.
type Counters struct {
	Votes    atomic.Uint64 // made, one a round
	Signed   atomic.Uint64 // snapshots signed
	Finished atomic.Uint64 // snapshots taken up, made here or by others
	Refused  atomic.Uint64 // descriptors refused
	Round    atomic.Uint64 // of voting, from 0, in which the last one finished here was finished
}

// An Authority runs from Start to Close.
type Authority struct {
	Counters Counters

	cfg     Config
	p       directory.Parameters
	self    *directory.Node
	client  *Client
	started time.Time
	log     *slog.Logger
	views   *directory.Views
	witness *Witness

	cancel context.CancelFunc
	wg     sync.WaitGroup
	http   *http.Server

	steady directory.Steady // of run
	swept  directory.Epoch  // in which run last removed files of past epochs

	mu          sync.Mutex // guards all below
	descriptors map[directory.Epoch]map[sphinx.NodeID]directory.SignedDescriptor
	ballots     map[directory.Epoch]*ballot
	signed      map[directory.Epoch][]byte // the snapshot that this directory has signed
	voted       votedRecord
}

// A ballot is one round of voting on one epoch.
type ballot struct {
	round   uint32
	votes   map[sphinx.NodeID]*directory.Vote
	counted bool
}

// votedRecord says in which round this directory voted last, so that one that was
// killed does not vote twice in one.
type votedRecord struct {
	Version uint8                      `cbor:"1,keyasint"`
	Rounds  map[directory.Epoch]uint32 `cbor:"2,keyasint"`
}

const recordVersion = 1

// Start runs a directory until Close.
func Start(cfg Config) (*Authority, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Authority{
		cfg: cfg, p: cfg.Document.Parameters, started: cfg.Now(), views: directory.NewViews(cfg.Document),
		descriptors: map[directory.Epoch]map[sphinx.NodeID]directory.SignedDescriptor{},
		ballots:     map[directory.Epoch]*ballot{},
		signed:      map[directory.Epoch][]byte{},
		voted:       votedRecord{Version: recordVersion, Rounds: map[directory.Epoch]uint32{}},
	}
	key := directory.Key(cfg.Identity.Public().(ed25519.PublicKey))
	for _, n := range cfg.Document.WithRole(directory.RoleDirectory) {
		if n.Identity == key {
			a.self = n
		}
	}
	if a.self == nil {
		return nil, errors.New("start directory: its identity key is no directory's in the network document")
	}
	a.log = cfg.Logger.With("directory", a.self.Name)
	if cfg.Earlier != nil {
		a.views.Behind(cfg.Earlier)
	}
	var err error
	if a.witness, err = NewWitness(a.views, cfg.Lies, a.log); err != nil {
		return nil, fmt.Errorf("start directory: %w", err)
	}
	if err := a.load(); err != nil {
		return nil, fmt.Errorf("start directory: %w", err)
	}
	if a.client, err = NewClient(cfg.Document, cfg.Identity); err != nil {
		return nil, fmt.Errorf("start directory: %w", err)
	}
	if err := a.arrange(); err != nil {
		return nil, fmt.Errorf("start directory: %w", err)
	}
	config, err := wire.TLS(cfg.Identity, protocol, a.mayConnect)
	if err != nil {
		return nil, fmt.Errorf("start directory: %w", err)
	}
	a.http = &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		// Longer than clients keep a connection, or they would meet it half closed.
		IdleTimeout: 2 * keepConnection,
		ErrorLog:    slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	a.wg.Go(func() {
		if err := a.http.Serve(tls.NewListener(cfg.Listener, config)); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("directory: stopped listening", "err", err)
		}
	})
	a.wg.Go(func() { a.run(ctx) })
	a.wg.Go(func() { a.compare(ctx) })
	return a, nil
}

// Close stops the directory and waits for it.
func (a *Authority) Close() error {
	a.cancel()
	err := a.http.Close()
	a.wg.Wait()
	a.client.Close()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close directory %s: %w", a.self.Name, err)
	}
	return nil
}

// Reload takes up a newer network document while the directory runs. It reports
// false for the one that is in use, and refuses with an error that wraps
// directory.ErrSuccessor one with which this directory cannot go on; then nothing
// has changed.
func (a *Authority) Reload(d *directory.Document) (changed bool, err error) {
	if err := d.Keeps(a.views.Document(), a.cfg.Identity.Public().(ed25519.PublicKey)); err != nil {
		return false, err
	}
	if changed, err = a.views.Renew(d); err != nil || !changed {
		return false, err
	}
	return true, a.arrange()
}

// arrange speaks to the directories of the documents in use, and no others.
func (a *Authority) arrange() error { return a.client.Use(a.views.Documents()) }

// peers returns the other directories.
func (a *Authority) peers() []*directory.Node {
	return slices.DeleteFunc(a.client.Directories(), func(n *directory.Node) bool { return n.ID() == a.self.ID() })
}

// mayConnect lets in those who are in a network document that is in use.
func (a *Authority) mayConnect(k directory.Key) error {
	id := (&directory.Node{Identity: k}).ID()
	for _, d := range a.views.Documents() {
		if d.Node(id) != nil {
			return nil
		}
	}
	return fmt.Errorf("%w: not a member of the network", wire.ErrPeer)
}

// Snapshot returns the snapshot of an epoch, or nil if there is none yet.
func (a *Authority) Snapshot(e directory.Epoch) *directory.SignedSnapshot { return a.views.Signed(e) }

// Caught returns the names of the directories that signed two snapshots of one
// epoch.
func (a *Authority) Caught() []string {
	var names []string
	for _, n := range a.witness.Caught(a.client.Directories()) {
		names = append(names, n.Name)
	}
	return names
}

// load reads what an earlier process left: snapshots that are still of use, and in
// which rounds it voted.
func (a *Authority) load() error {
	if a.cfg.Dir == "" {
		return nil
	}
	if err := os.MkdirAll(a.cfg.Dir, 0o700); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(a.cfg.Dir, votedFile))
	if err == nil {
		err = codec.Unmarshal(b, &a.voted)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read which rounds were voted in: %w", err)
	}
	if a.voted.Version != recordVersion || a.voted.Rounds == nil {
		return fmt.Errorf("the record of rounds has version %d, this program reads %d", a.voted.Version, recordVersion)
	}
	return errors.Join(
		a.loadEach(snapshotSuffix, func(e directory.Epoch, b []byte) error {
			var s directory.SignedSnapshot
			if err := codec.Unmarshal(b, &s); err != nil {
				return err
			}
			if _, err := a.views.Add(&s); err != nil {
				// Of an older network document, most likely: a new one is voted on.
				a.log.Warn("directory: a kept snapshot is of no use", "err", err)
				return nil
			}
			return a.witness.Add(e, &s)
		}),
		a.loadEach(signedSuffix, func(e directory.Epoch, b []byte) error {
			a.signed[e] = b // whatever it is: no other of this epoch is signed
			if _, err := directory.ParseSnapshot(a.views.DocumentOf(b), b); err != nil {
				a.log.Warn("directory: a snapshot that was signed is of no use", "err", err)
				return nil
			}
			return a.sign(e, b)
		}),
	)
}

// loadEach reads the files with that ending whose epoch is not long over, and
// removes the others.
func (a *Authority) loadEach(suffix string, take func(directory.Epoch, []byte) error) error {
	return a.eachFile(suffix, a.p.EpochAt(a.cfg.Now()), take)
}

// removeOld removes the files of epochs that are long over now.
func (a *Authority) removeOld(now directory.Epoch) error {
	if a.cfg.Dir == "" {
		return nil
	}
	keep := func(directory.Epoch, []byte) error { return nil }
	return errors.Join(a.eachFile(snapshotSuffix, now, keep), a.eachFile(signedSuffix, now, keep))
}

func (a *Authority) eachFile(suffix string, now directory.Epoch, take func(directory.Epoch, []byte) error) error {
	files, err := filepath.Glob(filepath.Join(a.cfg.Dir, "*"+suffix))
	if err != nil {
		return err
	}
	for _, file := range files {
		n, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(file), suffix), 10, 64)
		if err != nil || directory.Epoch(n)+2 < now {
			if err := os.Remove(file); err != nil {
				return err
			}
			continue
		}
		b, err := os.ReadFile(file)
		if err == nil {
			err = take(directory.Epoch(n), b)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
	}
	return nil
}

const (
	votedFile      = "voted"
	snapshotSuffix = ".snapshot"
	signedSuffix   = ".signed"
)

// keep writes v to a file in the directory's own folder, all at once and synced.
func (a *Authority) keep(name string, v any) error {
	b, err := codec.Marshal(v)
	if err != nil {
		return err
	}
	return a.keepBytes(name, b)
}

func (a *Authority) keepBytes(name string, b []byte) error {
	if a.cfg.Dir == "" {
		return nil
	}
	return durable.WriteFile(filepath.Join(a.cfg.Dir, name), b, 0o600)
}
