package mailbox

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mailproxy/internal/store"
)

// maxProblems bounds how many problems a Report holds; it counts the rest.
const maxProblems = 10_000

// A Problem is one thing that is not as it must be.
type Problem struct {
	Account string `json:"account,omitempty"`
	Folder  string `json:"folder,omitempty"`
	UID     uint32 `json:"uid,omitempty"`
	Text    string `json:"text"` // a sentence without its full stop

	// mend puts it right and says what it did, or nothing if it has gone. It is nil for
	// what cannot be put right.
	mend mend
}

// String says where the problem is, and what.
func (p Problem) String() string {
	var b strings.Builder
	if p.Account != "" {
		fmt.Fprintf(&b, "%s, ", p.Account)
	}
	if p.Folder != "" {
		fmt.Fprintf(&b, "folder %q, ", p.Folder)
	}
	if p.UID != 0 {
		fmt.Fprintf(&b, "UID %d, ", p.UID)
	}
	s := strings.TrimSuffix(b.String(), ", ")
	if s != "" {
		s += ": "
	}
	return s + p.Text
}

// A Report is what Check found.
type Report struct {
	Accounts int   `json:"accounts"`
	Folders  int   `json:"folders"`
	Messages int   `json:"messages"`
	Bodies   int   `json:"bodies"` // copies of a message share one
	Bytes    int64 `json:"bytes"`  // of all bodies
	// Leftovers are bodies whose delivery a crash interrupted. That is no problem:
	// nobody was told that they were stored, and Open removes them.
	Leftovers int       `json:"leftovers"`
	Problems  []Problem `json:"problems"`
	More      int       `json:"more_problems,omitempty"` // beyond those listed
}

// Clean reports whether nothing is wrong.
func (r *Report) Clean() bool { return len(r.Problems) == 0 }

func (r *Report) add(p Problem) {
	if len(r.Problems) == maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, p)
}

// CheckOptions configure a check. The zero value is good.
type CheckOptions struct {
	// Progress is told how many bytes of bodies were read, of how many.
	Progress func(done, total int64)
}

// Check reads everything that a mailbox keeps in st and verifies what must always
// hold: every folder's name, UID counter and UIDVALIDITY; every message's flags,
// body and place in the indexes; how often each body is shared; that the bytes are
// all there, and are those that the envelope and the structure describe. It changes
// nothing. It works on one snapshot, and on a store that Open refuses. An error
// means that it could not look, not that something is wrong.
func Check(ctx context.Context, st *store.Store, o CheckOptions) (*Report, error) {
	c, err := check(ctx, st, o)
	if err != nil {
		return nil, fmt.Errorf("check mailbox: %w", err)
	}
	return c.report, nil
}

func check(ctx context.Context, st *store.Store, o CheckOptions) (*checker, error) {
	c := &checker{
		ctx: ctx, report: &Report{Problems: []Problem{}}, progress: o.Progress,
		accounts: make(map[uint32]string), folders: make(map[uint64]*checkedFolder), blobs: make(map[blobID]*checkedBlob),
		validity: make(map[uint32]uint64), entries: make(map[entry][hashSize]byte),
	}
	if c.progress == nil {
		c.progress = func(int64, int64) {}
	}
	err := st.View(func(tx *store.Tx) error {
		c.tx = tx
		for _, pass := range []func() error{
			c.checkVersion, c.checkAccounts, c.checkFolders, c.checkNames, c.checkSubscriptions, c.checkCounters,
			c.checkMessages, c.checkIDs, c.checkSent, c.checkBlobs, c.checkRecords, c.checkChunks, c.checkRest,
		} {
			if err := pass(); err != nil {
				return err
			}
		}
		return nil
	})
	return c, err
}

// Check is the function Check, of a store that is in use: what is being delivered
// meanwhile is no problem, and what memory knows of the folders must be what the
// disk holds.
func (s *Store) Check(ctx context.Context, o CheckOptions) (*Report, error) {
	c, err := check(ctx, s.st, o)
	if err != nil {
		return nil, fmt.Errorf("check mailbox: %w", err)
	}
	if err := s.settleLeftovers(c); err != nil {
		return nil, fmt.Errorf("check mailbox: %w", err)
	}
	for _, name := range s.Accounts() {
		if a, err := s.Account(name); err == nil { // else it was deleted meanwhile
			a.checkMemory(c.report)
		}
	}
	return c.report, nil
}

// A checker looks at one snapshot.
type checker struct {
	ctx      context.Context
	tx       *store.Tx
	report   *Report
	progress func(done, total int64)

	accounts map[uint32]string // by id
	folders  map[uint64]*checkedFolder
	blobs    map[blobID]*checkedBlob
	validity map[uint32]uint64        // highest UIDVALIDITY of an account's folders
	entries  map[entry][hashSize]byte // messages that must be in the index of ids
	total    int64                    // bytes of all bodies
	done     int64                    // of them, those that were read
	unowned  map[uint32]bool          // account ids that no account record has
	badAcct  []string                 // names of accounts whose record cannot be read
	uses     map[string]bool          // account id and special use
	leftover []blobID                 // bodies without any record
}

type entry struct {
	folder uint64
	uid    uint32
}

type checkedFolder struct {
	acct     uint32
	rec      folderRecord
	lost     bool   // there is no record that can be read
	counter  uint64 // 0 if there is none
	highest  uint32 // UID
	messages int
}

type checkedBlob struct {
	uses    uint64 // by message records
	size    int64  // as the first of them says
	wire    int64
	hash    [hashSize]byte // of the Message-ID, if there is one
	hasHash bool
	first   entry  // the first message that uses it
	acct    uint32 // of that one
	refs    uint64 // 0 if there is no count
	differ  bool   // messages that use it have different sizes
	seen    bool   // its chunks were read
}

// at returns a Problem's place.
func (c *checker) at(folder uint64, uid uint32) Problem {
	f := c.folders[folder]
	if f == nil {
		return Problem{Folder: fmt.Sprintf("number %d", folder), UID: uid}
	}
	return Problem{Account: c.accounts[f.acct], Folder: f.rec.Name, UID: uid}
}

// say reports a problem at a place.
func (c *checker) say(at Problem, mend func(*mender) (string, error), format string, args ...any) {
	at.Text, at.mend = fmt.Sprintf(format, args...), mend
	c.report.add(at)
}

// each iterates over a kind of key, whose rest after the prefix has size bytes; any
// with size 0. Other sizes are problems.
func (c *checker) each(kind string, size int, values bool, fn func(rest []byte, it store.Item) error) error {
	prefix := key(kind)
	n := 0
	return c.tx.Iterate(store.Range{Prefix: prefix, Values: values}, func(it store.Item) error {
		if n++; n%1024 == 0 {
			if err := c.ctx.Err(); err != nil {
				return err
			}
		}
		rest := it.Key[len(prefix):]
		if size > 0 && len(rest) != size {
			k := append([]byte(nil), it.Key...)
			c.say(Problem{}, deleting(k), "an entry %s has %d bytes after its kind, and not %d", prefix, len(rest), size)
			return nil
		}
		return fn(rest, it)
	})
}

func (c *checker) checkVersion() error {
	have, err := getNumber(c.tx, versionKey)
	switch {
	case errors.Is(err, store.ErrNotFound):
		c.say(Problem{}, setting(versionKey, FormatVersion), "the version record is missing")
	case err != nil:
		return err
	case have != FormatVersion:
		return fmt.Errorf("%w: mailbox format is %d, this program reads %d", store.ErrVersion, have, FormatVersion)
	}
	return nil
}
