package mailbox

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"mailproxy/internal/store"
)

// TestDeliverReader: what comes in pieces is kept as what comes at once, and read
// back in pieces.
func TestDeliverReader(t *testing.T) {
	w := newWorld(t)
	for name, raw := range map[string][]byte{
		"empty":           {},
		"small":           []byte(letter(1)),
		"one chunk":       bytes.Repeat([]byte("x"), chunkSize),
		"one byte more":   bytes.Repeat([]byte("x"), chunkSize+1),
		"a batch":         bytes.Repeat([]byte("x\n"), batchSize/2),
		"several batches": append([]byte(letter(2)), bytes.Repeat([]byte("0123456789abcde\n"), 2*batchSize/16)...),
	} {
		t.Run(name, func(t *testing.T) {
			// HalfReader gives pieces of odd sizes.
			id, err := w.account().DeliverReader(Inbox, iotest.HalfReader(bytes.NewReader(raw)), nil, start)
			if err != nil {
				t.Fatal(err)
			}
			whole := w.deliver(Inbox, string(raw))
			f := w.folder(Inbox)
			m, n := must(f.Message(id.UID))(t), must(f.Message(whole.UID))(t)
			if m.Size != n.Size || m.WireSize != n.WireSize || m.Size != int64(len(raw)) {
				t.Errorf("size %d and %d, want %d and %d", m.Size, m.WireSize, n.Size, n.WireSize)
			}
			err = f.Content(m, func(c *Content) error {
				for _, span := range [][2]int64{{0, m.Size}, {m.Size / 3, m.Size / 2}, {m.Size, m.Size}} {
					want := raw[span[0]:span[1]]
					if err := iotest.TestReader(c.Reader(span[0], span[1]), want); len(want) < 1000 && err != nil {
						t.Error(err)
					}
					var got bytes.Buffer
					if _, err := io.Copy(&got, c.Reader(span[0], span[1])); err != nil || !bytes.Equal(got.Bytes(), want) {
						t.Errorf("%d bytes from %d came back, want %d: %v", got.Len(), span[0], len(want), err)
					}
					if got, err := io.ReadAll(io.LimitReader(c.Reader(span[0], span[1]), m.Size)); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes from %d were read, want %d: %v", len(got), span[0], len(want), err)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	keys := w.chunkKeys()
	w.reopen()
	if again := w.chunkKeys(); again != keys {
		t.Errorf("%d chunks after a restart, %d before: some belonged to nothing", again, keys)
	}
}

// TestDeliverReaderFails: of a message that did not arrive whole nothing is kept.
func TestDeliverReaderFails(t *testing.T) {
	w := newWorld(t)
	broken := errors.New("the connection broke")
	for _, n := range []int{0, 100, chunkSize, 3*batchSize + 5} {
		r := io.MultiReader(bytes.NewReader(make([]byte, n)), iotest.ErrReader(broken))
		if _, err := w.account().DeliverReader(Inbox, r, nil, start); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	if n := w.chunkKeys(); n != 0 {
		t.Errorf("%d chunks are left", n)
	}
	if uids := w.uids(Inbox); len(uids) != 0 {
		t.Errorf("messages %v are there", uids)
	}
}

// chunkKeys counts the chunks of all messages.
func (w *world) chunkKeys() (n int) {
	w.t.Helper()
	w.account()
	err := w.st.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: chunkPrefix}, func(store.Item) error { n++; return nil })
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}
