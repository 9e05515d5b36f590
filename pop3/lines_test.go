package pop3

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// TestWriteLines: lines may be of any length, also where what is read at once ends
// between CR and LF.
func TestWriteLines(t *testing.T) {
	const buffer = 16 // the least that bufio has
	tests := map[string]struct {
		raw   string
		lines int
		want  string
	}{
		"empty":              {"", -1, ""},
		"LF":                 {"a\n\nb\n", -1, "a\r\n\r\nb\r\n"},
		"dots":               {".\r\n..\r\n.a\r\n", -1, "..\r\n...\r\n..a\r\n"},
		"no end":             {"a\r\n.b", -1, "a\r\n..b\r\n"},
		"CR alone":           {"a\rb\r\r\n\r", -1, "a\rb\r\r\n\r\r\n"},
		"CR at the end":      {"a\r", -1, "a\r\r\n"},
		"top":                {"a\r\n\r\nb\r\nc\r\n", 1, "a\r\n\r\nb\r\n"},
		"top 0":              {"a\r\n\r\nb\r\n", 0, "a\r\n\r\n"},
		"top of LF":          {"a\n\nb\nc", 1, "a\r\n\r\nb\r\n"},
		"top without a body": {"a\r\nb\r\n", 5, "a\r\nb\r\n"},
	}
	for n := buffer - 3; n <= 2*buffer+2; n++ {
		long := strings.Repeat("x", n)
		for name, end := range map[string]string{"CRLF": "\r\n", "LF": "\n"} {
			tests[fmt.Sprint(name, " after ", n)] = struct {
				raw   string
				lines int
				want  string
			}{long + end + end + "." + long + end + "y", -1, long + "\r\n\r\n.." + long + "\r\ny\r\n"}
		}
		tests[fmt.Sprint("CRs after ", n)] = struct {
			raw   string
			lines int
			want  string
		}{long + "\r\r\nz\r\n", -1, long + "\r\r\nz\r\n"}
	}
	for name, tc := range tests {
		var out bytes.Buffer
		ss := &session{w: bufio.NewWriter(&out)}
		if err := ss.writeLines(bufio.NewReaderSize(strings.NewReader(tc.raw), buffer), tc.lines); err != nil {
			t.Fatal(err)
		}
		if err := ss.w.Flush(); err != nil {
			t.Fatal(err)
		}
		if out.String() != tc.want+".\r\n" {
			t.Errorf("%s: %q became %q, want %q", name, tc.raw, out.String(), tc.want+".\r\n")
		}
	}
}
