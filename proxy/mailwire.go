package proxy

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"mailproxy/proxy/mailbox"
)

// Mail goes between the daemon and its command line in frames: a line of JSON and, if
// that is of a message, its bytes in pieces.

// maxFrame bounds the line of a frame, in bytes, and maxPiece a piece of a message.
const (
	maxFrame = 1 << 20
	maxPiece = 1 << 20
)

// A mailFrame has one of its fields.
type mailFrame struct {
	Progress *MailProgress   `json:"progress,omitempty"`
	Report   *mailbox.Report `json:"report,omitempty"`
	Folder   *string         `json:"folder,omitempty"`  // begins
	Message  *mailMessage    `json:"message,omitempty"` // of that folder; its bytes follow
	End      bool            `json:"end,omitempty"`     // nothing is missing
}

// MailProgress says how far a long command is.
type MailProgress struct {
	Messages int   `json:"messages"` // done; 0 for a check
	Of       int   `json:"of"`       // 0 if that is not known
	Bytes    int64 `json:"bytes"`
	OfBytes  int64 `json:"of_bytes"`
}

type mailMessage struct {
	UIDValidity uint32    `json:"uidvalidity,omitempty"`
	UID         uint32    `json:"uid,omitempty"`
	Flags       []string  `json:"flags,omitempty"`
	Date        time.Time `json:"date"`
}

func writeFrame(w io.Writer, f mailFrame) error {
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("send frame: %w", err)
	}
	return nil
}

// readFrame reads a line of at most maxFrame bytes: reports of a check may be as long.
func readFrame(r *bufio.Reader) (f mailFrame, err error) {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return f, fmt.Errorf("read frame: %w", err)
		}
		if len(line) > maxFrame {
			return f, errors.New("read frame: it is too long")
		}
	}
	if err := json.Unmarshal(line, &f); err != nil {
		return f, fmt.Errorf("read frame: %w", err)
	}
	return f, nil
}

// brokenBody is the length of a piece that is none: words follow in the next one that
// say why there is no more.
const brokenBody = 1<<32 - 1

// writeBody sends what r reads, and why it ends if it fails; writing alone fails.
func writeBody(w io.Writer, r io.Reader) error {
	piece := func(b []byte) error {
		_, err := w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
		if err == nil {
			_, err = w.Write(b)
		}
		if err != nil {
			return fmt.Errorf("send message: %w", err)
		}
		return nil
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := piece(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return piece(nil)
		case err != nil:
			if _, err := w.Write(binary.BigEndian.AppendUint32(nil, brokenBody)); err != nil {
				return fmt.Errorf("send message: %w", err)
			}
			words := err.Error()
			return piece([]byte(words[:min(len(words), 1000)]))
		}
	}
}

// errBody wraps what the sender of a message says of it.
var errBody = errors.New("the message cannot be read")

// A bodyReader reads the pieces of one message.
type bodyReader struct {
	r    *bufio.Reader
	left uint32 // of the piece
	end  error
}

// Read implements io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	for b.end == nil && b.left == 0 {
		b.left, b.end = b.next()
	}
	if b.end != nil {
		return 0, b.end
	}
	n, err := b.r.Read(p[:min(len(p), int(b.left))])
	b.left -= uint32(n)
	if err != nil {
		b.end = broken(err)
	}
	return n, b.end
}

func (b *bodyReader) length() (uint32, error) {
	var head [4]byte
	_, err := io.ReadFull(b.r, head[:])
	return binary.BigEndian.Uint32(head[:]), err
}

func (b *bodyReader) next() (uint32, error) {
	n, err := b.length()
	switch {
	case err != nil:
		return 0, broken(err)
	case n == 0:
		return 0, io.EOF
	case n == brokenBody:
		if n, err = b.length(); err != nil || n > maxPiece {
			return 0, broken(err)
		}
		words := make([]byte, n)
		if _, err := io.ReadFull(b.r, words); err != nil {
			return 0, broken(err)
		}
		return 0, fmt.Errorf("%w: %s", errBody, words)
	case n > maxPiece:
		return 0, fmt.Errorf("a piece of a message has %d bytes", n)
	}
	return n, nil
}

// broken is the error of a stream that ends inside a message.
func broken(err error) error {
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read message: %w", err)
}

// drain reads the rest of a message, which was refused.
func (b *bodyReader) drain() error {
	_, err := io.Copy(io.Discard, b)
	if errors.Is(err, errBody) {
		return nil
	}
	return err
}
