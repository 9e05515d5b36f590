package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestMailFrames(t *testing.T) {
	var b bytes.Buffer
	folder := "Work/2026"
	large := strings.Repeat("0123456789", 100_000)
	damaged := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("chunk 1 is missing")))
	err := errors.Join(
		writeFrame(&b, mailFrame{Folder: &folder}),
		writeFrame(&b, mailFrame{Message: &mailMessage{UID: 7, Flags: []string{`\Seen`}, Date: time.Unix(1, 0)}}),
		writeBody(&b, strings.NewReader(large)),
		writeBody(&b, damaged),
		writeBody(&b, strings.NewReader("")),
		writeFrame(&b, mailFrame{End: true}),
	)
	if err != nil {
		t.Fatal(err)
	}
	whole := b.String()
	read := func(in string) error {
		r := bufio.NewReader(strings.NewReader(in))
		f, err := readFrame(r)
		if err != nil {
			return err
		}
		if f.Folder == nil || *f.Folder != folder {
			t.Errorf("folder frame: %+v", f)
		}
		if f, err = readFrame(r); err != nil {
			return err
		}
		if f.Message == nil || f.Message.UID != 7 || !f.Message.Date.Equal(time.Unix(1, 0)) {
			t.Errorf("message frame: %+v", f)
		}
		body, err := io.ReadAll(&bodyReader{r: r})
		if err != nil {
			return err
		}
		if string(body) != large {
			t.Errorf("body of %d bytes", len(body))
		}
		body, err = io.ReadAll(&bodyReader{r: r})
		if !errors.Is(err, errBody) {
			return err
		}
		if string(body) != "half" || !strings.Contains(err.Error(), "chunk 1 is missing") {
			t.Errorf("a damaged body: %q, %v", body, err)
		}
		if err := (&bodyReader{r: r}).drain(); err != nil {
			return err
		}
		if f, err = readFrame(r); err == nil && !f.End {
			t.Errorf("last frame: %+v", f)
		}
		return err
	}
	if err := read(whole); err != nil {
		t.Error(err)
	}
	// What is cut off anywhere is never taken for whole.
	for _, n := range []int{0, 5, 30, 100, 5000, len(whole) - 60, len(whole) - 20, len(whole) - 1} {
		if err := read(whole[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were taken for whole", n, len(whole))
		}
	}
	if _, err := readFrame(bufio.NewReader(io.LimitReader(endless{}, 4*maxFrame))); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a frame without an end: %v", err)
	}
	if _, err := io.ReadAll(&bodyReader{r: bufio.NewReader(strings.NewReader("\x7f\xff\xff\xff"))}); err == nil {
		t.Error("a piece of 2 GiB was taken")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}
