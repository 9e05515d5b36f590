package transfer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"filippo.io/age"

	"mailproxy/internal/store"
)

const passphrase = "correct horse battery staple"

func newStore(t *testing.T) *store.Store {
	t.Helper()
	st, err := store.Open(store.Options{Dir: t.TempDir(), Key: bytes.Repeat([]byte{1}, store.KeySize)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// content returns all records of a store but its own.
func content(t *testing.T, st *store.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := st.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{}, func(i store.Item) error {
			v, err := i.Value()
			if !store.Own(i.Key) {
				all[string(i.Key)] = string(v)
			}
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// filled returns a store with small and large values, empty ones, and keys of any bytes.
func filled(t *testing.T) *store.Store {
	t.Helper()
	st := newStore(t)
	for part := range 6 {
		err := st.Update(func(tx *store.Tx) error {
			for i := range 500 {
				if err := tx.Set(fmt.Appendf(nil, "a/%d/%d\x00\xff", part, i), bytes.Repeat([]byte{byte(i)}, i)); err != nil {
					return err
				}
			}
			return tx.Set(fmt.Appendf(nil, "mail/%d", part), bytes.Repeat([]byte{byte(part)}, 256<<10))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return st
}

func header() *Header {
	return &Header{ID: bytes.Repeat([]byte{3}, 16), Made: 1, Addresses: []string{"a@north.test"}, Document: []byte("document")}
}

func written(t *testing.T, st *store.Store, leave func([]byte) bool) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(t.Context(), &b, passphrase, 10, header(), st, leave, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func nothing([]byte) bool { return false }

// TestThereAndBack checks that what is written is read, all of it and no more, and that
// nothing of it can be seen in the file.
func TestThereAndBack(t *testing.T) {
	from := filled(t)
	for _, test := range []struct {
		what  string
		leave func([]byte) bool
	}{
		{"everything", nothing},
		{"all but mail", func(k []byte) bool { return bytes.HasPrefix(k, []byte("mail/")) }},
	} {
		file := written(t, from, test.leave)
		if bytes.Contains(file, []byte("north.test")) || bytes.Contains(file, []byte("document")) {
			t.Errorf("%s: the file says what is in it", test.what)
		}
		r, err := Open(bytes.NewReader(file), passphrase)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(r.Header), fmt.Sprint(*header()); got != want {
			t.Errorf("header %s, want %s", got, want)
		}
		to := newStore(t)
		var seen int64
		if err := r.Into(t.Context(), to, func(n int64) { seen = n }); err != nil {
			t.Fatal(err)
		}
		want := content(t, from)
		maps.DeleteFunc(want, func(k, _ string) bool { return test.leave([]byte(k)) })
		if got := content(t, to); !maps.Equal(got, want) || r.Records() != uint64(len(want)) || seen == 0 {
			t.Errorf("%s: %d records of %d, %d said, progress %d", test.what, len(got), len(want), r.Records(), seen)
		}
	}
}

// read reads a whole file.
func read(file []byte, passphrase string) error {
	r, err := Open(bytes.NewReader(file), passphrase)
	if err != nil {
		return err
	}
	return r.Each(context.Background(), func([]byte, []byte) error { return nil })
}

// TestRefusals checks what is said of files that cannot be used.
func TestRefusals(t *testing.T) {
	st := newStore(t)
	if err := st.Update(func(tx *store.Tx) error { return tx.Set([]byte("k"), bytes.Repeat([]byte("v"), 200_000)) }); err != nil {
		t.Fatal(err)
	}
	file := written(t, st, nothing)
	altered := bytes.Clone(file)
	altered[len(altered)-1000] ^= 1
	for _, test := range []struct {
		what       string
		file       []byte
		passphrase string
		want       error
	}{
		{"whole", file, passphrase, nil},
		{"wrong passphrase", file, "another", ErrPassphrase},
		{"altered", altered, passphrase, ErrDamaged},
		{"empty", nil, passphrase, ErrForeign},
		{"a mail", []byte("From: a@north.test\r\n\r\nhello, here is something longer\r\n"), passphrase, ErrForeign},
		{"cut within age's header", file[:60], passphrase, ErrDamaged},
		{"cut behind age's header", file[:200], passphrase, ErrDamaged},
		{"cut at the end of a piece", file[:len(file)-len(file)%65536], passphrase, ErrDamaged},
		{"without its last byte", file[:len(file)-1], passphrase, ErrDamaged},
		{"with a byte more", append(bytes.Clone(file), 0), passphrase, ErrDamaged},
	} {
		if err := read(test.file, test.passphrase); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.what, err, test.want)
		}
	}
	// One of age's that somebody else made, and one of a newer program.
	for plain, want := range map[string]error{
		"something else altogether, long enough": ErrForeign,
		preamble + "\x00\x00\x00\x02 and more":   ErrNewer,
		preamble + "\x00\x00\x00\x01":            ErrDamaged,
	} {
		var b bytes.Buffer
		to, err := age.NewScryptRecipient(passphrase)
		if err != nil {
			t.Fatal(err)
		}
		to.SetWorkFactor(10)
		w, err := age.Encrypt(&b, to)
		if err == nil {
			_, err = io.WriteString(w, plain)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := read(b.Bytes(), passphrase); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", plain, err, want)
		}
	}
}

// TestFrames checks what is refused inside the encryption.
func TestFrames(t *testing.T) {
	plain := func(frames ...*frame) []byte {
		var b bytes.Buffer
		b.Write(binary.BigEndian.AppendUint32([]byte(preamble), Format))
		for _, f := range frames {
			if err := writeFrame(&b, f); err != nil {
				t.Fatal(err)
			}
		}
		return b.Bytes()
	}
	head := &frame{Header: header()}
	record := &frame{Key: []byte("k"), Value: []byte("v")}
	end := func(n uint64) *frame { return &frame{End: true, Count: n} }
	for _, test := range []struct {
		what  string
		plain []byte
		good  bool
	}{
		{"all there", plain(head, record, end(1)), true},
		{"nothing there", plain(head, end(0)), true},
		{"no header", plain(record, end(1)), false},
		{"two headers", plain(head, head, end(0)), false},
		{"no end", plain(head, record), false},
		{"a record too few", plain(head, record, end(2)), false},
		{"a record too many", plain(head, record, record, end(1)), false},
		{"more after the end", plain(head, record, end(1), record), false},
		{"a record of the store's own", plain(head, &frame{Key: []byte("\x00store/version")}, end(1)), false},
		{"a promise of four gigabytes", slices.Concat(plain(head), []byte{255, 255, 255, 255}), false},
		{"a frame that is no CBOR", slices.Concat(plain(head), []byte{0, 0, 0, 1, 0xff}), false},
	} {
		r, err := begin(bytes.NewReader(test.plain))
		if err == nil {
			err = r.Each(t.Context(), func([]byte, []byte) error { return nil })
		}
		if (err == nil) != test.good || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", test.what, err)
		}
	}
}

// FuzzFrames reads any plaintext. It ends, and takes no more memory than it is given.
func FuzzFrames(f *testing.F) {
	var b bytes.Buffer
	b.Write(binary.BigEndian.AppendUint32([]byte(preamble), Format))
	for _, fr := range []*frame{{Header: header()}, {Key: []byte("k"), Value: []byte("v")}, {End: true, Count: 1}} {
		if err := writeFrame(&b, fr); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b.Bytes())
	f.Add([]byte(preamble))
	f.Fuzz(func(t *testing.T, plain []byte) {
		r, err := begin(bytes.NewReader(plain))
		if err != nil {
			return
		}
		var n int
		err = r.Each(t.Context(), func(k, v []byte) error {
			n += len(k) + len(v)
			return nil
		})
		if n > len(plain) {
			t.Errorf("%d bytes of records from %d", n, len(plain))
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	})
}
