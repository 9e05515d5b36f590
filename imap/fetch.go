package imap

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
)

func uidSet(uids []uint32) goimap.UIDSet {
	var set goimap.UIDSet
	for _, uid := range uids {
		set.AddNum(goimap.UID(uid))
	}
	return set
}

func flagList(flags []string) []goimap.Flag {
	list := make([]goimap.Flag, len(flags))
	for i, f := range flags {
		list[i] = goimap.Flag(f)
	}
	return list
}

func flagStrings(flags []goimap.Flag) []string {
	list := make([]string, len(flags))
	for i, f := range flags {
		list[i] = string(f)
	}
	return list
}

// Store implements imapserver.Session.
func (ss *session) Store(w *imapserver.FetchWriter, set goimap.NumSet, flags *goimap.StoreFlags, _ *goimap.StoreOptions) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	sel, err := ss.writable()
	if err != nil {
		return err
	}
	op := map[goimap.StoreFlagsOp]mailbox.FlagOp{
		goimap.StoreFlagsSet: mailbox.FlagsSet, goimap.StoreFlagsAdd: mailbox.FlagsAdd, goimap.StoreFlagsDel: mailbox.FlagsRemove,
	}[flags.Op]
	uids := ss.pick(set)
	list, err := sel.SetFlags(uids, op, flagStrings(flags.Flags))
	_, byUID := set.(goimap.UIDSet)
	if !flags.Silent {
		for _, m := range list {
			r := w.CreateMessage(uint32(sel.Seq(m.UID)))
			if byUID {
				r.WriteUID(goimap.UID(m.UID))
			}
			r.WriteFlags(flagList(m.Flags))
			if err := r.Close(); err != nil {
				return err
			}
		}
	}
	if err == nil && !byUID && len(list) < len(uids) {
		err = mailbox.ErrNoMessage
	}
	return ss.fail(err)
}

// Fetch implements imapserver.Session.
func (ss *session) Fetch(w *imapserver.FetchWriter, set goimap.NumSet, options *goimap.FetchOptions) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	sel, err := ss.selected()
	if err != nil {
		return err
	}
	if n := len(options.BodySection) + len(options.BinarySection) + len(options.BinarySectionSize); n > maxItems {
		return no(goimap.ResponseCodeLimit, fmt.Sprintf("The command asks for %d sections of each message; %d are possible", n, maxItems))
	}
	uids := ss.pick(set)
	seen, err := ss.markSeen(uids, options)
	if err != nil {
		return ss.fail(err)
	}
	list, err := sel.Known(uids)
	if err != nil {
		return ss.fail(err)
	}
	written := 0
	for some := range slices.Chunk(list, readTogether) {
		err := sel.Folder().Contents(some, func(m mailbox.Seen, c *mailbox.Content) error {
			err := ss.fetch(w, m, c, options, seen[m.UID])
			if err == nil {
				written++
			}
			return err
		})
		if err != nil {
			return ss.fail(err)
		}
	}
	// Another session may have expunged some; this client hears of it soon.
	if _, byUID := set.(goimap.UIDSet); written < len(uids) && !byUID {
		return ss.fail(mailbox.ErrNoMessage)
	}
	return nil
}

// markSeen sets \Seen where a body is fetched without PEEK, and returns the
// messages that did not have it. After EXAMINE nothing changes.
func (ss *session) markSeen(uids []uint32, options *goimap.FetchOptions) (map[uint32]bool, error) {
	mark := slices.ContainsFunc(options.BodySection, func(b *goimap.FetchItemBodySection) bool { return !b.Peek }) ||
		slices.ContainsFunc(options.BinarySection, func(b *goimap.FetchItemBinarySection) bool { return !b.Peek })
	if !mark || ss.readOnly {
		return nil, nil
	}
	var unseen []uint32
	changed := make(map[uint32]bool)
	for _, uid := range uids {
		if m, err := ss.sel.Folder().Message(uid); err == nil && !m.HasFlag(mailbox.FlagSeen) {
			unseen, changed[uid] = append(unseen, uid), true
		}
	}
	if len(unseen) == 0 {
		return nil, nil
	}
	_, err := ss.sel.SetFlags(unseen, mailbox.FlagsAdd, []string{mailbox.FlagSeen})
	if errors.Is(err, store.ErrFull) {
		return nil, nil // on a full disk mail can be read all the same; it stays unseen
	}
	return changed, err
}

// fetched is what a FETCH response needs of a message's content. It is read before
// the response begins, where an error is an answer. What is large is only found
// then, and read while it is written.
type fetched struct {
	envelope *goimap.Envelope
	body     goimap.BodyStructure
	sections []payload
	binaries []payload
	sizes    []uint32
	held     int64 // bytes of the message that the payloads have in memory
}

func (ss *session) fetch(w *imapserver.FetchWriter, m mailbox.Seen, c *mailbox.Content, options *goimap.FetchOptions, flags bool) error {
	var got fetched
	if err := got.read(c, m.Message, options); err != nil {
		return err
	}
	return ss.respond(w, m, options, flags, &got)
}

// respond writes a FETCH response.
func (ss *session) respond(w *imapserver.FetchWriter, m mailbox.Seen, options *goimap.FetchOptions, flags bool, got *fetched) error {
	r := w.CreateMessage(uint32(m.Seq))
	if options.UID {
		r.WriteUID(goimap.UID(m.UID))
	}
	if options.Flags || flags {
		r.WriteFlags(flagList(m.Flags))
	}
	if options.InternalDate {
		r.WriteInternalDate(m.Date())
	}
	if options.RFC822Size {
		r.WriteRFC822Size(m.Size)
	}
	if options.Envelope {
		r.WriteEnvelope(got.envelope)
	}
	if options.BodyStructure != nil {
		r.WriteBodyStructure(got.body)
	}
	var errs []error
	for i, b := range options.BodySection {
		errs = append(errs, ss.literal(r.WriteBodySection(b, got.sections[i].size), got.sections[i]))
	}
	for i, b := range options.BinarySection {
		errs = append(errs, ss.literal(r.WriteBinarySection(b, got.binaries[i].size), got.binaries[i]))
	}
	for i, b := range options.BinarySectionSize {
		r.WriteBinarySectionSize(b, got.sizes[i])
	}
	return errors.Join(append(errs, r.Close())...)
}

func (got *fetched) read(c *mailbox.Content, m mailbox.Message, options *goimap.FetchOptions) error {
	if options.Envelope {
		e, err := c.Envelope()
		if err != nil {
			return err
		}
		got.envelope = envelope(e)
	}
	if options.BodyStructure != nil {
		s, err := c.Structure()
		if err != nil {
			return err
		}
		got.body = bodyStructure(s, 0)
	}
	for _, b := range options.BodySection {
		p, err := got.section(c, m, b)
		if err != nil {
			return err
		}
		got.sections = append(got.sections, p)
	}
	for _, b := range options.BinarySection {
		p, err := got.binarySection(c, m, b.Part, b.Partial)
		if err != nil {
			return err
		}
		got.binaries = append(got.binaries, p)
	}
	for _, b := range options.BinarySectionSize {
		p, err := got.binarySection(c, m, b.Part, nil)
		if err != nil {
			return err
		}
		got.sizes = append(got.sizes, uint32(p.size))
	}
	return nil
}

// section returns the bytes of a BODY[] item (RFC 9051 section 6.4.5.1), as they
// came. A section that the message does not have is empty.
func (got *fetched) section(c *mailbox.Content, m mailbox.Message, b *goimap.FetchItemBodySection) (payload, error) {
	if len(b.Part) == 0 && b.Specifier == goimap.PartSpecifierNone {
		return got.span(c, 0, m.Size, b.Partial) // needs no structure
	}
	s, err := c.Structure()
	if err != nil {
		return payload{}, err
	}
	i, ok := s.Find(b.Part)
	if !ok {
		return payload{}, nil
	}
	p := &s.Parts[i]
	if len(b.Part) > 0 && (b.Specifier == goimap.PartSpecifierHeader || b.Specifier == goimap.PartSpecifierText) {
		inner := s.Children(i)
		if !p.IsMessage() || len(inner) == 0 {
			return payload{}, nil // only a message has a header and a text of its own
		}
		p = &s.Parts[inner[0]]
	}
	switch b.Specifier {
	case goimap.PartSpecifierMIME:
		return got.span(c, p.Start, p.Body, b.Partial)
	case goimap.PartSpecifierHeader:
		if len(b.HeaderFields) == 0 && len(b.HeaderFieldsNot) == 0 {
			if p.Parent < 0 && int64(len(s.Header)) == p.Body {
				return held(partial(s.Header, b.Partial)), nil
			}
			return got.span(c, p.Start, p.Body, b.Partial)
		}
		return got.fields(c, p, func(header []byte) []byte {
			return partial(filterFields(header, b.HeaderFields, b.HeaderFieldsNot), b.Partial)
		})
	}
	return got.span(c, p.Body, p.End, b.Partial)
}

// headerOf reads a part's header; the message's own is kept beside the index.
func headerOf(c *mailbox.Content, p *mailbox.Part) ([]byte, error) {
	if p.Parent < 0 {
		return c.Header()
	}
	return c.Bytes(p.Start, p.Body)
}

func partial(b []byte, p *goimap.SectionPartial) []byte {
	if p == nil {
		return b
	}
	b = b[min(p.Offset, int64(len(b))):]
	return b[:min(p.Size, int64(len(b)))]
}

// filterFields keeps the fields that are named, or those that are not, in their
// order and as they came, and ends with a blank line.
func filterFields(header []byte, keep, drop []string) []byte {
	named := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(n string) bool { return strings.EqualFold(n, name) })
	}
	var out bytes.Buffer
	for _, f := range mailbox.Fields(header) {
		if len(keep) > 0 && !named(keep, f.Name) || named(drop, f.Name) {
			continue
		}
		out.Write(f.Raw)
		if !bytes.HasSuffix(f.Raw, []byte("\n")) {
			out.WriteString("\r\n")
		}
	}
	out.WriteString("\r\n")
	return out.Bytes()
}
