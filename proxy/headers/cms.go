package headers

// Tags of ASN.1 (X.690 section 8.1.2) that signed data has on the way to its content.
const (
	tagEnd       = 0x00 // of contents of indefinite length
	tagOctets    = 0x04
	tagOctetsOf  = 0x24 // in several pieces
	tagSequence  = 0x30
	tagExplicit0 = 0xa0
)

// maxElements bounds how many elements are passed over.
const maxElements = 1000

// signedContent returns the content that CMS signed data carries (RFC 5652 sections 3,
// 5.1 and 5.2), or what is there of it if b is only its beginning; nil if b is
// something else, or the content is not in it. It is for looking at only: nothing is
// verified. BER is taken, since programs that sign while they read write it.
func signedContent(b []byte) []byte {
	budget := maxElements
	skip := func(b []byte) []byte { return passOver(b, &budget) }
	info := enter(b, tagSequence)
	signed := enter(enter(skip(info), tagExplicit0), tagSequence)
	encap := enter(skip(skip(signed)), tagSequence)
	content := enter(skip(encap), tagExplicit0)
	if whole := enter(content, tagOctets); whole != nil {
		return whole
	}
	var out []byte
	for rest := enter(content, tagOctetsOf); len(rest) > 0 && budget > 0; rest = skip(rest) {
		piece := enter(rest, tagOctets)
		if piece == nil {
			break
		}
		out = append(out, piece...)
	}
	return out
}

// header reads the tag and length of the element that b begins with. Length is -1 if
// it is indefinite. ok is false if there is none, or one of a kind that is not needed.
func header(b []byte) (tag byte, length int, contents []byte, ok bool) {
	if len(b) < 2 || b[0]&0x1f == 0x1f {
		return 0, 0, nil, false
	}
	tag, length, b = b[0], int(b[1]), b[2:]
	switch {
	case length == 0x80:
		return tag, -1, b, true
	case length > 0x80:
		n := length & 0x7f
		if n > 4 || n > len(b) {
			return 0, 0, nil, false
		}
		length = 0
		for _, c := range b[:n] {
			length = length<<8 | int(c)
		}
		if length < 0 { // where an int has 32 bits
			return 0, 0, nil, false
		}
		b = b[n:]
	}
	return tag, length, b, true
}

// enter returns the contents of the element that b begins with, as far as b has them,
// or nil if its tag is another. Contents of indefinite length go on to b's end.
func enter(b []byte, want byte) []byte {
	tag, length, contents, ok := header(b)
	if !ok || tag != want {
		return nil
	}
	if length >= 0 && length < len(contents) {
		contents = contents[:length]
	}
	return contents[:len(contents):len(contents)]
}

// passOver returns what follows the element that b begins with, nil if nothing does.
func passOver(b []byte, budget *int) []byte {
	tag, length, contents, ok := header(b)
	*budget--
	switch {
	case !ok || *budget < 0:
		return nil
	case length > len(contents):
		return nil
	case length >= 0:
		return contents[length:]
	}
	if tag&0x20 == 0 {
		return nil // only constructed elements may be of indefinite length
	}
	for len(contents) > 0 {
		if contents[0] == tagEnd {
			return contents[min(2, len(contents)):]
		}
		contents = passOver(contents, budget)
	}
	return nil
}
