package headers

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailproxy/proxy/refusal"
)

// allowed is every field that Outgoing may write.
var allowed = append(append(append([]string{
	"From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "MIME-Version",
}, keptList...), keptCrypto...), keptMIME...)

func seeds(f *testing.F) {
	for _, s := range []string{
		"", "\n", "x", "From: alice@north.test\r\n\r\nbody\r\n",
		"From alice\nFROM : \"A\" <alice@north.test>\nTo: x: a@b, =?utf-8?q?x?= <c@d>;, \"q\\\"\" <@r:e@f> (c)\n\tg@h\nDate: Sun, 22 Nov 2026 14:03:59 +0100\n\na\r\nb",
		"Subject: a\r \x00b\r\n \r\nBcc: a@b\r\nList-Id: x\r\nMIME-Version: 1.0 (x)\r\nContent-Type:\r\n text/plain\r\n\r\n\r\r\n\n",
		"References: <seen> <a@b>\nMessage-ID: <x@y>\nAutocrypt: x\n",
		"To: undisclosed-recipients:;\nCc: a@b; c@d, <e@f\nReply-To: \"x y\"@z\n\n",
	} {
		f.Add([]byte(s))
	}
	files, err := filepath.Glob("testdata/*/*.eml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		msg, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(msg)
	}
}

func FuzzOutgoing(f *testing.F) {
	seeds(f)
	p := policy()
	p.KeepAutocrypt = true
	f.Fuzz(func(t *testing.T, msg []byte) {
		r, err := rewriteAll(msg, p)
		if err != nil {
			if r := new(refusal.Error); !errors.As(err, &r) || r.Code < 500 || r.Text == "" {
				t.Fatalf("error is no refusal: %v", err)
			}
			return
		}
		_, body, _ := split(msg)
		if _, got, bad := split(r.Message); bad != nil || !bytes.Equal(got, appendCRLF(nil, body)) {
			t.Fatalf("body %q became %q (%+v)", body, got, bad)
		}
		checkHeader(t, r, p)
		if i := bytes.Index(r.Message, []byte("\r\n\r\n")); i >= 0 {
			if head := string(r.Message[:i]); strings.Count(head, "\n") != strings.Count(head, "\r\n") {
				t.Fatalf("header %q has a line that ends otherwise", head)
			}
		}
		again, err := rewriteAll(r.Message, p)
		if err != nil {
			t.Fatalf("own output is refused: %v\n%q", err, r.Message)
		}
		// Only the ids of this very mail may differ, and here they do not.
		if !bytes.Equal(again.Message, r.Message) {
			t.Fatalf("not idempotent:\n%q\n%q", r.Message, again.Message)
		}
		if !slices.Equal(again.To, r.To) || !slices.Equal(again.Cc, r.Cc) || again.Bcc != nil || again.From != r.From {
			t.Fatalf("addresses differ: %+v, %+v", r, again)
		}
	})
}

func FuzzIncoming(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, msg []byte) {
		s := Seal{Address: "alice@north.test", State: StateNew}
		a := arriveAll(msg, s)
		_, body, _ := split(msg)
		fields, got, bad := split(a.Message)
		if bad != nil || !bytes.Equal(got, appendCRLF(nil, body)) {
			t.Fatalf("body %q became %q (%+v)", body, got, bad)
		}
		for i, x := range fields {
			if isReceiverOnly(x.key) != (i == 0) {
				t.Fatalf("field %d is %q", i, x.name)
			}
		}
		again := arriveAll(a.Message, s)
		if !bytes.Equal(again.Message, a.Message) || again.FromMatches != a.FromMatches || again.Damaged {
			t.Fatalf("not idempotent:\n%q\n%q", a.Message, again.Message)
		}
	})
}

func FuzzAddresses(f *testing.F) {
	for _, s := range []string{"a@b, c <d@e>", "g: a@b;", "\"x y\"@z", "<@r:a@b>", "a@b;c@d", "(c(d)) a@b", "\\", "\"", "b\xfc@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, _ := addresses(s)
		written := make([]string, len(list))
		for i, a := range list {
			written[i] = bare(a)
		}
		again, bad := addresses(strings.Join(written, ", "))
		if bad != 0 || !slices.Equal(again, list) {
			t.Fatalf("%q gives %q, and that %q (%d bad)", s, list, again, bad)
		}
	})
}
