package imap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-message"

	"mailproxy/proxy/mailbox"
)

// Bounds on the response for one message.
const (
	// maxHeld is how many bytes of a message are read before a response with them
	// begins. More is read while it is written.
	maxHeld = 256 << 10
	// maxItems is how many sections of a message one FETCH asks for: each that is read
	// takes time, and a line has room for thousands. Mail programs ask for one for each
	// part that they show.
	maxItems = 200
)

// A payload is what a literal of a FETCH response holds.
type payload struct {
	size int64
	data []byte                    // all of it, if open is nil
	open func() (io.Reader, error) // reads it
}

func held(data []byte) payload { return payload{size: int64(len(data)), data: data} }

// literal writes p and closes lit. From the beginning of a response to its end the
// library holds a lock, and the client waits for the number of bytes it was told:
// if they cannot be read, all that is left is to end the connection.
func (ss *session) literal(lit io.WriteCloser, p payload) error {
	if p.open == nil {
		_, err := lit.Write(p.data)
		return errors.Join(err, lit.Close())
	}
	written := &countingWriter{w: lit}
	r, err := p.open()
	if err == nil {
		_, err = io.CopyN(written, r, p.size)
	}
	if err != nil && written.err == nil {
		ss.s.log.Error("imap: a message could not be read while it was sent", "err", err)
		ss.wire.interrupt()
		err = net.ErrClosed
	}
	return errors.Join(err, lit.Close())
}

// A countingWriter knows whether writing was what failed.
type countingWriter struct {
	w   io.Writer
	err error
}

func (c *countingWriter) Write(p []byte) (n int, err error) {
	n, c.err = c.w.Write(p)
	return n, c.err
}

// room reports whether n more bytes can be held for this response, and counts them.
func (got *fetched) room(n int64) bool {
	if got.held+n > maxHeld {
		return false
	}
	got.held += n
	return true
}

// span is the bytes from off to end, or the part of them that was asked for.
func (got *fetched) span(c *mailbox.Content, off, end int64, p *goimap.SectionPartial) (payload, error) {
	if p != nil {
		off = off + min(p.Offset, end-off)
		end = off + min(p.Size, end-off)
	}
	if !got.room(end - off) {
		return payload{size: end - off, open: func() (io.Reader, error) { return c.Reader(off, end), nil }}, nil
	}
	data, err := c.Bytes(off, end)
	return held(data), err
}

// fields is what filter leaves of a part's header, or the part of it that was asked
// for.
func (got *fetched) fields(c *mailbox.Content, part *mailbox.Part, filter func([]byte) []byte) (payload, error) {
	read := func() ([]byte, error) {
		header, err := headerOf(c, part)
		if err != nil {
			return nil, err
		}
		return filter(header), nil
	}
	data, err := read()
	if err != nil || got.room(int64(len(data))) {
		return held(data), err
	}
	return payload{size: int64(len(data)), open: func() (io.Reader, error) {
		data, err := read()
		return bytes.NewReader(data), err
	}}, nil
}

// binarySection returns a part's content without its transfer encoding (RFC 3516
// section 4.2); the message itself is returned as it is.
func (got *fetched) binarySection(c *mailbox.Content, m mailbox.Message, path []int, p *goimap.SectionPartial) (payload, error) {
	if len(path) == 0 {
		return got.span(c, 0, m.Size, p)
	}
	s, err := c.Structure()
	if err != nil {
		return payload{}, err
	}
	i, ok := s.Find(path)
	if !ok {
		return payload{}, nil
	}
	part := &s.Parts[i]
	if part.IsMultipart() || part.IsMessage() {
		return got.span(c, part.Body, part.End, p)
	}
	open := func() (io.Reader, error) { return transferReader(part.Encoding, c.Reader(part.Body, part.End)) }
	undecoded := no(goimap.ResponseCodeUnknownCTE, fmt.Sprintf("Part %v cannot be decoded", path))
	r, err := open()
	if err != nil {
		return payload{}, undecoded
	}
	if got.room(part.End - part.Body) { // encoded it is more
		data, err := io.ReadAll(r)
		if err != nil {
			return payload{}, undecoded
		}
		return held(partial(data, p)), nil
	}
	// How much it is must be said first. It is decoded twice rather than held.
	size, err := io.Copy(io.Discard, r)
	if err != nil {
		return payload{}, undecoded
	}
	skip := int64(0)
	if p != nil {
		skip = min(p.Offset, size)
		size = min(p.Size, size-skip)
	}
	return payload{size: size, open: func() (io.Reader, error) {
		r, err := open()
		if err == nil {
			_, err = io.CopyN(io.Discard, r, skip)
		}
		return r, err
	}}, nil
}

// transferReader removes a content transfer encoding (RFC 2045 section 6) from what
// r reads.
func transferReader(encoding string, r io.Reader) (io.Reader, error) {
	var h message.Header
	h.Set("Content-Type", "application/octet-stream") // so that no charset is touched
	h.Set("Content-Transfer-Encoding", encoding)
	e, err := message.New(h, r)
	if err != nil {
		return nil, err
	}
	return e.Body, nil
}

// whole reads a literal that a client announced, and fails when there is less.
type whole struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (w *whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.left -= int64(n)
	if err == io.EOF && w.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
