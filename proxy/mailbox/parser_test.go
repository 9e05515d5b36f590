package mailbox

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// compareParse parses raw in pieces of those sizes and expects what the definition
// says. Beyond maxParts the parser may stop at another place.
func compareParse(t *testing.T, raw []byte, sizes ...int) {
	t.Helper()
	want := oracleStructure(raw)
	for _, size := range append(sizes, len(raw)+1) {
		p := newParser()
		for rest := raw; len(rest) > 0; {
			n := min(size, len(rest))
			p.Write(rest[:n])
			rest = rest[n:]
		}
		got, wire := p.finish()
		if wire != oracleWireSize(raw) {
			t.Fatalf("in pieces of %d: %d bytes on the wire, want %d\n%q", size, wire, oracleWireSize(raw), raw)
		}
		if len(want.Parts) >= maxParts {
			checkStructure(t, got, int64(len(raw)))
			continue
		}
		if string(got.Header) != string(want.Header) || got.Size != want.Size {
			t.Fatalf("in pieces of %d: header %q and size %d, want %q and %d", size, got.Header, got.Size, want.Header, want.Size)
		}
		for i := range max(len(got.Parts), len(want.Parts)) {
			if i >= len(got.Parts) || i >= len(want.Parts) || !reflect.DeepEqual(got.Parts[i], want.Parts[i]) {
				t.Fatalf("in pieces of %d, part %d differs:\n%+v\nwant\n%+v\n%q", size, i, got.Parts, want.Parts, raw)
			}
		}
	}
}

// TestParserAgainstDefinition makes messages of lines that mean something to the
// parser, in any order.
func TestParserAgainstDefinition(t *testing.T) {
	lines := []string{
		"", "", "", "text", "Subject: x", " folded", "From a@b", "--", "---a", "--ab", "\r", "no field",
		"Content-Type: multipart/mixed; boundary=a", "Content-Type: multipart/digest; boundary=b",
		"Content-Type: multipart/alternative; boundary=ab", "Content-Type: multipart/mixed",
		"Content-Type: message/rfc822", "Content-Type: text/html",
		"--a", "--a", "--a  ", "--a--", "--a-- rest", "--b", "--b", "--b--", "--ab", "--ab--",
	}
	random := rand.New(rand.NewPCG(1, 2))
	parts := map[int]int{}
	for range 30_000 {
		var b strings.Builder
		for range random.IntN(25) {
			b.WriteString(lines[random.IntN(len(lines))])
			b.WriteString([]string{"\r\n", "\r\n", "\r\n", "\n"}[random.IntN(4)])
		}
		raw := b.String()
		raw = raw[:max(0, len(raw)-random.IntN(3))]
		compareParse(t, []byte(raw), 1, 1+random.IntN(30))
		parts[len(oracleStructure([]byte(raw)).Parts)]++
	}
	if len(parts) < 8 {
		t.Errorf("all messages had few parts: %v", parts)
	}
}

// TestParserOfLongLines: what a line is decided by is at its beginning.
func TestParserOfLongLines(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine)
	for name, raw := range map[string]string{
		"in a header":       "A: b\r\nSubject: " + long + "\r\nTo: x@y\r\n\r\nbody\r\n",
		"first":             long + "\r\n\r\nbody",
		"first of a part":   "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n" + long + "\r\n--a\r\nX: " + long + "\r\n\r\n" + long + "\n--a--\r\n",
		"all there is":      long,
		"after a delimiter": "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n--a" + long + "\r\n--a--",
		"of a message":      "Content-Type: message/rfc822\r\n\r\n" + long + "\r\nSubject: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			compareParse(t, []byte(raw), 1, 1000, maxLine-1, maxLine, maxLine+1, maxLine+2)
		})
	}
}

// TestParserIsBounded: a header without an end does not have the parser hold the
// message.
func TestParserIsBounded(t *testing.T) {
	p := newParser()
	line := []byte("X: " + strings.Repeat("y", 100) + "\r\n")
	for range 4 * maxParsed / len(line) {
		p.Write(line)
	}
	if n := len(p.top().header); n != maxParsed {
		t.Errorf("%d bytes of the header are held, want %d", n, maxParsed)
	}
	p.Write([]byte("\r\nbody"))
	s, _ := p.finish()
	checkStructure(t, s, s.Size)
	if part := s.Parts[0]; part.End-part.Body != 4 || part.Type != "text" {
		t.Errorf("the body is lost: %+v", part)
	}
}

// TestHeadersOfManyFields: what a stranger's mail can have the parser do is bounded by
// more than its size. Each field that is parsed takes some allocations.
func TestHeadersOfManyFields(t *testing.T) {
	empty := strings.Repeat("a:\n", maxParsed/3)
	to := strings.Repeat("To:b\n", maxParsed/5)
	var parts strings.Builder
	parts.WriteString("Content-Type: multipart/digest; boundary=x\n\n")
	for range 8 {
		parts.WriteString("--x\n\n" + to + "Subject: beyond\n\n\n")
	}
	for name, raw := range map[string]string{
		"fields that are not read": empty + "\nbody",
		"fields that are":          to + "\nbody",
		"of messages in it":        parts.String(),
		"parameters":               "Content-Type: text/plain" + strings.Repeat("; p=iso-8859-1''a", 40_000) + "\n\nbody",
		"parameters in charsets":   "Content-Disposition: attachment" + strings.Repeat("; p*=iso-8859-1''a", 40_000) + "\n\nbody",
	} {
		t.Run(name, func(t *testing.T) {
			const most = 150_000
			compareParse(t, []byte(raw), 4000)
			n := testing.AllocsPerRun(1, func() {
				p := newParser()
				p.Write([]byte(raw))
				p.finish()
				parseEnvelope(parsedFields(p.header))
			})
			if n > most {
				t.Errorf("to parse %d bytes took %.0f allocations, want at most %d", len(raw), n, most)
			}
		})
	}
	// The first fields count, whatever follows.
	s := parseStructure([]byte("Content-Type: text/html\n" + to + "\n"))
	if s.Parts[0].Subtype != "html" {
		t.Errorf("the type is lost: %+v", s.Parts[0])
	}
}

func BenchmarkParse(b *testing.B) {
	body := strings.Repeat(strings.Repeat("0123456789", 7)+"abcdef\r\n", 100_000)
	raw := []byte("Subject: x\r\nContent-Type: multipart/mixed; boundary=limit\r\n\r\n--limit\r\n\r\ntext\r\n--limit\r\n\r\n" + body + "--limit--\r\n")
	for name, parse := range map[string]func([]byte) *Structure{"parser": parseStructure, "definition": oracleStructure} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if len(parse(raw).Parts) != 3 {
					b.Fatal("it has other parts")
				}
			}
		})
	}
}
