package proxy

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"mailproxy/internal/store"
	"mailproxy/proxy/headers"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/outbox"
)

// inboxOf returns the messages in an account's Inbox.
func inboxOf(t *testing.T, d *Daemon, address string) (out []string) {
	t.Helper()
	mail, err := d.Mailbox(address)
	if err != nil {
		t.Fatal(err)
	}
	f, err := mail.Folder(mailbox.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.Messages()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		raw, err := f.Bytes(m)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(m.Flags, []string{mailbox.KeywordNotice}) {
			t.Errorf("what the daemon wrote has the flags %q", m.Flags)
		}
		out = append(out, string(raw))
	}
	return out
}

// TestLeaksAreToldOncePerKind sends signed mail that repeats header fields inside.
func TestLeaksAreToldOncePerKind(t *testing.T) {
	const me, password = "alice@north.test", "kangaroo-paw-42"
	dir := t.TempDir()
	d := openDaemon(t, dir, &versions{})
	if _, err := d.AddAccount(t.Context(), NewAccount{Address: me, Password: password, DisplayName: "Alice Example"}); err != nil {
		t.Fatal(err)
	}
	clean := func(name string) {
		t.Helper()
		msg, err := os.ReadFile("headers/testdata/protected/" + name + ".eml")
		if err != nil {
			t.Fatal(err)
		}
		cleaned, err := sending{d.account(me)}.Clean(bytes.NewReader(msg), &outbox.Submission{Account: me, From: me, Recipients: []outbox.Recipient{{Address: "bob@north.test"}}})
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(cleaned.Message)
		if err != nil {
			t.Fatal(err)
		}
		cleaned.Accepted()
		if _, body, _ := bytes.Cut(msg, []byte("\r\n\r\n")); !bytes.HasSuffix(out, body) {
			t.Errorf("%s is changed", name)
		}
	}
	expect := func(n int) []string {
		t.Helper()
		got := inboxOf(t, d, me)
		if len(got) != n {
			t.Fatalf("%d messages in the Inbox, want %d", len(got), n)
		}
		return got
	}
	clean("smime-signed")
	clean("pgp-encrypted")
	expect(0)

	var wg sync.WaitGroup
	for range 5 { // a mail program has several connections
		wg.Go(func() { clean("pgp-signed-thunderbird") })
	}
	wg.Wait()
	text := strings.Join(strings.Fields(strings.ReplaceAll(expect(1)[0], "=\r\n", "")), " ")
	for _, want := range []string{"From: mailproxy", "To: <" + me + ">", "message ids of your mail program", "address book", "The mail goes out as it is"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the warning:\n%s", want, text)
		}
	}
	if strings.Contains(text, "Bcc") || strings.Contains(text, "User-Agent") {
		t.Errorf("the warning names what was not there:\n%s", text)
	}

	// What was told is remembered beyond the warning's deletion and a restart; a
	// further mail is told of for the kinds that are new.
	closeDaemon(t, d)
	d = openDaemon(t, dir, &versions{})
	defer func() { closeDaemon(t, d) }()
	clean("pgp-signed-thunderbird")
	expect(1)
	clean("rfc9788-signed")
	text = strings.Join(strings.Fields(strings.ReplaceAll(expect(2)[1], "=\r\n", "")), " ")
	if !strings.Contains(text, "Bcc") || strings.Contains(text, "address book") {
		t.Errorf("the second warning:\n%s", text)
	}
	clean("rfc9788-signed")
	clean("smime-wrapped")
	expect(2)

	if err := d.eraseRest(me); err != nil {
		t.Fatal(err)
	}
	err := d.store.View(func(tx *store.Tx) error {
		told, err := readLeaksTold(tx, me)
		if told != 0 {
			t.Errorf("%v is left of an account that was deleted", told.Texts())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLeaksText has a sentence for all kinds, which hold no line break.
func TestLeaksText(t *testing.T) {
	text := leaksText(^headers.Leaks(0))
	if strings.ContainsAny(text, "\r\n") || !strings.Contains(text, "Bcc") || !strings.Contains(text, "Received") {
		t.Error(text)
	}
}

// TestAutocryptIsTheUsersToSwitchOn: the fields are removed unless the configuration says
// otherwise, and from an alias's mail always.
func TestAutocryptIsTheUsersToSwitchOn(t *testing.T) {
	const me, other = "alice@north.test", "shop@north.test"
	d := openDaemon(t, t.TempDir(), &versions{})
	defer closeDaemon(t, d)
	for _, addr := range []string{me, other} {
		if _, err := d.AddAccount(t.Context(), NewAccount{Address: addr, Password: "kangaroo-paw-42"}); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(a *account) bool {
		t.Helper()
		addr := a.keys.Address()
		msg := "From: " + addr + "\r\nTo: bob@north.test\r\nAutocrypt: addr=" + addr + "; keydata=xx\r\nOpenPGP: id=1234\r\n\r\nhello\r\n"
		cleaned, err := sending{a}.Clean(strings.NewReader(msg), &outbox.Submission{Account: addr, From: addr, Recipients: []outbox.Recipient{{Address: "bob@north.test"}}})
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(cleaned.Message)
		if err != nil {
			t.Fatal(err)
		}
		autocrypt, openpgp := bytes.Contains(out, []byte("\r\nAutocrypt: ")), bytes.Contains(out, []byte("\r\nOpenPGP: "))
		if autocrypt != openpgp {
			t.Errorf("one of the two is kept:\n%s", out)
		}
		return autocrypt
	}
	if DefaultConfig().Mail.Autocrypt || kept(d.account(me)) {
		t.Error("the fields are sent without having been asked for")
	}
	d.opt.KeepAutocrypt = true
	if !kept(d.account(me)) {
		t.Error("the fields are not sent where the user says so")
	}
	if !kept(d.account(other)) {
		t.Error("the fields of another account are not sent")
	}
	alias := &account{d: d, keys: d.account(other).keys, owner: me, record: &accountRecord{Address: other, Owner: me}}
	if kept(alias) {
		t.Error("the mail of an alias has the fields")
	}
}
