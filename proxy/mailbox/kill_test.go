package mailbox

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/store"
)

// killEnv holds the directory in which the child delivers until it is killed.
const killEnv = "MAILBOX_KILL_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		if err := deliverForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// killMessage is message n of the child: every third one is many chunks.
func killMessage(n int) []byte {
	body := fmt.Sprintf("Message-ID: <kill%d@x.test>\r\n\r\n%x\r\n", n, sha256.Sum256([]byte(strconv.Itoa(n))))
	if n%3 == 0 {
		body += strings.Repeat(fmt.Sprintf("line of %d\r\n", n), 60000)
	}
	return []byte(body)
}

// deliverForever prints the number and UID of each message once it is
// acknowledged, and expunges some, so that the counter is not the last UID.
func deliverForever(dir string) error {
	st, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		return err
	}
	mb, err := Open(st, Options{})
	if err != nil {
		return err
	}
	a, err := mb.Account("ann@north.test")
	if errors.Is(err, ErrNoAccount) {
		a, err = mb.CreateAccount("ann@north.test")
	}
	if err != nil {
		return err
	}
	first := rand.IntN(1 << 40)
	for n := first; ; n++ {
		id, err := a.Deliver(Inbox, killMessage(n), []string{FlagSeen}, time.Time{})
		if err != nil {
			return err
		}
		fmt.Printf("put %d %d\n", n, id.UID)
		if n%5 == 0 {
			f, err := a.Folder(Inbox)
			if err != nil {
				return err
			}
			fmt.Printf("removing %d\n", id.UID)
			if _, err := f.Remove([]uint32{id.UID}); err != nil {
				return err
			}
			fmt.Printf("removed %d\n", id.UID)
		}
	}
}

// TestKill kills a delivering process again and again. What it acknowledged is
// there, byte for byte; no UID was given twice; nothing is left over.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	acknowledged := make(map[uint32]int) // UID to message
	removing, removed := make(map[uint32]bool), make(map[uint32]bool)
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), killEnv+"="+dir)
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, started := bufio.NewScanner(out), false
		for lines.Scan() {
			if !started {
				started = true
				time.AfterFunc(time.Duration(rand.IntN(700))*time.Millisecond, func() { cmd.Process.Kill() })
			}
			var n int
			var uid uint32
			line := lines.Text()
			switch {
			case parse(line, "put %d %d", &n, &uid):
				if old, ok := acknowledged[uid]; ok {
					t.Errorf("uid %d is message %d and was message %d", uid, n, old)
				}
				acknowledged[uid] = n
			case parse(line, "removing %d", &uid):
				removing[uid] = true
			case parse(line, "removed %d", &uid):
				removed[uid] = true
			}
		}
		if err := cmd.Wait(); err == nil || !started || errOut.Len() > 0 {
			t.Fatalf("the child ended by itself: %v, %s", err, errOut.String())
		}
	}
	checkAfterKill(t, dir, acknowledged, removing, removed)
	t.Logf("%d messages acknowledged, %d removed", len(acknowledged), len(removed))
}

func parse(line, format string, args ...any) bool {
	n, err := fmt.Sscanf(line, format, args...)
	return err == nil && n == len(args)
}

func checkAfterKill(t *testing.T, dir string, acknowledged map[uint32]int, removing, removed map[uint32]bool) {
	t.Helper()
	w := &world{t: t, dir: dir}
	w.open()
	defer w.st.Close()
	f := w.folder(Inbox)
	list := must(f.Messages())(t)
	there := make(map[uint32]Message)
	chunked := 0
	for _, m := range list {
		there[m.UID] = m
		chunked += chunks(m.Size)
		raw := must(f.Bytes(m))(t)
		if n, ok := acknowledged[m.UID]; ok && !bytes.Equal(raw, killMessage(n)) {
			t.Errorf("message %d, uid %d, has other bytes", n, m.UID)
		}
	}
	for uid, n := range acknowledged {
		_, ok := there[uid]
		if !ok && !removing[uid] {
			t.Errorf("message %d, uid %d, was acknowledged and is lost", n, uid)
		}
		if ok && removed[uid] {
			t.Errorf("uid %d was removed and is back", uid)
		}
		if !ok || n%7 != 0 {
			continue
		}
		if !must(w.account().HasMessageID(fmt.Sprintf("kill%d@x.test", n)))(t) {
			t.Errorf("message %d is not in the index of ids", n)
		}
	}
	if n := w.count("mailbox/c/"); n != chunked {
		t.Errorf("%d chunks in the store, the messages have %d", n, chunked)
	}
	if n := w.count("mailbox/r/"); n != len(list) {
		t.Errorf("%d blobs, %d messages", n, len(list))
	}
	next := must(f.Status())(t).UIDNext
	for uid := range acknowledged {
		if uid >= next {
			t.Errorf("uid %d was given, and the next is %d", uid, next)
		}
	}
}
