// Package mailbox keeps the user's folders: the messages of every account, byte
// for byte as they came, their flags, and what IMAP and POP3 need to know of
// them, in an internal/store.Store that it shares with other parts of the
// daemon (all its keys begin with "mailbox/").
//
// It speaks no protocol, knows no network and sends nothing. The front ends
// imap, pop3 and smtp, proxy and the packages beneath it, and cmd/mailproxy may
// import it.
//
// # What holds
//
// A UID is taken from a counter that is stored with the folder, so that it is
// never used twice, and a folder's UIDVALIDITY never changes; a folder that is
// deleted and made again gets a higher one (RFC 9051 section 2.3.1.1). A
// message is acknowledged after its transaction is synced. Messages that share
// their bytes (COPY) share one blob, which goes with its last reference.
//
// Memory holds an index of the folders that were used (UID, flags, size, date);
// it is changed only after the transaction that it mirrors is durable. Sessions
// look at a folder through a Selection, which compares what its client was told
// with that index, so that a slow session costs no queue.
package mailbox

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
)

// FormatVersion is the version of what this package writes. Open refuses any
// other.
const FormatVersion = 1

var (
	// ErrBadPassword is what the Auth callback of a front end returns, wrapped or
	// not, when the user name or the password is wrong. Every other error of the
	// callback is a temporary failure, which the front ends report as such: a
	// locked keychain must not look like a mistyped password.
	ErrBadPassword = errors.New("wrong user name or password")

	// ErrNoAccount is returned for an account that does not exist.
	ErrNoAccount = errors.New("no such account")
	// ErrNoFolder is returned for a folder that does not exist, or no longer.
	ErrNoFolder = errors.New("no such folder")
	// ErrNoMessage is returned for a message that does not exist, or no longer.
	ErrNoMessage = errors.New("no such message")
	// ErrExists is returned when the account, folder or special use is taken.
	ErrExists = errors.New("already exists")
	// ErrInUse is returned when an account that is to be unused is not.
	ErrInUse = errors.New("there is, or was, something in it")
	// ErrHasChildren is returned by DeleteFolder for a folder that has folders
	// below it.
	ErrHasChildren = errors.New("folder has folders below it")
	// ErrName is wrapped by errors about names that cannot be used.
	ErrName = errors.New("invalid name")
	// ErrUse is an ErrName about a special use that is none.
	ErrUse = fmt.Errorf("%w: special use is unknown", ErrName)
	// ErrFlag is wrapped by errors about flags that cannot be used.
	ErrFlag = errors.New("invalid flag")
	// ErrFull is returned when a folder has used up its UIDs (RFC 9051 section
	// 2.3.1.1: they have 32 bits).
	ErrFull = errors.New("folder has no UIDs left")
)

// Options configure a Store.
type Options struct {
	// Now is the clock; nil means time.Now. It dates new folders' UIDVALIDITY.
	Now func() time.Time
	// Logger receives warnings; nil discards them.
	Logger *slog.Logger
}

// A Store holds the folders of all accounts. Its methods, and those of what it
// returns, may be called from any goroutine.
type Store struct {
	st  *store.Store
	now func() time.Time
	log *slog.Logger

	bodies    stagedBodies
	envelopes envelopeCache

	mu       sync.Mutex // guards accounts
	accounts map[string]*Account
}

// Open reads the accounts and folders kept in st and removes message bodies that
// were staged but never delivered. There is nothing to close: st remains the
// caller's.
func Open(st *store.Store, o Options) (*Store, error) {
	s := &Store{st: st, now: o.Now, log: o.Logger, accounts: make(map[string]*Account)}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.checkVersion(); err != nil {
		return nil, fmt.Errorf("open mailbox: %w", err)
	}
	if err := s.loadAccounts(); err != nil {
		return nil, fmt.Errorf("open mailbox: %w", err)
	}
	if err := s.collectOrphans(); err != nil {
		return nil, fmt.Errorf("open mailbox: remove undelivered bodies: %w", err)
	}
	s.loadIndexes()
	return s, nil
}

func (s *Store) checkVersion() error {
	return s.st.Update(func(tx *store.Tx) error {
		have, err := getNumber(tx, versionKey)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return tx.Set(versionKey, number(FormatVersion))
		case err != nil:
			return err
		case have != FormatVersion:
			return fmt.Errorf("%w: mailbox format is %d, this program reads %d", store.ErrVersion, have, FormatVersion)
		}
		return nil
	})
}

func (s *Store) loadAccounts() error {
	return s.st.View(func(tx *store.Tx) error {
		err := tx.Iterate(store.Range{Prefix: accountPrefix, Values: true}, func(it store.Item) error {
			name := string(it.Key[len(accountPrefix):])
			v, err := it.Value()
			if err != nil {
				return err
			}
			var rec accountRecord
			if err := codec.Unmarshal(v, &rec); err != nil {
				return fmt.Errorf("account record: %w", err)
			}
			s.accounts[name] = s.newAccount(name, rec.ID)
			return nil
		})
		if err != nil {
			return err
		}
		for _, a := range s.accounts {
			if err := a.loadFolders(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// loadIndexes reads the index of every folder, which takes about a tenth of a second
// for a hundred thousand messages, so that no client has to wait for it. A folder
// that cannot be read is told of when somebody looks at it.
func (s *Store) loadIndexes() {
	for _, a := range s.accounts {
		a.mu.Lock()
		for _, f := range a.names.folders {
			if err := f.load(); err != nil {
				s.log.Warn("mailbox: index of a folder could not be read", "err", err)
			}
		}
		a.mu.Unlock()
	}
}

// Account returns the account of that name, or ErrNoAccount.
func (s *Store) Account(name string) (*Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[name]
	if a == nil {
		return nil, ErrNoAccount
	}
	return a, nil
}

// Accounts returns the names of all accounts, sorted.
func (s *Store) Accounts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.accounts))
	for name := range s.accounts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// CreateAccount makes an account with the folders of standardFolders, all
// subscribed (Thunderbird shows no others). The name is the account's address,
// in the form in which it will be asked for. ErrExists if there is one already.
func (s *Store) CreateAccount(name string) (*Account, error) {
	if name == "" || len(name) > maxName || !printable(name) {
		return nil, fmt.Errorf("create account: %w", ErrName)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts[name] != nil {
		return nil, fmt.Errorf("create account: %w", ErrExists)
	}
	var a *Account
	err := s.st.Update(func(tx *store.Tx) error {
		id, err := s.nextNumber(tx, nextAccountKey)
		if err != nil {
			return err
		}
		a = s.newAccount(name, uint32(id))
		if err := putRecord(tx, accountKey(name), accountRecord{Format: FormatVersion, ID: a.id}); err != nil {
			return err
		}
		for _, f := range standardFolders {
			if _, err := a.createTx(tx, f.name, f.use); err != nil {
				return err
			}
		}
		return a.loadFolders(tx)
	})
	if err != nil {
		return nil, fmt.Errorf("create account: %w", err)
	}
	s.accounts[name] = a
	return a, nil
}

// nextNumber takes the next number of a persistent counter; the first is 1.
func (s *Store) nextNumber(tx *store.Tx, key []byte) (uint64, error) {
	n, err := getNumber(tx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	return n + 1, tx.Set(key, number(n+1))
}

// printable reports whether s is valid UTF-8 without control characters.
func printable(s string) bool {
	return strings.ToValidUTF8(s, "") == s && !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029
	})
}
