package storekey

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zalando/go-keyring"

	"mailproxy/internal/durable"
)

// childEnv makes this test's binary the program that is killed: "DIR STEP".
const childEnv = "MAILPROXY_STOREKEY_CHILD"

func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		dir, n, _ := strings.Cut(arg, "\n")
		first, err := strconv.Atoi(n)
		if err == nil {
			err = changeForEver(dir, first)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// fileChain is a keychain that outlives a process: a file for each item.
type fileChain struct{ dir string }

func (c fileChain) path(name string) string {
	return filepath.Join(c.dir, hex.EncodeToString([]byte(name)))
}

func (c fileChain) Set(name, secret string) error {
	return durable.WriteFile(c.path(name), []byte(secret), 0o600)
}

func (c fileChain) Get(name string) (string, error) {
	b, err := os.ReadFile(c.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", keyring.ErrNotFound
	}
	return string(b), err
}

func (c fileChain) Delete(name string) error {
	err := os.Remove(c.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return keyring.ErrNotFound
	}
	return err
}

// step is the n-th change: the ways in turn, no passphrase or file twice.
func step(dir string, n int) To {
	switch n % 5 {
	case 0, 1:
		return passphrase(fmt.Sprintf("passphrase number %d", n))
	case 2:
		return To{Way: KeyFile, KeyFile: filepath.Join(dir, fmt.Sprintf("file-%d.key", n))}
	case 3:
		return To{Way: Keychain}
	}
	return To{Way: Plain}
}

// after opens what step n, or one that was killed before it was done, leaves.
func after(dir string, n int) Sources {
	return Sources{Keychain: fileChain{filepath.Join(dir, "chain")}, Passphrase: func(before int) (string, error) {
		return fmt.Sprintf("passphrase number %d", n-before), nil
	}}
}

func changeForEver(dir string, n int) error {
	data := filepath.Join(dir, "data")
	for ; ; n++ {
		fmt.Println("begin", n)
		if err := Change(data, after(dir, n-1), step(dir, n)); err != nil {
			return fmt.Errorf("step %d: %w", n, err)
		}
		fmt.Println("done", n)
	}
}

// TestKilledWhileChanging kills a program that does nothing but change how the key is
// kept. After each kill the key opens, in the way that was last said to be in force or
// in the next.
func TestKilledWhileChanging(t *testing.T) {
	const kills = 40
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	key, err := Open(data, Sources{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{filepath.Join(dir, "chain"), filepath.Join(data, StoreDir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	begun, done, midway := 4, 4, 0 // step 4 would have left it Plain, as it is
	for range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir+"\n"+strconv.Itoa(begun+1))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		var kill *time.Timer
		for lines.Scan() {
			if kill == nil { // the first step has begun
				kill = time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
			word, n, _ := strings.Cut(lines.Text(), " ")
			switch number, err := strconv.Atoi(n); {
			case err != nil:
			case word == "begin":
				begun = number
			case word == "done":
				done = number
			}
		}
		if kill != nil {
			kill.Stop()
		}
		if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
			t.Fatalf("the program ended by itself, %v: %s", err, stderr.String())
		}
		if begun != done {
			midway++
		}
		got, err := Open(data, after(dir, begun))
		if err != nil || !bytes.Equal(got, key) {
			t.Fatalf("killed in step %d, after %d: %v", begun, done, err)
		}
		info, err := Inspect(data)
		if err != nil {
			t.Fatal(err)
		}
		if old, next := step(dir, done).Way, step(dir, begun).Way; info.Way != old && info.Way != next {
			t.Errorf("it is kept as %s, neither %s nor %s", info.Way, old, next)
		}
		// Which of the two it is, is where the next one begins.
		now := after(dir, begun)
		now.Passphrase = says(fmt.Sprintf("passphrase number %d", begun))
		if _, err := Open(data, now); err != nil || info.Way != step(dir, begun).Way {
			begun = done
		}
		done = begun
	}
	t.Logf("kills=%d midway=%d changes=%d", kills, midway, done)
	if midway == 0 {
		t.Error("no kill came in the middle of a change")
	}
}
