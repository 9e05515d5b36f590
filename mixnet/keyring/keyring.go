// Package keyring holds a node's mix keys: one for each epoch, with the replay
// tags of every packet seen under it. A key is made ahead of its epoch, accepted
// for a while after it, and then, after a moment in which it only shows what comes
// too late, erased with its tags.
//
// With a directory, keys and tags outlive the process, so that a node that was
// killed goes on with its key and refuses what it saw before. It publishes
// nothing and knows no other node. mixnet/node imports it, as do mixnet/local and cmd, which open it.
package keyring

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailproxy/internal/durable"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
)

var (
	// ErrReplayed is returned by Unwrap for a packet that was seen before.
	ErrReplayed = errors.New("packet was seen before")
	// ErrExpired is returned by Unwrap for a packet under a key whose time is over.
	ErrExpired = errors.New("packet comes after its epoch")
)

// A Ring holds the keys of one node. Its methods may be called from any goroutine.
type Ring struct {
	p   directory.Parameters
	dir string // empty: keys live in memory
	now func() time.Time

	mu     sync.RWMutex // guards all below
	keys   map[directory.Epoch]*epochKey
	steady directory.Steady
	// unerased are keys that are gone from memory and not from the disk, with when
	// that is tried again.
	unerased map[directory.Epoch]time.Time
}

// eraseAgain is how long after a failure it is tried again to erase a key from the
// disk.
const eraseAgain = time.Minute

// epochKey is a key and what was seen under it.
type epochKey struct {
	private *sphinx.PrivateKey
	tags    *Tags
}

// Open reads the keys in dir, which is made if need be, and erases those whose
// time is over. With an empty dir keys live in memory only.
func Open(dir string, p directory.Parameters, now func() time.Time) (*Ring, error) {
	r := &Ring{p: p, dir: dir, now: now, keys: map[directory.Epoch]*epochKey{}, unerased: map[directory.Epoch]time.Time{}}
	if dir == "" {
		return r, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open mix keys: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open mix keys: %w", err)
	}
	for _, entry := range entries {
		if err := r.sweep(entry.Name()); err != nil {
			return nil, errors.Join(fmt.Errorf("open mix keys: %w", err), r.Close())
		}
		number, ok := strings.CutSuffix(entry.Name(), keySuffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("open mix keys: %s is not the name of a key file", entry.Name())
		}
		if err := r.load(directory.Epoch(n)); err != nil {
			return nil, errors.Join(fmt.Errorf("open mix keys: %w", err), r.Close())
		}
	}
	return r, r.Tidy()
}

const (
	keySuffix  = ".key"
	tagsSuffix = ".tags"
)

// sweep removes what a kill left: a key that was never given its name, and so never
// published, and the tags of a key that is erased.
func (r *Ring) sweep(name string) error {
	if strings.HasPrefix(name, durable.TempPrefix) {
		return erase(filepath.Join(r.dir, name))
	}
	if number, ok := strings.CutSuffix(name, tagsSuffix); ok {
		_, err := os.Stat(filepath.Join(r.dir, number+keySuffix))
		if errors.Is(err, os.ErrNotExist) {
			return remove(filepath.Join(r.dir, name))
		}
		return err
	}
	return nil
}

func (r *Ring) file(e directory.Epoch, suffix string) string {
	return filepath.Join(r.dir, strconv.FormatUint(uint64(e), 10)+suffix)
}

func (r *Ring) load(e directory.Epoch) error {
	b, err := os.ReadFile(r.file(e, keySuffix))
	if err != nil {
		return err
	}
	private, err := sphinx.PrivateKeyFromBytes(b)
	clear(b)
	if err != nil {
		return fmt.Errorf("key file of %v: %w", e, err)
	}
	tags, err := OpenTags(r.file(e, tagsSuffix))
	if err != nil {
		return err
	}
	r.keys[e] = &epochKey{private: private, tags: tags}
	return nil
}

// Public returns the public key for e, making the key if there is none yet; then
// it is on disk before Public returns.
func (r *Ring) Public(e directory.Epoch) (sphinx.PublicKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.keys[e]; k != nil {
		return k.private.Public(), nil
	}
	private, err := sphinx.NewPrivateKey(rand.Reader)
	if err != nil {
		return sphinx.PublicKey{}, fmt.Errorf("make mix key: %w", err)
	}
	tags := NewTags()
	if r.dir != "" {
		if err := writeKey(r.file(e, keySuffix), private.Bytes()); err != nil {
			return sphinx.PublicKey{}, fmt.Errorf("make mix key: %w", err)
		}
		delete(r.unerased, e) // it was in this file
		if tags, err = OpenTags(r.file(e, tagsSuffix)); err != nil {
			return sphinx.PublicKey{}, fmt.Errorf("make mix key: %w", err)
		}
	}
	r.keys[e] = &epochKey{private: private, tags: tags}
	return private.Public(), nil
}

// writeKey writes a key so that a crash leaves all of it or nothing.
func writeKey(file string, b []byte) error {
	defer clear(b)
	return durable.WriteFile(file, b, 0o600)
}

// live reports whether packets under the key of e are accepted at t: during its
// epoch, for KeyGrace after it, and for as long before it as clocks may differ.
func (r *Ring) live(e directory.Epoch, t time.Time) bool {
	early := min(directory.Grace, time.Duration(r.p.Epoch)/4)
	return !t.Before(r.p.EpochStart(e).Add(-early)) && t.Before(r.end(e))
}

// end is when packets under the key of e are no more accepted.
func (r *Ring) end(e directory.Epoch) time.Time { return r.p.EpochStart(e + 1).Add(r.p.KeyGrace()) }

// Unwrap strips this node's layer from a packet, as sphinx.PrivateKey.Unwrap does,
// with whichever live key fits, and notes the packet as seen. It returns
// ErrReplayed for one that was seen, ErrExpired for one that comes too late, as long
// as its key is kept, and sphinx.ErrMAC if no key fits, be it that the key is erased.
func (r *Ring) Unwrap(packet []byte) (sphinx.Unwrapped, error) {
	now := r.now()
	current := r.p.EpochAt(now)
	err := error(sphinx.ErrMAC)
	for _, e := range []directory.Epoch{current, current - 1, current + 1} {
		over := !now.Before(r.end(e))
		if !over && !r.live(e, now) {
			continue
		}
		r.mu.RLock()
		k := r.keys[e]
		r.mu.RUnlock()
		if k == nil {
			continue
		}
		var u sphinx.Unwrapped
		u, err = k.private.Unwrap(packet) // leaves the packet alone if it fails with ErrMAC
		if errors.Is(err, sphinx.ErrMAC) {
			continue
		}
		if over {
			return sphinx.Unwrapped{}, ErrExpired // whatever else may be wrong with it
		}
		if err != nil {
			return u, err
		}
		fresh, err := k.tags.Add(u.Tag)
		if err != nil {
			return sphinx.Unwrapped{}, err
		}
		if !fresh {
			return sphinx.Unwrapped{}, ErrReplayed
		}
		return u, nil
	}
	return sphinx.Unwrapped{}, err
}

// Tidy erases the keys whose time is over, in memory and on disk. It is to be called
// every second or so: what could not be erased from the disk it tries again, after a
// minute, and says so each time; and a clock that has jumped ahead is first given
// time to be put right (directory.Steady), for it would erase the keys in use.
func (r *Ring) Tidy() error {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	if r.steady.Look(now, r.p) {
		for e, k := range r.keys {
			if !now.After(r.end(e).Add(r.p.KeyLinger())) {
				continue
			}
			k.private.Erase()
			delete(r.keys, e)
			errs = append(errs, k.tags.Close())
			if r.dir != "" {
				r.unerased[e] = now
			}
		}
	}
	for e, due := range r.unerased {
		if wait := due.Sub(now); wait > 0 && wait <= eraseAgain {
			continue
		}
		if err := errors.Join(erase(r.file(e, keySuffix)), remove(r.file(e, tagsSuffix))); err != nil {
			r.unerased[e] = now.Add(eraseAgain)
			errs = append(errs, err)
			continue
		}
		delete(r.unerased, e)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("erase mix keys: %w", err)
	}
	return nil
}

// erase overwrites a key file before it removes it. What a file system with
// copies or a disk with spare blocks keeps is beyond it: see the threat model. A file
// that is not there is erased.
func erase(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = f.Write(make([]byte, sphinx.KeySize))
		err = errors.Join(err, f.Sync(), f.Close())
	}
	return errors.Join(err, remove(file))
}

func remove(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Tags returns how many packets were seen under all keys that are kept.
func (r *Ring) Tags() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n := 0
	for _, k := range r.keys {
		n += k.tags.Len()
	}
	return n
}

// Len returns how many keys are kept.
func (r *Ring) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.keys)
}

// Close closes the files. Keys stay on disk, and are gone from memory.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, k := range r.keys {
		if r.dir != "" {
			k.private.Erase()
		}
		errs = append(errs, k.tags.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close mix keys: %w", err)
	}
	return nil
}
