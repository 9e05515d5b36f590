package outbox

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/seal"
	"mailproxy/spool/badgerstore"
)

const (
	// killDir is the variable by which TestKill tells its child where its state is,
	// killFrom that with the number of the first message to submit; without it the
	// child submits none and ends when all are in their spools.
	killDir  = "MAILPROXY_TEST_KILL_DIR"
	killFrom = "MAILPROXY_TEST_KILL_FROM"
	// killWithdraw, if it is set, has the child withdraw every other message.
	killWithdraw = "MAILPROXY_TEST_KILL_WITHDRAW"

	// killSpan is how many message numbers a round has to itself.
	killSpan = 1_000_000
	// mostRounds is how many kills are tried for one at a moment that shows something.
	mostRounds = 40

	thirdAddress = "carol@north.test"
)

// killMessage is message n: mostly of one block, some of several, a few of more
// than one chunk of the outbox.
func killMessage(n int) []byte {
	size := n % 3000
	switch {
	case n%17 == 0:
		size = chunkSize + 20_000
	case n%4 == 0:
		size = 20_000
	}
	m := fmt.Appendf(nil, "Subject: %d\r\n\r\n", n)
	r := rand.New(rand.NewPCG(uint64(n), 0))
	for range size {
		m = append(m, byte(r.Uint32()))
	}
	return m
}

func killRecipients(n int) []string {
	return [][]string{{readerAddress}, {thirdAddress}, {readerAddress, thirdAddress}}[n%3]
}

// A message that was accepted is there after a kill at any moment, with all its
// recipients; what was sealed stays sealed as it was, block for block; a block
// that was acknowledged is not there any more. In the end each recipient has each
// message once.
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
	w := newKillWatch(t)
	sealed := 0
	for round := 0; round < 6 || sealed == 0 && round < mostRounds; round++ {
		before := len(w.accepted)
		if w.live(strconv.Itoa((round+1)*killSpan)) == nil {
			t.Fatal("the child was not killed")
		}
		w.look()
		t.Logf("round %d: %d messages accepted", round, len(w.accepted)-before)
		sealed = 0
		for _, p := range w.parts {
			if p.half {
				sealed++
			}
		}
	}
	if err := w.live(""); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.checkSpools()
	if len(w.accepted) == 0 || sealed == 0 {
		t.Errorf("%d messages were accepted, %d copies were on their way at a kill: that shows nothing", len(w.accepted), sealed)
	}
	t.Logf("%d messages accepted, %d copies half sent at a kill", len(w.accepted), sealed)
}

// What was withdrawn before a kill reaches nobody after it, and what was not is not
// lost by that.
func TestKillWithdrawing(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	w := newKillWatch(t)
	t.Setenv(killWithdraw, "1")
	withdrawn := 0
	for round := 0; round < 4 || withdrawn == 0 && round < mostRounds; round++ {
		if w.live(strconv.Itoa((round+1)*killSpan)) == nil {
			t.Fatal("the child was not killed")
		}
		w.look()
		withdrawn = 0
		for _, s := range w.withdrawn {
			if s == stateWithdrawn {
				withdrawn++
			}
		}
	}
	if err := w.live(""); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.checkSpools()
	if withdrawn == 0 {
		t.Error("none was withdrawn in time: that shows nothing")
	}
	t.Logf("%d messages accepted, %d of %d copies withdrawn in time", len(w.accepted), withdrawn, len(w.withdrawn))
}

// killWatch is what TestKill knows.
type killWatch struct {
	t        *testing.T
	dir      string
	accepted map[int]bool
	parts    map[string]*killPart // by message and recipient
	// withdrawing are messages of which that was begun, and withdrawn what was said of
	// it, by message and recipient.
	withdrawing map[int]bool
	withdrawn   map[string]string
}

func newKillWatch(t *testing.T) *killWatch {
	return &killWatch{
		t: t, dir: t.TempDir(), accepted: map[int]bool{}, parts: map[string]*killPart{},
		withdrawing: map[int]bool{}, withdrawn: map[string]string{},
	}
}

// killPart is what was last seen of a message to one recipient.
type killPart struct {
	state  State
	sealed seal.ID
	blocks map[uint32][32]byte // hashes; those that are acknowledged are deleted
	half   bool                // it was seen with some blocks acknowledged and others not
}

// live runs a child and returns nil if it ended by itself and in order.
func (w *killWatch) live(from string) error {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKill$")
	child.Env = append(os.Environ(), killDir+"="+w.dir, killFrom+"="+from)
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
	said, enough := 0, 2+rand.IntN(8) // withdrawals until the kill
	for lines.Scan() {
		var n int
		switch {
		case lines.Text() == "ready" && from != "" && os.Getenv(killWithdraw) == "":
			time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, func() { child.Process.Kill() })
		case strings.HasPrefix(lines.Text(), "accepted "):
			if _, err := fmt.Sscanf(lines.Text(), "accepted %d", &n); err == nil {
				w.accepted[n] = true
			}
		case strings.HasPrefix(lines.Text(), "withdrawing "):
			if _, err := fmt.Sscanf(lines.Text(), "withdrawing %d", &n); err == nil {
				w.withdrawing[n] = true
			}
		case strings.HasPrefix(lines.Text(), "withdrew "):
			var address, state string
			if _, err := fmt.Sscanf(lines.Text(), "withdrew %d %s %s", &n, &address, &state); err == nil {
				w.withdrawn[fmt.Sprintf("%d to %s", n, address)] = strings.TrimSuffix(state, ".")
			}
			if said++; said == enough {
				time.AfterFunc(time.Duration(rand.IntN(50))*time.Millisecond, func() { child.Process.Kill() })
			}
		}
	}
	err = child.Wait()
	if stderr.Len() > 0 {
		w.t.Fatalf("the child ended with %v: %s", err, stderr.String())
	}
	return err
}

// look compares what is in the outbox with what was there before.
func (w *killWatch) look() {
	w.t.Helper()
	st, err := store.Open(store.Options{Dir: filepath.Join(w.dir, "outbox")})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			w.t.Error(err)
		}
	}()
	there := map[int]bool{}
	o := &Outbox{cfg: Config{Store: st}}
	err = st.View(func(tx *store.Tx) error {
		return tx.Iterate(store.Range{Prefix: prefix(kindMessage), Values: true}, func(i store.Item) error {
			v, err := i.Value()
			if err != nil {
				return err
			}
			m, err := decodeMessage(v)
			if err != nil {
				return err
			}
			id := ID(i.Key[len(prefix(kindMessage)):])
			content, err := io.ReadAll(o.content(id))
			if err != nil {
				return err
			}
			n := killNumber(content)
			if there[n] {
				w.t.Errorf("message %d is there twice", n)
			}
			there[n] = true
			if want := killMessage(n); !m.HeaderOnly && !bytes.Equal(content, want) || !bytes.HasPrefix(want, content) {
				w.t.Errorf("message %d has other content", n)
			}
			return w.lookAt(tx, id, n)
		})
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for n := range w.accepted {
		if !there[n] && !w.withdrawing[n] {
			w.t.Errorf("message %d was accepted and is gone", n)
		}
	}
}

func killNumber(content []byte) int {
	var n int
	if _, err := fmt.Sscanf(string(content[:min(len(content), 40)]), "Subject: %d", &n); err != nil {
		return -1
	}
	return n
}

// lookAt compares the recipients of message n.
func (w *killWatch) lookAt(tx *store.Tx, id ID, n int) error {
	var have []string
	err := tx.Iterate(store.Range{Prefix: key(kindRecipient, id), Values: true}, func(i store.Item) error {
		v, err := i.Value()
		if err != nil {
			return err
		}
		r, err := decodeRecipient(v)
		if err != nil {
			return err
		}
		have = append(have, r.Address)
		name := fmt.Sprintf("%d to %s", n, r.Address)
		if (w.withdrawn[name] == stateWithdrawn) != (r.word() == stateWithdrawn) && w.withdrawn[name] != "" {
			w.t.Errorf("message %s was %s when it was to be withdrawn, and is %s", name, w.withdrawn[name], r.word())
		}
		blocks := map[uint32][32]byte{}
		err = tx.Iterate(store.Range{Prefix: key(kindBlock, id, number(i.Key)), Values: true}, func(b store.Item) error {
			v, err := b.Value()
			blocks[number(b.Key)] = sha256.Sum256(v)
			return err
		})
		if err != nil {
			return err
		}
		w.compare(name, r, blocks)
		return nil
	})
	if err == nil && !slices.Equal(have, killRecipients(n)) {
		w.t.Errorf("message %d is for %v, was for %v", n, have, killRecipients(n))
	}
	return err
}

func (w *killWatch) compare(name string, r *recipient, blocks map[uint32][32]byte) {
	old := w.parts[name]
	p := &killPart{state: r.State, sealed: r.Sealed, blocks: blocks}
	w.parts[name] = p
	p.half = r.State == Sealed && len(blocks) > 0 && len(blocks) < int(r.Count) || old != nil && old.half
	if r.State == InSpool && len(blocks) > 0 {
		w.t.Errorf("message %s is in the spool, and %d of its blocks are still to go", name, len(blocks))
	}
	if old == nil || old.state == Queued {
		return
	}
	if r.State < old.state {
		w.t.Errorf("message %s was %v and is %v", name, old.state, r.State)
	}
	if r.Sealed != old.sealed {
		w.t.Errorf("message %s was sealed anew", name)
	}
	for i, hash := range blocks {
		switch was, ok := old.blocks[i]; {
		case !ok:
			w.t.Errorf("message %s: block %d was acknowledged and is to go again", name, i)
		case was != hash:
			w.t.Errorf("message %s: block %d has other bytes", name, i)
		}
	}
}

// checkSpools opens what is in the spools: each accepted message once, another at
// most once, and nothing that is not of a whole message.
func (w *killWatch) checkSpools() {
	t := w.t
	t.Helper()
	st, err := store.Open(store.Options{Dir: filepath.Join(w.dir, "outbox")})
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := badgerstore.Open(badgerstore.Options{Dir: filepath.Join(w.dir, "spool")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(st.Close(), blocks.Close()); err != nil {
			t.Error(err)
		}
	}()
	for _, address := range []string{readerAddress, thirdAddress} {
		account, err := keys.Load(st, address, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		parts := map[seal.ID][]*seal.Part{}
		for cursor := uint64(0); ; {
			r, err := blocks.Read(t.Context(), account.Spool(), cursor, 0)
			if err != nil {
				t.Fatal(err)
			}
			if r.Seq == 0 {
				break
			}
			cursor = r.Seq
			p, err := seal.OpenBlock(r.Block, account.Recipient())
			if err != nil {
				t.Fatalf("block %d for %s: %v", r.Seq, address, err)
			}
			parts[p.ID] = append(parts[p.ID], p)
		}
		arrived := map[int]bool{}
		for id, list := range parts {
			slices.SortFunc(list, func(a, b *seal.Part) int { return int(a.Index) - int(b.Index) })
			if len(list) != int(list[0].Count) {
				t.Fatalf("%d blocks of message %v are with %s, it has %d", len(list), id, address, list[0].Count)
			}
			opened, err := seal.AssembleParts(account.Recipient(), seal.MaxContent, list)
			if err != nil {
				t.Fatalf("message %v for %s: %v", id, address, err)
			}
			n := killNumber(opened.Content)
			if arrived[n] {
				t.Errorf("message %d is with %s twice", n, address)
			}
			arrived[n] = true
			if !bytes.Equal(opened.Content, killMessage(n)) {
				t.Errorf("message %d for %s has other content", n, address)
			}
		}
		for n := range w.accepted {
			said := w.withdrawn[fmt.Sprintf("%d to %s", n, address)]
			if w.withdrawing[n] && said == "" {
				continue // either is right
			}
			if (slices.Contains(killRecipients(n), address) && said != stateWithdrawn) != arrived[n] {
				t.Errorf("message %d for %v: with %s is %v", n, killRecipients(n), address, arrived[n])
			}
		}
	}
}
