package report

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
)

func TestWarning(t *testing.T) {
	w := Warning{
		To: "alice@north.test", Subject: "Warning: a subject\r\nBcc: x", Text: strings.Repeat("Words to be read. ", 40),
		Detail: "\r\n.\r\nexact=yes", Now: now, Rand: rand.NewChaCha8([32]byte{1}),
	}
	b, err := BuildWarning(w)
	if err != nil {
		t.Fatal(err)
	}
	e, err := message.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Header.Get("Subject"); got != "Warning: a subject  Bcc: x" || e.Header.Get("Bcc") != "" {
		t.Errorf("subject %q", got)
	}
	if e.Header.Get("Auto-Submitted") != "auto-generated" || e.Header.Get("To") != "<alice@north.test>" {
		t.Errorf("header is %v", e.Header)
	}
	body, err := io.ReadAll(e.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(body), "For experts: . exact=yes") || strings.Count(string(body), "Words") != 40 {
		t.Errorf("text is %q", body)
	}
	for _, line := range strings.Split(strings.TrimSuffix(string(b), "\r\n"), "\r\n") {
		if strings.ContainsAny(line, "\r\n") || len(line) > 78 {
			t.Errorf("line %q", line)
		}
	}
	paragraphs := w
	paragraphs.Text, paragraphs.Detail = "one\ntwo\n\nthree\n", ""
	if b, err := BuildWarning(paragraphs); err != nil || !bytes.HasSuffix(b, []byte("\r\n\r\none two\r\n\r\nthree\r\n")) {
		t.Errorf("with paragraphs it is %q, %v", b, err)
	}
	for _, bad := range []func(w *Warning){
		func(w *Warning) { w.To = "alice" }, func(w *Warning) { w.Subject = "" }, func(w *Warning) { w.Text = "" },
		func(w *Warning) { w.Now = time.Time{} }, func(w *Warning) { w.Rand = nil }, func(w *Warning) { w.Rand = strings.NewReader("short") },
	} {
		x := w
		bad(&x)
		if _, err := BuildWarning(x); err == nil {
			t.Errorf("built %+v", x)
		}
	}
}
