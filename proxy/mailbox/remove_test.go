package mailbox

import (
	"errors"
	"slices"
	"testing"
	"time"

	"mailproxy/internal/store"
)

// openStores opens a store without accounts, until the test ends.
func openStores(t *testing.T) (*store.Store, *Store) {
	t.Helper()
	st, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(st, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return st, s
}

func TestDeleteAccount(t *testing.T) {
	st, s := openStores(t)
	keys := func() (list []string) {
		t.Helper()
		err := st.View(func(tx *store.Tx) error {
			return tx.Iterate(store.Range{Prefix: []byte("mailbox/")}, func(i store.Item) error {
				list = append(list, string(i.Key))
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if err := s.DeleteAccount("ann@north.test"); !errors.Is(err, ErrNoAccount) {
		t.Errorf("delete nobody: %v", err)
	}
	before := keys()
	for _, name := range []string{"ann@north.test", "ben@north.test"} {
		a, err := s.CreateAccount(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.CreateFolder("Work/Projects/Old", ""); err != nil {
			t.Fatal(err)
		}
		for _, folder := range []string{Inbox, "Work/Projects"} {
			staged, err := s.Stage([]byte("Subject: " + name + "\r\nMessage-ID: <1@x>\r\n\r\nx\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			err = st.Update(func(tx *store.Tx) error {
				_, err := a.DeliverTx(tx, folder, staged, nil, s.now())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	a, err := s.Account("ann@north.test")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteAccount("ann@north.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Folder(Inbox); !errors.Is(err, ErrNoFolder) {
		t.Errorf("a session's INBOX: %v", err)
	}
	if again, err := Open(st, Options{}); err != nil || len(again.Accounts()) != 1 {
		t.Errorf("accounts after a restart: %v, %v", again.Accounts(), err)
	}
	if err := s.DeleteAccount("ben@north.test"); err != nil {
		t.Fatal(err)
	}
	if after := keys(); len(after) > len(before)+3 { // the counters of accounts and folders, and of what was deleted
		t.Errorf("left are %q", after)
	}
	if _, err := s.CreateAccount("ann@north.test"); err != nil {
		t.Errorf("make it anew: %v", err)
	}
}

// TestTrapUIDValidityOfAnAccountMadeAgain: a mail client that knew the account before
// must not take the new one's messages for those it has (design.md section 8: UIDVALIDITY
// constant over a reset). The clock stands still, then goes back.
func TestTrapUIDValidityOfAnAccountMadeAgain(t *testing.T) {
	st, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s, err := Open(st, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	had := map[uint32]bool{}
	for i := range 4 {
		a, err := s.CreateAccount("ann@north.test")
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range a.Folders() {
			f, err := a.Folder(info.Name)
			if err != nil {
				t.Fatal(err)
			}
			if had[f.UIDValidity()] {
				t.Errorf("round %d: %s has the UIDVALIDITY %d, and another folder had it", i, info.Name, f.UIDValidity())
			}
			had[f.UIDValidity()] = true
		}
		if err := s.DeleteAccount("ann@north.test"); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			now = now.Add(-time.Minute)
		}
	}
	if r, err := Check(t.Context(), st, CheckOptions{}); err != nil || !r.Clean() || r.Leftovers != 0 {
		t.Errorf("check: %+v, %v", r, err)
	}
}

// TestDeleteUnused: an account goes only if nothing was ever done with it, and then
// leaves nothing.
func TestDeleteUnused(t *testing.T) {
	const ann = "ann@north.test"
	mail := []byte("Subject: x\r\nMessage-ID: <1@x>\r\n\r\nx\r\n")
	for name, use := range map[string]func(s *Store, a *Account) error{
		"not":            nil,
		"a subscription": func(_ *Store, a *Account) error { return a.Unsubscribe(Junk) },
		"mail": func(_ *Store, a *Account) error {
			_, err := a.Deliver(Archive, mail, nil, time.Time{})
			return err
		},
		"mail that is gone": func(_ *Store, a *Account) error {
			id, err := a.Deliver(Inbox, mail, nil, time.Time{})
			if err != nil {
				return err
			}
			f, err := a.Folder(Inbox)
			if err != nil {
				return err
			}
			_, err = f.Remove([]uint32{id.UID})
			return err
		},
		"mail whose counter is lost": func(s *Store, a *Account) error {
			if _, err := a.Deliver(Inbox, mail, nil, time.Time{}); err != nil {
				return err
			}
			f, err := a.Folder(Inbox)
			if err != nil {
				return err
			}
			return s.st.Update(func(tx *store.Tx) error { return tx.Set(uidNextKey(f.id), number(1)) })
		},
		"a folder": func(_ *Store, a *Account) error { return a.CreateFolder("Work", "") },
		"sent mail": func(s *Store, a *Account) error {
			if err := a.DeleteFolder(Sent); err != nil {
				return err
			}
			return a.PutSent(SentMail{ID: "<2@x>"}, func(put func(*store.Tx) error) error { return s.st.Update(put) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			st, s := openStores(t)
			if err := s.DeleteUnused(ann); !errors.Is(err, ErrNoAccount) {
				t.Errorf("nobody's: %v", err)
			}
			keys := func() (n int) {
				t.Helper()
				err := st.View(func(tx *store.Tx) error {
					return tx.Iterate(store.Range{Prefix: []byte("mailbox/")}, func(store.Item) error {
						n++
						return nil
					})
				})
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			bare := keys()
			a, err := s.CreateAccount(ann)
			if err != nil {
				t.Fatal(err)
			}
			if use != nil {
				if err := use(s, a); err != nil {
					t.Fatal(err)
				}
			}
			before, folders := keys(), a.Folders()
			err = s.DeleteUnused(ann)
			again, opened := Open(st, Options{})
			if opened != nil {
				t.Fatal(opened)
			}
			if use == nil || name == "a subscription" {
				if err != nil || len(s.Accounts()) != 0 || len(again.Accounts()) != 0 {
					t.Errorf("%v; there are %q, and %q after a restart", err, s.Accounts(), again.Accounts())
				}
				if after := keys(); after > bare+3 { // the counters of accounts and folders, and of what was deleted
					t.Errorf("%d keys are left, of %d", after, before)
				}
				return
			}
			if !errors.Is(err, ErrInUse) || len(s.Accounts()) != 1 || len(again.Accounts()) != 1 {
				t.Errorf("%v; there are %q, and %q after a restart", err, s.Accounts(), again.Accounts())
			}
			if after := keys(); after != before || !slices.Equal(a.Folders(), folders) {
				t.Errorf("%d keys of %d are left, and the folders %v of %v", after, before, a.Folders(), folders)
			}
		})
	}
}
