//go:build linux

package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
)

// writeMail writes mail number n, of about size bytes: a short text, and random
// bytes as an attachment, which is what compresses least.
func writeMail(w io.Writer, n, size int) error {
	b := bufio.NewWriterSize(w, 64<<10)
	fmt.Fprintf(b, "From: %s\r\nTo: %s\r\nSubject: %s\r\nMIME-Version: 1.0\r\n", alice, bob, subject(n))
	b.WriteString("Content-Type: multipart/mixed; boundary=limit\r\n\r\n" +
		"--limit\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n.a line that begins with a dot\r\n" +
		"--limit\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n" +
		"Content-Disposition: attachment; filename=\"random.bin\"\r\n\r\n")
	seed := sha256.Sum256([]byte(subject(n)))
	random := rand.NewChaCha8(seed)
	const line = 57 // bytes that make 76 characters
	raw := make([]byte, line)
	text := make([]byte, base64.StdEncoding.EncodedLen(line))
	for left := size - 500; left > 0; left -= len(text) + 2 {
		random.Read(raw) // never fails
		base64.StdEncoding.Encode(text, raw)
		b.Write(text)
		b.WriteString("\r\n")
	}
	b.WriteString("--limit--\r\n")
	return b.Flush() // which returns the first error of all
}

func subject(n int) string { return fmt.Sprintf("large mail %d", n) }

// A digest takes in a mail and knows which it is and whether it is whole.
type digest struct {
	head bytes.Buffer
	body hash.Hash // nil until the header has ended
	size int
}

// Write implements io.Writer.
func (d *digest) Write(p []byte) (int, error) {
	n := len(p)
	d.size += n
	if d.body == nil {
		d.head.Write(p)
		header, body, ok := bytes.Cut(d.head.Bytes(), []byte("\r\n\r\n"))
		if !ok {
			return n, nil
		}
		d.body = sha256.New()
		p = bytes.Clone(body)
		d.head.Truncate(len(header) + 2)
	}
	d.body.Write(p)
	return n, nil
}

// number returns which mail it was, if its body is that of want.
func (d *digest) number(want [][]byte) (int, error) {
	for n := range want {
		if !bytes.Contains(d.head.Bytes(), []byte("Subject: "+subject(n)+"\r\n")) {
			continue
		}
		if d.body == nil || !bytes.Equal(d.body.Sum(nil), want[n]) {
			return n, fmt.Errorf("mail %d came back with another body, %d bytes in all", n, d.size)
		}
		return n, nil
	}
	return 0, errors.New("a mail came that was not sent")
}
