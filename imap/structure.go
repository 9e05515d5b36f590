package imap

import (
	"math"

	goimap "github.com/emersion/go-imap/v2"

	"mailproxy/proxy/mailbox"
)

func envelope(e *mailbox.Envelope) *goimap.Envelope {
	return &goimap.Envelope{
		Date:      e.Time(),
		Subject:   e.Subject,
		From:      addresses(e.From),
		Sender:    addresses(e.Sender),
		ReplyTo:   addresses(e.ReplyTo),
		To:        addresses(e.To),
		Cc:        addresses(e.Cc),
		Bcc:       addresses(e.Bcc),
		InReplyTo: e.InReplyTo,
		MessageID: e.MessageID,
	}
}

func addresses(list []mailbox.Address) []goimap.Address {
	var out []goimap.Address
	for _, a := range list {
		out = append(out, goimap.Address{Name: a.Name, Mailbox: a.Mailbox, Host: a.Host})
	}
	return out
}

// bodyStructure describes part i and those below it. The library wants the
// extension data always, and at least one child of a multipart; the parser makes
// sure of the latter.
func bodyStructure(s *mailbox.Structure, i int) goimap.BodyStructure {
	p := &s.Parts[i]
	var disposition *goimap.BodyStructureDisposition
	if p.Disposition != "" {
		disposition = &goimap.BodyStructureDisposition{Value: p.Disposition, Params: p.DispParams}
	}
	if p.IsMultipart() {
		b := &goimap.BodyStructureMultiPart{
			Subtype: p.Subtype,
			Extended: &goimap.BodyStructureMultiPartExt{
				Params: p.Params, Disposition: disposition, Language: p.Language, Location: p.Location,
			},
		}
		for _, c := range s.Children(i) {
			b.Children = append(b.Children, bodyStructure(s, c))
		}
		return b
	}
	b := &goimap.BodyStructureSinglePart{
		Type: p.Type, Subtype: p.Subtype, Params: p.Params,
		ID: p.ID, Description: p.Description, Encoding: p.Encoding,
		Size: uint32(min(p.End-p.Body, math.MaxUint32)),
		Extended: &goimap.BodyStructureSinglePartExt{
			Disposition: disposition, Language: p.Language, Location: p.Location,
		},
	}
	switch inner := s.Children(i); {
	case p.IsMessage() && len(inner) > 0 && p.Envelope != nil:
		b.MessageRFC822 = &goimap.BodyStructureMessageRFC822{
			Envelope: envelope(p.Envelope), BodyStructure: bodyStructure(s, inner[0]), NumLines: p.Lines,
		}
	case p.Type == "text":
		b.Text = &goimap.BodyStructureText{NumLines: p.Lines}
	}
	return b
}
