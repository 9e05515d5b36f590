package mailbox

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"mailproxy/internal/store"
)

// MessageID returns the Message-ID of a message, without angle brackets, or "". The
// message's header is enough.
func MessageID(raw []byte) string {
	from, to := messageIDField(raw)
	_, value, _ := bytes.Cut(raw[from:to], []byte(":"))
	if ids := msgIDs(unfold(value), 1); len(ids) > 0 {
		return ids[0]
	}
	return ""
}

// readHead reads the header of a message, and what else comes with it; of one that is
// very long only the beginning.
func readHead(r io.Reader) ([]byte, error) {
	head := make([]byte, 0, 4<<10)
	for len(head) < maxParsed {
		if len(head) == cap(head) {
			head = slices.Grow(head, len(head))
		}
		n, err := r.Read(head[len(head):cap(head)])
		seen := max(len(head)-3, 0)
		head = head[:len(head)+n]
		switch {
		case err == io.EOF:
			return head, nil
		case err != nil:
			return nil, err
		case bytes.Contains(head[seen:], []byte("\n\r\n")), bytes.Contains(head[seen:], []byte("\n\n")):
			return head, nil
		}
	}
	return head, nil
}

// restage stages the bytes of a message with another Message-ID, which it must have.
func (s *Store) restage(m Message, id string) (g *Staged, err error) {
	err = s.st.View(func(tx *store.Tx) (err error) {
		g, err = s.stageWith((&Content{tx: tx, m: m}).Reader(0, m.Size), id)
		return err
	})
	return g, err
}

// restageStaged is restage for a message that no folder shows yet.
func (s *Store) restageStaged(old *Staged, id string) (*Staged, error) {
	if old.inline != nil {
		return s.stageWith(bytes.NewReader(old.inline), id)
	}
	return s.restage(Message{Size: old.size, blob: old.id}, id)
}

func (s *Store) stageWith(r io.Reader, id string) (*Staged, error) {
	head, err := readHead(r)
	if err != nil {
		return nil, fmt.Errorf("stage message: %w", err)
	}
	return s.StageReader(io.MultiReader(bytes.NewReader(withMessageID(head, id)), r))
}

// withMessageID returns the beginning of a message, with its header, with another
// value of its first Message-ID field, which it must have. All other bytes stay, and
// with an empty id this one does too.
func withMessageID(raw []byte, id string) []byte {
	if id == "" {
		return raw
	}
	from, to := messageIDField(raw)
	field := raw[from:to]
	name, _, _ := bytes.Cut(field, []byte(":"))
	end := field[len(bytes.TrimRight(field, "\r\n")):]
	out := make([]byte, 0, len(raw)+len(id))
	out = append(append(out, raw[:from]...), name...)
	out = append(append(append(out, ": <"...), id...), '>')
	return append(append(out, end...), raw[to:]...)
}

// messageIDField returns where the first Message-ID field of a message begins and
// where it ends, its line endings included; nothing at the start if it has none.
func messageIDField(raw []byte) (from, to int) {
	found := false
	for at := 0; at < len(raw); {
		next := len(raw)
		if i := bytes.IndexByte(raw[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		line := raw[at:next]
		switch {
		case line[0] == ' ' || line[0] == '\t':
			if found {
				to = next
			}
		case found, len(bytes.TrimRight(line, "\r\n")) == 0:
			return from, to
		default:
			name, _, colon := bytes.Cut(line, []byte(":"))
			if colon && strings.EqualFold(string(bytes.TrimRight(name, " \t")), "Message-ID") {
				found, from, to = true, at, next
			}
		}
		at = next
	}
	return from, to
}
