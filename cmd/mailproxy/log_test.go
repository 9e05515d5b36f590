package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLogIsSparing: who has the daemon refuse them again and again does not fill the log,
// and what else there is to say is said.
func TestLogIsSparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(newSparing(slog.NewTextHandler(&out, nil)))
		refused := func(n int) int {
			out.Reset()
			for i := range n {
				log.With("i", i).Warn("refused", "again", i)
			}
			return strings.Count(out.String(), "msg=refused")
		}
		if n := refused(300); n != sparingLines || !strings.Contains(out.String(), "more_are_counted_for=1h") {
			t.Errorf("300 refusals are %d lines:\n%s", n, &out)
		}
		out.Reset()
		log.Error("something else", "err", io.EOF)
		if !strings.Contains(out.String(), "something else") {
			t.Error("another message is not in the log")
		}
		time.Sleep(sparingEvery - time.Second)
		if n := refused(1); n != 0 {
			t.Errorf("%d lines within the hour", n)
		}
		time.Sleep(time.Second)
		if n := refused(1); n != 1 || !strings.Contains(out.String(), "left_out_before=291") {
			t.Errorf("after an hour:\n%s", &out)
		}
		out.Reset()
		for i := range 3 * sparingMessages {
			log.Warn(fmt.Sprint("message ", i))
		}
		if n := strings.Count(out.String(), "\n"); n > sparingMessages+sparingLines {
			t.Errorf("%d lines of messages that are all different", n)
		}
	})
	var c cli
	if _, ok := c.Logger().Handler().(sparing); !ok {
		t.Error("the program's log is not sparing")
	}
}

// TestLogIsCut has a process append to a log that is too large.
func TestLogIsCut(t *testing.T) {
	dir := t.TempDir()
	if err := cutLog(dir); err != nil {
		t.Errorf("without a log: %v", err)
	}
	name := filepath.Join(dir, logFile)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(s string) {
		t.Helper()
		if _, err := f.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	write(strings.Repeat("x", mostLog))
	if err := cutLog(dir); err != nil || len(read(name)) != mostLog {
		t.Errorf("a log of the most bytes: %d, %v", len(read(name)), err)
	}
	for _, last := range []string{"first end\n", "second end\n"} {
		write(strings.Repeat("y", mostLog) + last)
		if err := cutLog(dir); err != nil {
			t.Fatal(err)
		}
		if old := read(name + oldLog); len(old) != mostLog || !strings.HasSuffix(old, last) {
			t.Errorf("the old log has %d bytes", len(old))
		}
		write("goes on\n")
		if now := read(name); now != "goes on\n" {
			t.Errorf("the log is %d bytes", len(now))
		}
	}
	if i, err := os.Stat(name + oldLog); err != nil || i.Mode().Perm()&0o077 != 0 {
		t.Errorf("the old log has %v, %v", i.Mode(), err)
	}
}
