package mailbox

import (
	"errors"
	"testing"
	"time"

	"mailproxy/internal/store"
)

func TestDeleteAccount(t *testing.T) {
	st, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	s, err := Open(st, Options{})
	if err != nil {
		t.Fatal(err)
	}
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
