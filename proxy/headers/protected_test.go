package headers

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// protected is the mail in testdata/protected: made with OpenSSL and GnuPG, whose
// signatures hold.
var protected = map[string]Leaks{
	"smime-signed":           0,
	"smime-signed-hp":        LeakBcc | LeakDate | LeakMessageID | LeakSoftware | LeakNames,
	"smime-wrapped":          LeakBcc | LeakDate | LeakMessageID | LeakSoftware | LeakNames,
	"smime-opaque":           0,
	"smime-opaque-hp":        LeakBcc | LeakDate | LeakMessageID | LeakSoftware | LeakNames,
	"smime-opaque-hp-stream": LeakBcc | LeakDate | LeakMessageID | LeakSoftware | LeakNames,
	"smime-encrypted":        0,
	"pgp-signed-thunderbird": LeakMessageID | LeakNames,
	"pgp-signed-evolution":   0,
	"pgp-signed-comment":     LeakSoftware,
	"rfc9788-signed":         LeakBcc | LeakDate | LeakMessageID | LeakSoftware | LeakNames,
	"pgp-encrypted":          0,
	"pgp-encrypted-version":  LeakSoftware,
	"pgp-inline-signed":      0,
	"pgp-inline-encrypted":   LeakSoftware,
	"attached-message":       0, // what somebody wrote to the sender is passed on as it is
}

// TestProtectedMailIsNotAltered compares the bytes of signed and encrypted bodies,
// through Outgoing and Incoming, and what is said of them. Where OpenSSL is, it
// verifies the S/MIME signatures of what came out.
func TestProtectedMailIsNotAltered(t *testing.T) {
	files, err := filepath.Glob("testdata/protected/*.eml")
	if err != nil || len(files) != len(protected) {
		t.Fatal(files, err)
	}
	openssl, _ := exec.LookPath("openssl")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".eml")
		t.Run(name, func(t *testing.T) {
			msg, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, body, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
			p := policy()
			p.Sender.Name = "Alice Example"
			r := outgoing(t, string(msg), p)
			if !bytes.HasSuffix(r.Message, append([]byte("\r\n\r\n"), body...)) {
				t.Error("the body is changed by Outgoing")
			}
			if fieldOf(t, r.Message, "Content-Type") != fieldOf(t, msg, "Content-Type") {
				t.Error("Content-Type is changed")
			}
			got := arriveAll(r.Message, Seal{Address: "alice@north.test", State: StateNew}).Message
			if !bytes.HasSuffix(got, append([]byte("\r\n\r\n"), body...)) {
				t.Error("the body is changed by Incoming")
			}
			checkHeader(t, r, p)
			if r.Leaks != protected[name] {
				t.Errorf("leaks are %q, want %q", r.Leaks.Texts(), protected[name].Texts())
			}
			if openssl != "" && strings.HasPrefix(name, "smime-") && name != "smime-encrypted" {
				out := filepath.Join(t.TempDir(), "out.eml")
				if err := os.WriteFile(out, got, 0o600); err != nil {
					t.Fatal(err)
				}
				if said, err := exec.Command(openssl, "cms", "-verify", "-noverify", "-in", out, "-out", os.DevNull).CombinedOutput(); err != nil {
					t.Errorf("openssl: %v: %s", err, said)
				}
			}
		})
	}
}

// signedPart makes a mail whose signed part has these lines as its header.
func signedPart(header ...string) string {
	return lines("From: alice@north.test", "Content-Type: multipart/signed; boundary=\"b\"; protocol=\"application/pgp-signature\"", "",
		"--b", "Content-Type: text/plain") + lines(append(header, "", "text", "--b", "Content-Type: application/pgp-signature", "", "x", "--b--")...)
}

// TestLeaks takes one field after the other.
func TestLeaks(t *testing.T) {
	tests := []struct {
		field string
		want  Leaks
	}{
		{"MIME-Version: 1.0 (x)", 0},
		{"Content-Language: de", 0},
		{"Subject: x", 0},
		{"User-Agent:", 0},
		{"Bcc: a@b.test", LeakBcc},
		{"Resent-Bcc: a@b.test", LeakBcc},
		{"Date: Sun, 22 Nov 2026 10:00:00 +0000", 0},
		{"Date: Sun, 22 Nov 2026 10:00:00 -0000", 0},
		{"Date: Sun, 22 Nov 2026 10:00:01 +0000", LeakDate},
		{"Date: Sun, 22 Nov 2026 10:00:00 +0100", LeakDate},
		{"Date: yesterday", LeakDate},
		{"Message-ID: <x@mailproxy.invalid>", 0},
		{"Message-ID: <x@laptop>", LeakMessageID},
		{"Message-ID: x", LeakMessageID},
		{"References: <seen1@x> <seen2@x>", 0},
		{"References: <seen1@x> <other@x>", LeakMessageID},
		{"In-Reply-To: <other@x>", LeakMessageID},
		{"From: alice@north.test", 0},
		{"From: Alice <ALICE@north.test>", 0},
		{"From: Alice Realname <alice@north.test>", LeakNames},
		{"From: shop@north.test", LeakNames},
		{"From: alice", LeakNames},
		{"To: bob@south.test, <c@d.test>", 0},
		{"To: Bob <bob@south.test>", LeakNames},
		{"Cc: Bob", LeakNames},
		{"Reply-To: Me <alice@north.test>", LeakNames},
		{"User-Agent: x", LeakSoftware},
		{"X-Mailer: x", LeakSoftware},
		{"Received: from x", LeakRoute},
		{"X-Originating-IP: 192.0.2.1", LeakRoute},
		{"HP-Outer: Date: Sun, 22 Nov 2026 10:00:01 +0000", LeakDate},
		{"HP-Outer: Subject: [...]", 0},
		{"HP-Outer: x", 0},
		{"List-Id: x", 0},
		{"Autocrypt: x", LeakOther},
		{"X-Anything: x", LeakOther},
	}
	for _, tt := range tests {
		if got := outgoing(t, signedPart(tt.field), policy()).Leaks; got != tt.want {
			t.Errorf("%s: %q, want %q", tt.field, got.Texts(), tt.want.Texts())
		}
		// The same field in a part that nothing protects, where the sender can
		// change it, is left to the sender.
		open := strings.Replace(signedPart(tt.field), "multipart/signed", "multipart/mixed", 1)
		if got := outgoing(t, open, policy()).Leaks; got != 0 {
			t.Errorf("%s, unsigned: %q", tt.field, got.Texts())
		}
	}
	p := policy()
	p.KeepAutocrypt = true
	if got := outgoing(t, signedPart("Autocrypt: addr=alice@north.test; keydata=x"), p).Leaks; got != 0 {
		t.Errorf("Autocrypt that is kept: %q", got.Texts())
	}
	if all := Leaks(1<<len(leakTexts) - 1); len(all.Texts()) != len(leakTexts) || all&LeakOther == 0 {
		t.Error("a kind has no text")
	}
}

// TestLeaksInForms has what surrounds a protected part.
func TestLeaksInForms(t *testing.T) {
	nested := func(outer, inner string) string {
		return lines("Content-Type: "+outer, "", "preamble", "--a", "Content-Type: "+inner, "", "--b \t", "Content-Type: text/plain", "User-Agent: x",
			"", "text", "--b", "Content-Type: text/html", "X-Mailer: y", "Date: x", "", "text", "--b--", "--a", "Bcc: z", "", "--a--", "Bcc: w", "", "epilogue")
	}
	tests := []struct {
		name, msg string
		want      Leaks
	}{
		{"a part within a signed part", nested(`multipart/signed; boundary=a`, `multipart/mixed; boundary=b`), LeakSoftware | LeakDate},
		{"a signed part within a mixed one", nested(`multipart/mixed; boundary=a`, `multipart/signed; boundary=b`), LeakSoftware},
		{"a boundary that begins with another's", nested(`multipart/signed; boundary=a`, `multipart/mixed; boundary=ab`), 0},
		{"marked, without a signature", nested(`multipart/mixed; boundary=a`, `multipart/mixed; boundary=b; hp=clear`), LeakSoftware | LeakDate},
		{"no boundary", nested(`multipart/signed`, `multipart/mixed; boundary=b`), 0},
		{"a Content-Type that cannot be read", nested(`multipart/signed; boundary`, `x`), 0},
		{"a header that the end cuts off", lines("Content-Type: multipart/signed; boundary=a", "", "--a", "Bcc: x@y.test"), LeakBcc},
		{"a last line without end", strings.TrimSuffix(lines("Content-Type: multipart/signed; boundary=a", "", "--a", "Bcc: x@y.test"), "\r\n"), LeakBcc},
		{"bare LF", strings.ReplaceAll(signedPart("Bcc: x@y.test"), "\r\n", "\n"), LeakBcc},
		{"a folded field", signedPart("X-Mailer:", " x", "Message-ID:", "\t<a@b>"), LeakSoftware | LeakMessageID},
		{"a line that is no field", signedPart("Bcc: x@y.test", "what is this"), LeakBcc},
		{"a signed mail that is attached to a signed mail", signedPart() + "", 0},
		{"a message that is signed as a whole", lines("Content-Type: multipart/signed; boundary=a", "", "--a", "Content-Type: message/rfc822", "", "Bcc: x@y.test", "", "t", "--a--"), LeakBcc},
		{"a message attached in a signed part", nested(`multipart/signed; boundary=a`, "multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nBcc: x@y.test"), LeakSoftware | LeakDate},
		{"armor with a version", lines("", "-----BEGIN PGP MESSAGE-----", "Version: x", "", "y"), LeakSoftware},
		{"armor with a comment", lines("", "-----BEGIN PGP SIGNATURE-----", "Hash: y", "comment: x", "", "y"), LeakSoftware},
		{"armor, and such words behind its header", lines("", "-----BEGIN PGP MESSAGE-----", "", "Version: x"), 0},
		{"quoted armor", lines("", "> -----BEGIN PGP MESSAGE-----", "> Version: x"), 0},
		{"such words without armor", lines("", "Version: x", "Comment: y"), 0},
	}
	for _, tt := range tests {
		for _, size := range []int{1, 7, 1 << 20} {
			fields, body, bad := split([]byte(tt.msg))
			if bad != nil {
				t.Fatal(tt.name, bad)
			}
			p := policy()
			x := inspect(fields, p.Sender, &p)
			for len(body) > 0 {
				n := min(size, len(body))
				if _, err := x.Write(body[:n]); err != nil {
					t.Fatal(err)
				}
				body = body[n:]
			}
			if x.close(); x.found != tt.want {
				t.Errorf("%s, %d bytes at a time: %q, want %q", tt.name, size, x.found.Texts(), tt.want.Texts())
			}
		}
	}
}

// TestSignedContent takes forms of BER that OpenSSL does not write.
func TestSignedContent(t *testing.T) {
	oid := "\x06\x01\x2a"
	encap := func(content string) string { return "\x30\x80" + oid + "\xa0\x80" + content }
	data := func(content string) string {
		return "\x30\x80" + oid + "\xa0\x80\x30\x80\x02\x01\x01\x31\x80\x30\x00\x00\x00" + encap(content)
	}
	for name, tt := range map[string]struct{ in, want string }{
		"whole":                {data("\x04\x03abc"), "abc"},
		"cut":                  {data("\x04\x82\x01\x00abc"), "abc"},
		"pieces":               {data("\x24\x80\x04\x01a\x04\x02bc\x00\x00"), "abc"},
		"pieces of known size": {data("\x24\x07\x04\x01a\x04\x02bc\x04\x01d"), "abc"},
		"detached":             {data("\x00\x00"), ""},
		"no signed data":       {"\x30\x03\x02\x01\x01", ""},
		"empty":                {"", ""},
		"absurd length":        {"\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff", ""},
		"nested for ever":      {strings.Repeat("\x30\x80", 1<<16), ""},
	} {
		if got := string(signedContent([]byte(tt.in))); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func FuzzInspect(f *testing.F) {
	for name := range protected {
		msg, err := os.ReadFile("testdata/protected/" + name + ".eml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(msg)
	}
	p := policy()
	f.Fuzz(func(t *testing.T, msg []byte) {
		fields, body, _ := split(msg)
		found := Leaks(0)
		for i, size := range []int{1 << 20, 3} {
			x := inspect(fields, p.Sender, &p)
			for rest := body; len(rest) > 0; {
				n := min(size, len(rest))
				_, _ = x.Write(rest[:n])
				rest = rest[n:]
				if len(x.line) > maxInspectLine || len(x.stack) > maxInspectNest || len(x.cms) > maxInspectCMS+maxInspectLine || len(x.head) > MaxHeader+maxInspectLine+1 {
					t.Fatal("it holds more than it may")
				}
			}
			if x.close(); i == 0 {
				found = x.found
			} else if found != x.found {
				t.Fatalf("%q at once, %q in pieces", found.Texts(), x.found.Texts())
			}
		}
	})
}

func FuzzSignedContent(f *testing.F) {
	f.Add([]byte("\x30\x80\x06\x01\x2a\xa0\x80\x30\x80\x02\x01\x01\x31\x00\x30\x80\x06\x01\x2a\xa0\x80\x24\x80\x04\x01a\x00\x00"))
	f.Fuzz(func(t *testing.T, der []byte) {
		if got := signedContent(der); len(got) > len(der) {
			t.Errorf("%d bytes from %d", len(got), len(der))
		}
	})
}
