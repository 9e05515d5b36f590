package proxy

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/store"
	spoolserver "mailproxy/spool/server"
)

// find returns in which files under dir one of the words is, in capitals or not, as
// it is or in base64 at any place.
func find(t *testing.T, dir string, words ...string) (found []string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b = bytes.TrimRight(b, "\x00") // logs are made larger than what is in them
		low := bytes.ToLower(b)
		for _, w := range words {
			if bytes.Contains(low, []byte(strings.ToLower(w))) {
				found = append(found, fmt.Sprintf("%s has %q", path, w))
			}
			for shift := range 3 { // what of a word does not depend on its neighbours
				code := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + w))
				if code = code[4 : len(code)-4]; len(code) >= 8 && bytes.Contains(b, []byte(code)) {
					found = append(found, fmt.Sprintf("%s has %q in base64", path, w))
				}
			}
			if strings.Contains(path[len(dir):], w) {
				found = append(found, path+" is its name")
			}
		}
		return nil
	})
	if err != nil || files < 5 {
		t.Fatalf("%d files, %v", files, err)
	}
	return found
}

// TestNothingReadableOnDisk searches all files of a daemon for what nobody shall read
// there: while it runs, and after.
func TestNothingReadableOnDisk(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	password, err := p.daemon.AddAccount(t.Context(), NewAccount{Address: restoredUser, DisplayName: "Ann Watermelon"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.daemon.WaitRegistered(t.Context(), restoredUser); err != nil {
		t.Fatal(err)
	}
	know(t, p.daemon, p.daemon.account(restoredUser), "contact@north.test")
	large := strings.Repeat("Watermelon-Body goes on and on.\r\n", 3000)
	box, err := p.daemon.Mailbox(restoredUser)
	if err != nil {
		t.Fatal(err)
	}
	if err := box.CreateFolder("Watermelon-Folder", ""); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"Watermelon-Body", large} {
		if _, err := box.Deliver("Watermelon-Folder", []byte("Subject: Watermelon-Subject\r\n\r\n"+body), []string{"Watermelon-Keyword"}, time.Now()); err != nil {
			t.Fatal(err)
		}
		// And what waits in the outbox.
		submit(t, p.daemon.Address("smtp").String(), restoredUser, password, "recipient@north.test", "From: "+restoredUser+"\r\nSubject: Watermelon-Subject\r\n\r\n"+body)
	}
	words := []string{restoredUser, "north.test", "contact@", "recipient@", "Watermelon", "goes on and on", password, "BEGIN PRIVATE KEY", "account/"}
	dir := p.daemon.opt.Dir
	for _, hit := range find(t, dir, words...) {
		t.Error("running:", hit)
	}
	closeDaemon(t, p.daemon)
	for _, hit := range find(t, dir, words...) {
		t.Error("stopped:", hit)
	}
}

// submit hands in mail.
func submit(t *testing.T, server, from, password, to, message string) {
	t.Helper()
	c, err := smtp.Dial(server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Auth(smtp.PlainAuth("", from, password, "127.0.0.1"))
	if err == nil {
		err = c.Mail(from)
	}
	if err == nil {
		err = c.Rcpt(to)
	}
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(message)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// The search of TestNothingReadableOnDisk finds what is there to be found.
func TestSearchFindsWhatIsReadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"a Watermelon", "large " + strings.Repeat("melon ", 1000), base64.StdEncoding.EncodeToString([]byte("of the Pomegranate tree"))} {
		if err := st.Update(func(tx *store.Tx) error { return tx.Set([]byte("key-"+v[:5]), []byte(v)) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"watermelon", "melon melon", "key-large", "Pomegranate"} {
		if len(find(t, dir, word)) == 0 {
			t.Errorf("%q is not found in a store that is not encrypted", word)
		}
	}
}
