package inbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
)

const (
	alice = "alice@north.test"
	bob   = "bob@north.test"

	// killDir is the variable by which TestKill tells its child where its state is,
	// killUntil that with the number of messages after which the child ends; without
	// it the child goes on until it is killed.
	killDir   = "MAILPROXY_TEST_KILL_DIR"
	killUntil = "MAILPROXY_TEST_KILL_UNTIL"

	killMessages = 250
	killRounds   = 8
)

// killMessage is message n: of one block mostly, some of several, and a few of
// more than a mailbox writes in one go.
func killMessage(n int) []byte {
	size := 100
	switch {
	case n%60 == 7:
		size = 280_000
	case n%5 == 0:
		size = 20_000
	}
	m := fmt.Appendf(nil, "Subject: %d\r\n\r\n", n)
	r := mathrand.New(mathrand.NewPCG(uint64(n), 0))
	for range size {
		m = append(m, byte(r.Uint32()))
	}
	return m
}

// A receiver is an account that trusts on first use and notes receipts in the
// store.
type receiver struct {
	keys *keys.Account
	book *contacts.Book
	fail error // of Admit, unless nil
}

func receiptKey(id seal.ID) []byte { return append([]byte("test/receipt/"), id[:]...) }

func (r *receiver) Address() string           { return r.keys.Address() }
func (r *receiver) Recipient() seal.Recipient { return r.keys.Recipient() }

func (r *receiver) Admit(tx *store.Tx, said *seal.Header) (*contacts.Contact, contacts.Verdict, error) {
	if r.fail != nil {
		return nil, 0, r.fail
	}
	return r.book.Received(tx, said.Bundle)
}

func (r *receiver) Judge(tx *store.Tx, sender string, identity []byte, fetches uint64) (contacts.Verdict, error) {
	return r.book.Judge(tx, sender, identity, fetches)
}

func (r *receiver) Refused(tx *store.Tx, sender string) error { return r.book.Drop(tx, sender) }

func (r *receiver) Receive(content io.Reader, _ string, _ contacts.State) (*Received, error) {
	return &Received{Mail: content}, nil
}

func (r *receiver) Confirm(*store.Tx, string, seal.ID) error { return nil }

func (r *receiver) Receipt(tx *store.Tx, to string, id seal.ID) error {
	if ok, err := tx.Has(receiptKey(id)); err != nil || ok {
		return errors.Join(err, errors.New("a second receipt for one message"))
	}
	return tx.Set(receiptKey(id), []byte(to))
}

// person makes an account's keys and mailbox, or finds them.
func person(st *store.Store, mail *mailbox.Store, address string) (*receiver, error) {
	if _, err := mail.CreateAccount(address); err != nil && !errors.Is(err, mailbox.ErrExists) {
		return nil, err
	}
	if err := keys.CreateIn(st, address, time.Now()); err != nil && !errors.Is(err, keys.ErrExists) {
		return nil, err
	}
	k, err := keys.Load(st, address, time.Now)
	if err != nil {
		return nil, err
	}
	book, err := contacts.NewBook(address, time.Now)
	return &receiver{keys: k, book: book}, err
}

// A message whose blocks are in the spool is delivered once, whenever the process
// is killed: while parts come, between the last part and the delivery, or after.
// It keeps its UID, and is remembered as seen together with its receipt.
func TestKill(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		if err := killChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if testing.Short() {
		t.Skip("kills processes")
	}
	w := &killWatch{t: t, dir: t.TempDir(), ids: map[seal.ID]int{}, uids: map[int]uint32{}}
	w.fill()
	for round := range killRounds {
		before := len(w.uids)
		if w.live("") == nil {
			t.Fatal("the child was not killed")
		}
		w.look()
		t.Logf("round %d: %d messages delivered", round, len(w.uids)-before)
	}
	if err := w.live(fmt.Sprint(killMessages)); err != nil {
		t.Fatal(err)
	}
	w.look()
	if len(w.uids) != killMessages || w.parts != 0 {
		t.Errorf("%d messages were delivered, want %d; %d parts are left", len(w.uids), killMessages, w.parts)
	}
	t.Logf("at a kill, %d messages had some parts, %d all parts and no delivery", w.partial, w.complete)
}

// killWatch is what TestKill knows.
type killWatch struct {
	t    *testing.T
	dir  string
	ids  map[seal.ID]int
	uids map[int]uint32 // of delivered messages

	parts             int // kept at the last look
	partial, complete int // messages, summed over all looks
}

func (w *killWatch) open() (*store.Store, *mailbox.Store) {
	w.t.Helper()
	st, err := store.Open(store.Options{Dir: filepath.Join(w.dir, "user")})
	if err != nil {
		w.t.Fatal(err)
	}
	mail, err := mailbox.Open(st, mailbox.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	return st, mail
}

// fill puts the blocks of all messages into bob's spool, those of neighbouring
// messages mixed.
func (w *killWatch) fill() {
	t := w.t
	t.Helper()
	st, mail := w.open()
	from, err := person(st, mail, alice)
	if err != nil {
		t.Fatal(err)
	}
	to, err := person(st, mail, bob)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := badgerstore.Open(badgerstore.Options{Dir: filepath.Join(w.dir, "spool")})
	if err != nil {
		t.Fatal(err)
	}
	bundle, signed := to.keys.Bundle()
	entry := server.Entry{Name: "bob", Identity: bundle.Identity, Version: bundle.Version, Spool: bundle.Spool, Bundle: *signed}
	if err := blocks.Publish(t.Context(), entry, server.Publication{Create: true, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	var mixed [][]byte
	put := func(keep int) {
		mathrand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		for ; len(mixed) > keep; mixed = mixed[1:] {
			_, err := blocks.Append(t.Context(), server.Append{
				Spool: bundle.Spool, ID: spool.BlockIDOf(mixed[0]), Block: mixed[0], Now: time.Now(),
				MaxBlocks: 1 << 20, MaxBytes: 1 << 40,
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := range killMessages {
		id := seal.ID{byte(n), byte(n >> 8), 1}
		w.ids[id] = n
		sealed, err := seal.Seal(seal.Message{ID: id, Kind: seal.KindMail, Content: killMessage(n)}, from.keys.Sender(), bundle)
		if err != nil {
			t.Fatal(err)
		}
		mixed = append(mixed, sealed...)
		put(10)
	}
	put(0)
	if err := errors.Join(blocks.Close(), st.Close()); err != nil {
		t.Fatal(err)
	}
}

// live runs a child and returns nil if it ended by itself and in order.
func (w *killWatch) live(until string) error {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKill$")
	child.Env = append(os.Environ(), killDir+"="+w.dir, killUntil+"="+until)
	var stderr bytes.Buffer
	child.Stderr = &stderr
	out, err := child.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		w.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "opening" && until == "" {
			time.AfterFunc(time.Duration(mathrand.IntN(250))*time.Millisecond, func() { child.Process.Kill() })
		}
	}
	err = child.Wait()
	if stderr.Len() > 0 {
		w.t.Fatalf("the child ended with %v: %s", err, stderr.String())
	}
	return err
}

// look compares mailbox, ids seen, receipts and parts with each other, and with
// what was there before.
func (w *killWatch) look() {
	t := w.t
	t.Helper()
	st, mail := w.open()
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	account, err := mail.Account(bob)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := account.Folder(mailbox.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := folder.Messages()
	if err != nil {
		t.Fatal(err)
	}
	there := map[int]uint32{}
	for _, m := range messages {
		raw, err := folder.Bytes(m)
		if err != nil {
			t.Fatal(err)
		}
		n := -1
		if _, err := fmt.Sscanf(string(raw[:min(len(raw), 30)]), "Subject: %d", &n); err != nil || !bytes.Equal(raw, killMessage(n)) {
			t.Errorf("uid %d is message %d and has other bytes", m.UID, n)
		}
		if other, twice := there[n]; twice {
			t.Errorf("message %d was delivered twice, as uid %d and as %d", n, other, m.UID)
		}
		there[n] = m.UID
	}
	for n, uid := range w.uids {
		if there[n] != uid {
			t.Errorf("message %d had uid %d and has %d", n, uid, there[n])
		}
	}
	w.uids = there
	err = st.View(func(tx *store.Tx) error {
		who := &Inbox{cfg: Config{Store: st, Account: &receiver{keys: w.loaded(st)}}, partial: map[seal.ID]*partial{}}
		for id, n := range w.ids {
			seen, err := tx.Has(who.key(kindSeen, id[:]...))
			if err != nil {
				return err
			}
			receipt, err := tx.Has(receiptKey(id))
			if err != nil {
				return err
			}
			if _, delivered := there[n]; delivered != seen || delivered != receipt {
				t.Errorf("message %d: delivered %v, seen %v, receipt %v", n, delivered, seen, receipt)
			}
		}
		if err := who.load(); err != nil {
			return err
		}
		w.parts = who.parts
		for id, p := range who.partial {
			if _, delivered := there[w.ids[id]]; delivered {
				t.Errorf("message %d was delivered, and %d parts of it are left", w.ids[id], len(p.have))
			}
			if len(p.have) == int(p.count) {
				w.complete++
			} else {
				w.partial++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *killWatch) loaded(st *store.Store) *keys.Account {
	w.t.Helper()
	k, err := keys.Load(st, bob, time.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

// A message that cannot be delivered when the daemon starts, for want of disk say,
// does not keep the rest of the mail from the user, and is delivered later.
func TestStartWithUndeliverable(t *testing.T) {
	w := &killWatch{t: t, dir: t.TempDir()}
	st, mail := w.open()
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	from, err := person(st, mail, alice)
	if err != nil {
		t.Fatal(err)
	}
	to, err := person(st, mail, bob)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Store: st, Mailbox: mail, Account: to}
	in, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	bundle, _ := to.keys.Bundle()
	blocks, err := seal.Seal(seal.Message{ID: seal.ID{1}, Kind: seal.KindMail, Content: killMessage(1)}, from.keys.Sender(), bundle)
	if err != nil {
		t.Fatal(err)
	}
	to.fail = store.ErrFull
	for _, b := range blocks {
		if err := in.Store(b, 0, mixclient.Timing{}); err != nil {
			t.Fatal(err) // the part is safe
		}
	}
	if in, err = Open(cfg); err != nil {
		t.Fatalf("Open: %v", err)
	}
	if err := in.Tend(); !errors.Is(err, store.ErrFull) {
		t.Fatalf("Tend = %v", err)
	}
	to.fail = nil
	for range 2 {
		if err := in.Tend(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := delivered(mail); n != 1 || err != nil {
		t.Fatalf("%d messages delivered, %v", n, err)
	}
}
