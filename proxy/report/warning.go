package report

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-message"
)

// A Warning is a message to the user that is about no mail of theirs.
type Warning struct {
	To      string // the account
	Subject string
	Text    string // for the user, with what to do next; an empty line begins a paragraph
	Detail  string // one line for experts; may be empty
	Now     time.Time
	Rand    io.Reader // 16 bytes are read from it for the Message-ID
}

// BuildWarning returns the warning as a message with CRLF line endings. Whatever its
// strings hold, they add no header field.
func BuildWarning(w Warning) ([]byte, error) {
	if !plain(w.To) || w.Subject == "" || w.Text == "" || w.Now.IsZero() || w.Rand == nil {
		return nil, errors.New("build warning: it needs To, as a bare address, Subject, Text, Now and Rand")
	}
	var random [16]byte
	if _, err := io.ReadFull(w.Rand, random[:]); err != nil {
		return nil, fmt.Errorf("build warning: read randomness: %w", err)
	}
	var h message.Header
	h.SetContentType("text/plain", map[string]string{"charset": "utf-8"})
	fields := [][2]string{
		{"Return-Path", "<>"},
		{"From", "mailproxy <postmaster@localhost>"},
		{"To", "<" + w.To + ">"},
		{"Date", date(w.Now)},
		{"Message-ID", "<" + hex.EncodeToString(random[:]) + "@" + domain + ">"},
		{"Subject", toASCII(limit(clean(w.Subject), 300))},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834 section 5
		{"MIME-Version", "1.0"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	}
	for i := len(fields) - 1; i >= 0; i-- { // Add puts a field on top
		h.Add(fields[i][0], fields[i][1])
	}
	var text strings.Builder
	for i, paragraph := range strings.Split(w.Text, "\n\n") {
		if i > 0 {
			text.WriteString("\r\n")
		}
		wrap(&text, "", paragraph)
	}
	if w.Detail != "" {
		text.WriteString("\r\n")
		wrap(&text, "", "For experts: "+limit(w.Detail, 400))
	}
	var out bytes.Buffer
	mw, err := message.CreateWriter(&out, h)
	if err != nil {
		return nil, fmt.Errorf("build warning: write header: %w", err)
	}
	if _, err := io.WriteString(mw, text.String()); err != nil {
		return nil, fmt.Errorf("build warning: write text: %w", err)
	}
	if err := mw.Close(); err != nil {
		return nil, fmt.Errorf("build warning: end message: %w", err)
	}
	return out.Bytes(), nil
}
