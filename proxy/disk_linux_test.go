package proxy

import (
	"errors"
	"fmt"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"golang.org/x/sys/unix"

	spoolserver "mailproxy/spool/server"
)

// smallDisk mounts a file system in memory of so many MiB, and returns it with what
// changes its size. It takes no memory but what is written to it.
func smallDisk(t *testing.T, size int) (dir string, resize func(size int)) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=700", size)); err != nil {
		t.Skipf("no file system can be mounted here (it takes root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir, func(size int) {
		t.Helper()
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%dm", size)); err != nil {
			t.Fatal(err)
		}
	}
}

// fill makes a file of all that is free.
func fill(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 1<<20))
	}
	if errors.Is(err, unix.ENOSPC) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// TestFullDisk has the disk fill up beneath a daemon, and some of it freed again. SMTP
// and IMAP refuse for the time being and say why, what comes waits in the spool, and
// then all goes on: nothing is lost, and nothing doubled.
func TestFullDisk(t *testing.T) {
	const roomy, full = reserve>>20 + 300, reserve>>20 - 16 // MiB
	p := newProvider(t, spoolserver.OpenPolicy())
	other := p.computer(t.TempDir()).run()
	other.add(restoredUser)
	dir, resize := smallDisk(t, roomy) // ends after its daemon
	c := p.computer(dir).run()
	c.add(mover)
	other.send(restoredUser, mover, "before")
	c.gets(mover, "before")

	resize(full)
	try := func() error {
		s, err := smtp.Dial(c.daemon.Address("smtp").String())
		if err != nil {
			return err
		}
		defer s.Close()
		if err = s.Auth(smtp.PlainAuth("", mover, password, "127.0.0.1")); err == nil {
			err = s.Mail(mover)
		}
		if err == nil {
			err = s.Rcpt(restoredUser)
		}
		if err != nil {
			return err
		}
		w, err := s.Data()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "From: %s\r\nTo: %s\r\nSubject: tried\r\n\r\nhello\r\n", mover, restoredUser)
		return errors.Join(err, w.Close())
	}
	var answer *textproto.Error
	if err := try(); !errors.As(err, &answer) || answer.Code != 452 || !strings.HasPrefix(answer.Msg, "4.3.1 ") || !strings.Contains(answer.Msg, "room") {
		t.Errorf("SMTP on a full disk: %v", err)
	}
	client, err := imapclient.DialInsecure(c.daemon.Address("imap").String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Login(mover, password).Wait(); err != nil {
		t.Fatalf("log in on a full disk: %v", err)
	}
	store := func() error {
		const draft = "From: " + mover + "\r\nSubject: draft\r\n\r\nhello\r\n"
		a := client.Append("INBOX", int64(len(draft)), nil)
		_, err := a.Write([]byte(draft))
		err = errors.Join(err, a.Close())
		_, werr := a.Wait()
		return errors.Join(err, werr)
	}
	var refused *goimap.Error
	if err := store(); !errors.As(err, &refused) || refused.Type != goimap.StatusResponseTypeNo || !strings.Contains(refused.Text, "free some room") {
		t.Errorf("IMAP on a full disk: %v", err)
	}
	other.send(restoredUser, mover, "meanwhile")
	p.until("the user to be told", func() bool {
		return strings.Contains(c.daemon.Status().Accounts[0].Problem, "there is no room on this computer's disk: new mail waits at north.test")
	})
	// What was there can be read, and nothing else has come.
	c.gets(mover, "before")
	if _, err := client.Select("INBOX", nil).Wait(); err != nil {
		t.Errorf("select on a full disk: %v", err)
	}

	// Another program takes all that is left. What a mail program marks is small, and
	// would end the process all the same if it were written.
	greedy := filepath.Join(dir, "greedy")
	if err := fill(greedy); err != nil {
		t.Fatal(err)
	}
	mark := func() error {
		return client.Store(goimap.SeqSetNum(1), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagFlagged}}, nil).Close()
	}
	if err := mark(); !errors.As(err, &refused) || refused.Type != goimap.StatusResponseTypeNo || !strings.Contains(refused.Text, "free some room") {
		t.Errorf("STORE without a byte on the disk: %v", err)
	}
	body := &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{{Specifier: goimap.PartSpecifierText}}}
	if got, err := client.Fetch(goimap.SeqSetNum(1), body).Collect(); err != nil || len(got) != 1 || len(got[0].BodySection) != 1 {
		t.Errorf("read an unseen mail without a byte on the disk: %+v, %v", got, err)
	}
	if _, err := client.Move(goimap.SeqSetNum(1), "Trash").Wait(); !errors.As(err, &refused) || !strings.Contains(refused.Text, "free some room") {
		t.Errorf("MOVE without a byte on the disk: %v", err)
	}
	if err := try(); !errors.As(err, &answer) || answer.Code != 452 {
		t.Errorf("SMTP without a byte on the disk: %v", err)
	}
	c.gets(mover, "before")
	if err := os.Remove(greedy); err != nil {
		t.Fatal(err)
	}
	if err := mark(); err != nil {
		t.Errorf("STORE when a little room is back: %v", err)
	}

	resize(roomy)
	c.gets(mover, "before", "meanwhile")
	if err := try(); err != nil {
		t.Errorf("SMTP when there is room: %v", err)
	}
	if err := store(); err != nil {
		t.Errorf("IMAP when there is room: %v", err)
	}
	other.gets(restoredUser, "tried")
	p.until("the problem to pass", func() bool { return c.daemon.Status().Accounts[0].Problem == "" })
	time.Sleep(100 * time.Millisecond) // for what may be doubled
	c.gets(mover, "before", "draft", "meanwhile")
	other.gets(restoredUser, "tried")
}
