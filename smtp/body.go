package smtp

import (
	"errors"
	"io"

	gosmtp "github.com/emersion/go-smtp"
)

var errTooLarge = errors.New("message is too large")

// A body is a message as the Submitter reads it: bounded, and remembering how
// reading it ended.
type body struct {
	r    io.Reader
	left int64
	err  error // io.EOF once the message was read whole
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more, to see that there is more
	}
	n, err := b.r.Read(p)
	if tooLarge := (*gosmtp.SMTPError)(nil); errors.As(err, &tooLarge) && tooLarge.Code == 552 {
		err = errTooLarge
	}
	if int64(n) > b.left {
		n, err = int(b.left), errTooLarge
	}
	b.left -= int64(n)
	b.err = err
	return n, err
}

// A chunkReader notices a last chunk (BDAT LAST) that the end of the connection
// has cut short: the library passes on what there is as if it were whole.
type chunkReader struct {
	r     io.Reader
	there func() bool // the client has not ended the connection
}

func (c *chunkReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err == io.EOF && !c.there() {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// A dotReader finds the ends of lines that the library's reader of DATA misses:
// after an even number of CRs it does not take the LF for the end of a line.
// Without it a body that ends with a bare CR would never end, since the client's
// CR LF . CR LF follows it; and a dot that the client doubled there would stay.
//
// What it cannot mend: of a line that begins with a dot and a bare CR, both are gone
// before it sees them. A client that doubles dots (RFC 5321 section 4.5.2) has none.
//
// The library does not know of an end found here. So last is called, after which
// the connection reads nothing more, and the reply is the last one.
type dotReader struct {
	r    io.Reader
	last func()

	prevCR bool // the last byte was CR
	libCR  bool // the library takes the last byte for a CR that may end a line
	state  dotState
	held   []byte // to be returned next
	one    [1]byte
	err    error
}

type dotState int

const (
	inLine  dotState = iota
	atStart          // of a line that the library does not know of
	atDot            // after the dot there
	atDotCR          // and the CR after the dot
)

// Read reads byte by byte from the library's buffer: it would wait for a full p
// otherwise, and the end that it does not see is in front of it.
func (d *dotReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(d.held) > 0 {
			k := copy(p[n:], d.held)
			d.held = d.held[k:]
			n += k
			continue
		}
		if d.err != nil {
			break
		}
		k, err := d.r.Read(d.one[:])
		if k == 1 {
			d.next(d.one[0])
		}
		if err != nil && d.err == nil {
			d.err = err
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, d.err
}

// next takes one byte into account and appends to held what it yields.
func (d *dotReader) next(c byte) {
	blind := c == '\n' && d.prevCR && !d.libCR
	d.libCR = c == '\r' && !d.libCR
	d.prevCR = c == '\r'

	switch state := d.state; {
	case state == atStart && c == '.':
		d.state = atDot
		return
	case state == atDot && c == '\r':
		d.state = atDotCR
		return
	case state == atDotCR && c == '\n':
		d.last()
		d.err = io.EOF
		return
	case state == atDotCR:
		d.held = append(d.held[:0], '\r', c)
	default:
		d.held = append(d.held[:0], c)
	}
	d.state = inLine
	if blind {
		d.state = atStart
	}
}
