package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"mailproxy/proxy/mailbox"
)

// uid names a message for good (RFC 1939 section 7): UIDs are not used twice,
// and a folder that is made again has another UIDVALIDITY.
func (ss *session) uid(i int) string {
	return fmt.Sprintf("%d.%d", ss.inbox.UIDValidity(), ss.messages[i].UID)
}

// message returns the index of message number n; if there is none, it answers.
func (ss *session) message(n int) (i int, ok bool, err error) {
	switch {
	case n < 1 || n > len(ss.messages):
		return 0, false, ss.err("", fmt.Sprintf("There are only messages 1 to %d", len(ss.messages)))
	case ss.deleted[n-1]:
		return 0, false, ss.err("", "The message is marked as deleted")
	}
	return n - 1, true, nil
}

func (ss *session) stat(c command) error {
	if c.arg != "" {
		return ss.invalid("STAT has no arguments")
	}
	count, size := 0, int64(0)
	for i, m := range ss.messages {
		if !ss.deleted[i] {
			count++
			size += m.WireSize
		}
	}
	return ss.ok("%d %d", count, size)
}

// list answers LIST and UIDL, which differ in what they say of a message.
func (ss *session) list(c command) error {
	describe := func(i int) string { return fmt.Sprint(ss.messages[i].WireSize) }
	if c.verb == "UIDL" {
		describe = ss.uid
	}
	if c.arg != "" {
		n, err := c.numbers(1)
		if err != nil {
			return ss.invalid("The argument is a message number")
		}
		i, ok, err := ss.message(n[0])
		if !ok {
			return err
		}
		return ss.ok("%d %s", n[0], describe(i))
	}
	if err := ss.ok("%d messages", len(ss.messages)-len(ss.deleted)); err != nil {
		return err
	}
	for i := range ss.messages {
		if !ss.deleted[i] {
			fmt.Fprintf(ss.w, "%d %s\r\n", i+1, describe(i)) // a bufio.Writer keeps its error
		}
	}
	return ss.raw(".\r\n")
}

func (ss *session) retr(c command) error {
	n, err := c.numbers(1)
	if err != nil {
		return ss.invalid("RETR needs a message number")
	}
	return ss.send(n[0], -1)
}

func (ss *session) top(c command) error {
	n, err := c.numbers(2)
	if err != nil {
		return ss.invalid("TOP needs a message number and a number of lines")
	}
	return ss.send(n[0], n[1])
}

// send writes a message: all of it, or its header and some lines of its body.
func (ss *session) send(n, lines int) error {
	i, ok, err := ss.message(n)
	if !ok {
		return err
	}
	begun := false // the client was promised the message
	err = ss.inbox.Content(ss.messages[i], func(content *mailbox.Content) error {
		r := bufio.NewReaderSize(content.Reader(0, ss.messages[i].Size), readSize)
		if _, err := r.Peek(1); err != nil && err != io.EOF {
			return err
		}
		begun = true
		answer := "Top of message follows"
		if lines < 0 {
			answer = fmt.Sprintf("%d octets", ss.messages[i].WireSize)
		}
		if err := ss.ok("%s", answer); err != nil {
			return err
		}
		return ss.writeLines(r, lines)
	})
	switch {
	case begun && err != nil:
		// It is cut short, so that the client does not take it for whole.
		ss.s.log.Debug("pop3: a message was not sent to its end", "err", err)
		return err
	case errors.Is(err, mailbox.ErrNoMessage):
		return ss.err("", "The message was removed by another program")
	case err != nil:
		return ss.temporary("read the message", err)
	}
	return nil
}

// readSize is how much of a message is read at once, in bytes.
const readSize = 32 << 10

// writeLines sends what r reads line by line, each ended by CRLF and, where it begins
// with a dot, with one more before it (RFC 1939 section 3). With lines >= 0 it stops
// after that many beyond the first blank line.
func (ss *session) writeLines(r *bufio.Reader, lines int) error {
	for body := false; !body || lines != 0; {
		size, err := ss.writeLine(r)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if body {
			lines--
		} else {
			body = size == 0
		}
	}
	return ss.raw(".\r\n")
}

// writeLine sends a line, which may be longer than r's buffer, and returns its size
// without its end. At the end of the message it returns io.EOF.
func (ss *session) writeLine(r *bufio.Reader) (size int, err error) {
	cr := false // a CR is held back, which may belong to the line's end
	for first := true; ; first = false {
		piece, err := r.ReadSlice('\n')
		switch {
		case err == io.EOF && len(piece) == 0 && first:
			return 0, io.EOF
		case err != nil && err != io.EOF && err != bufio.ErrBufferFull:
			return size, err
		}
		text, ended := bytes.CutSuffix(piece, []byte("\n"))
		if cr && (!ended || len(text) > 0) {
			if err := ss.raw("\r"); err != nil {
				return size, err
			}
			size++
		}
		cr = false
		if err != io.EOF {
			text, cr = bytes.CutSuffix(text, []byte("\r"))
		}
		if first && bytes.HasPrefix(text, []byte(".")) {
			if err := ss.w.WriteByte('.'); err != nil {
				return size, err
			}
		}
		if _, err := ss.w.Write(text); err != nil {
			return size, err
		}
		size += len(text)
		if ended || err == io.EOF {
			return size, ss.raw("\r\n")
		}
	}
}

func (ss *session) dele(c command) error {
	n, err := c.numbers(1)
	if err != nil {
		return ss.invalid("DELE needs a message number")
	}
	i, ok, err := ss.message(n[0])
	if !ok {
		return err
	}
	ss.deleted[i] = true
	return ss.ok("Message %d goes with QUIT", n[0])
}

func (ss *session) rset(c command) error {
	if c.arg != "" {
		return ss.invalid("RSET has no arguments")
	}
	clear(ss.deleted)
	return ss.ok("%d messages", len(ss.messages))
}

func (ss *session) noop(c command) error {
	if c.arg != "" {
		return ss.invalid("NOOP has no arguments")
	}
	return ss.ok("Nothing done")
}
