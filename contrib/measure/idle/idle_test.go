package main

import (
	"bytes"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"mailproxy/contrib/measure/resident"
)

// TestProc measures this process, which is known to have been busy.
func TestProc(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	const block = 64 << 20
	before, err := processor(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	held := bytes.Repeat([]byte{1}, block)
	for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
		_ = bytes.Count(held[:1<<20], []byte{1}) // busy
	}
	after, err := processor(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if busy := after - before; busy < 10*time.Millisecond || busy > 10*time.Second {
		t.Errorf("%v on a processor in 200 ms of work", busy)
	}
	sizes, err := resident.Sizes(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if sizes["VmRSS"] < block || sizes["VmHWM"] < sizes["VmRSS"] || sizes["RssAnon"] < block {
		t.Errorf("with %d bytes held: %v", block, sizes)
	}
	runtime.KeepAlive(held)
}

// TestProfile checks that memory is found where it was allocated.
func TestProfile(t *testing.T) {
	held := make([][]byte, 64)
	for i := range held {
		held[i] = make([]byte, 1<<20)
	}
	var out strings.Builder
	printProfile(&out)
	if !strings.Contains(out.String(), "MiB  mailproxy/contrib/measure/idle\n") {
		t.Errorf("the profile does not name this package:\n%s", out.String())
	}
	runtime.KeepAlive(held)
}
