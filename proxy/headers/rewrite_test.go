package headers

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// TestRewrite reads mail in all portions: what comes out does not depend on them.
func TestRewrite(t *testing.T) {
	for _, msg := range []string{
		"", "\n", "\r\n", "\r\n\r\n", "Subject: x", "Subject: x\n", "Subject: x\r\n\r", "Subject: x\n\n", "\n\n", "\n\r",
		"From: alice@north.test\r\nTo: b@c.test\r\n\r\na\nb\r\nc\rd\r\r\n\n\r\n.\r",
		"Subject: " + strings.Repeat("x", bufferSize) + "\n y\n\n" + strings.Repeat("line\n", bufferSize) + "\r",
		"Subject: x\n\n" + strings.Repeat("x", bufferSize-13) + "\r\n\r\n",
	} {
		want, err := rewriteAll([]byte(msg), policy())
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.Index(string(want.Message), "\r\n\r\n"); i < 0 || strings.Contains(strings.ReplaceAll(string(want.Message[i:]), "\r\n", ""), "\n") {
			t.Errorf("%.40q became %.200q", msg, want.Message)
		}
		for name, in := range map[string]io.Reader{
			"bytes": iotest.OneByteReader(strings.NewReader(msg)), "halves": iotest.HalfReader(strings.NewReader(msg)),
			"end with data": iotest.DataErrReader(strings.NewReader(msg)),
		} {
			_, out, err := Rewrite(in, policy())
			if err != nil {
				t.Fatal(err)
			}
			if err := iotest.TestReader(out, want.Message); err != nil {
				t.Errorf("%.40q in %s: %v", msg, name, err)
			}
		}
	}
}

// TestRewritePassesErrors is for a message that does not arrive whole.
func TestRewritePassesErrors(t *testing.T) {
	gone := errors.New("connection is gone")
	if _, _, err := Rewrite(io.MultiReader(strings.NewReader("Subject: x\r\n"), iotest.ErrReader(gone)), policy()); !errors.Is(err, gone) {
		t.Errorf("in the header: %v", err)
	}
	_, out, err := Rewrite(io.MultiReader(strings.NewReader("Subject: x\r\n\r\nbody\r"), iotest.ErrReader(gone)), policy())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(out); !errors.Is(err, gone) || !bytes.HasSuffix(got, []byte("\r\n\r\nbody\r")) {
		t.Errorf("in the body: %v, %q", err, got)
	}
}

// TestRewriteHoldsLittle passes 16 MiB, of which some KiB are in memory.
func TestRewriteHoldsLittle(t *testing.T) {
	_, out, err := Rewrite(io.MultiReader(strings.NewReader("Subject: x\r\n\r\n"), io.LimitReader(endless{}, 16<<20)), policy())
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := io.Copy(io.Discard, out)
	runtime.ReadMemStats(&after)
	if err != nil || n < 16<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if d := after.TotalAlloc - before.TotalAlloc; d > 1<<20 {
		t.Errorf("allocated %d bytes", d)
	}
}

// endless yields lines of 64 bytes.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	b = b[:len(b)/64*64]
	for i := range b {
		b[i] = 'x'
		if i%64 == 63 {
			b[i] = '\n'
		}
	}
	return len(b), nil
}
