package headers

import (
	"bytes"
	"encoding/base64"
	"mime"
	"strings"
)

// Bounds of an inspector. What is beyond them is not looked at.
const (
	maxInspectLine = 16 << 10  // bytes of a line
	maxInspectCMS  = 256 << 10 // characters of a base64 part with signed data
	maxInspectNest = 16        // multiparts within each other
	maxInspectDeep = 3         // signed data within signed data
)

// An inspector looks for leaks in a message's body while it passes. It changes
// nothing, holds no more than a header and one line, and takes what is malformed for
// text: a part that it misses is one that is not warned of.
type inspector struct {
	policy *Policy
	from   Mailbox
	found  Leaks

	line  []byte // of the line that has begun
	state inspectState
	head  []byte // of a part, in inspectHead
	cms   []byte // base64, in inspectCMS
	armor bool   // in the header of an armored block
	stack []multipart
	// wrapped says that the header that is read is that of a message or entity which
	// is as a whole the content of a signature.
	wrapped bool
	depth   int // of signed data that this one is in
}

type inspectState int

const (
	inspectNothing inspectState = iota // until the next boundary
	inspectHead                        // the header of a part
	inspectText                        // a part that may hold an armored block
	inspectCMS                         // a part of signed data (RFC 8551 section 3.5.2)
)

// A multipart is one that the current line is in.
type multipart struct {
	boundary  string
	signed    bool // multipart/signed (RFC 1847): its first part is what is signed
	protected bool // a signature covers it
	parts     int  // begun so far
}

// inspect makes an inspector of the body behind a header.
func inspect(fields []field, from Mailbox, p *Policy) *inspector {
	x := &inspector{policy: p, from: from}
	x.begin(fields, false, false)
	return x
}

// Write takes more of the body. It never fails.
func (x *inspector) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		rest = after
		if len(x.line) > 0 || !whole {
			x.line = append(x.line, line[:min(len(line), maxInspectLine-len(x.line))]...)
			line = x.line
		}
		if whole {
			x.take(bytes.TrimSuffix(line, []byte{'\r'}))
			x.line = x.line[:0]
		}
	}
	return len(p), nil
}

// close is the end of the body.
func (x *inspector) close() {
	if len(x.line) > 0 {
		x.take(x.line)
		x.line = nil
	}
	x.endPart()
}

// take looks at a line without its ending.
func (x *inspector) take(line []byte) {
	if bytes.HasPrefix(line, []byte("--")) && x.atBoundary(line) {
		return
	}
	switch x.state {
	case inspectHead:
		if len(line) > 0 {
			if len(x.head) < MaxHeader {
				x.head = append(append(x.head, line...), '\n')
			}
			return
		}
		x.endHead()
	case inspectText:
		x.text(line)
	case inspectCMS:
		if len(x.cms) < maxInspectCMS {
			x.cms = append(x.cms, bytes.TrimSpace(line)...)
		}
	}
}

// atBoundary ends and begins parts at a delimiter (RFC 2046 section 5.1.1).
func (x *inspector) atBoundary(line []byte) bool {
	for i := len(x.stack) - 1; i >= 0; i-- {
		rest, ok := bytes.CutPrefix(line[2:], []byte(x.stack[i].boundary))
		if !ok {
			continue
		}
		rest, last := bytes.CutPrefix(rest, []byte("--"))
		if len(bytes.TrimSpace(rest)) > 0 {
			continue
		}
		x.endPart()
		x.stack = x.stack[:i+1]
		if last {
			x.stack = x.stack[:i]
			return true
		}
		x.stack[i].parts++
		x.state = inspectHead
		return true
	}
	return false
}

// endPart ends what was being read.
func (x *inspector) endPart() {
	if x.state == inspectHead {
		x.endHead() // a part without a body
	}
	if x.state == inspectCMS && x.depth < maxInspectDeep {
		// As much as can be decoded.
		der := make([]byte, base64.StdEncoding.DecodedLen(len(x.cms)))
		n, _ := base64.StdEncoding.Decode(der, x.cms)
		if content := signedContent(der[:n]); content != nil {
			y := &inspector{policy: x.policy, from: x.from, state: inspectHead, wrapped: true, depth: x.depth + 1}
			_, _ = y.Write(content)
			y.close()
			x.found |= y.found
		}
	}
	x.state, x.cms, x.armor, x.wrapped = inspectNothing, nil, false, false
}

// endHead is the end of a part's header.
func (x *inspector) endHead() {
	fields, _, _ := split(x.head)
	x.head = nil
	payload, protected := x.wrapped, x.wrapped
	x.wrapped = false
	if n := len(x.stack); n > 0 && !payload {
		in := x.stack[n-1]
		payload = in.signed && in.parts == 1
		protected = in.protected || payload
	}
	x.begin(fields, payload, protected)
}

// begin takes up the entity that has this header. payload means that it is what a
// signature covers as a whole, protected that one covers it.
func (x *inspector) begin(fields []field, payload, protected bool) {
	w := writer{fields: fields}
	kind, params, _ := mime.ParseMediaType(w.first("content-type")) // what cannot be read is text
	if len(x.stack) > 0 && (params["hp"] != "" || params["protected-headers"] != "") {
		protected = true // RFC 9788 section 2.1, and what mail programs wrote before it
	}
	if protected {
		x.found |= leaksOf(fields, x.from, x.policy)
	}
	x.state = inspectText
	switch {
	case strings.HasPrefix(kind, "multipart/"):
		x.state = inspectNothing
		if b := params["boundary"]; b != "" && len(x.stack) < maxInspectNest {
			x.stack = append(x.stack, multipart{boundary: b, signed: kind == "multipart/signed", protected: protected})
		}
	case kind == "message/rfc822" || kind == "message/global":
		// What is signed as a whole, or says so, is this mail; any other is one that
		// is attached to it, which the sender means to pass on.
		x.state = inspectNothing
		if payload || params["forwarded"] == "no" {
			x.state, x.wrapped = inspectHead, true
		}
	case kind == "application/pkcs7-mime" || kind == "application/x-pkcs7-mime":
		x.state = inspectNothing
		if s := params["smime-type"]; s == "" || s == "signed-data" {
			x.state = inspectCMS
		}
	case strings.EqualFold(w.first("content-transfer-encoding"), "base64"):
		x.state = inspectNothing
	}
}

// text looks for the header of an armored block (RFC 9580 section 6.2.2), in which
// programs name themselves.
func (x *inspector) text(line []byte) {
	if !x.armor {
		x.armor = bytes.HasPrefix(line, []byte("-----BEGIN PGP "))
		return
	}
	key, _, ok := bytes.Cut(line, []byte(": "))
	x.armor = ok
	if ok && (strings.EqualFold(string(key), "version") || strings.EqualFold(string(key), "comment")) {
		x.found |= LeakSoftware
	}
}
