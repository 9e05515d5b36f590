package main

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"time"

	"mailproxy/internal/pause"
)

// partner is who gets what a client sends: each that sends has one of its own, and
// the others have none.
func (r *round) partner(s scenario, i int) *daemon {
	switch s {
	case sends:
		return r.daemons[receives][i]
	case up:
		return r.daemons[down][i]
	}
	return nil
}

// prepare does what must not be recorded: senders learn their recipients' keys with
// a first mail, attachments are handed over, and begin to move.
func (r *round) prepare(ctx context.Context) error {
	err := r.each(func(s scenario, i int, d *daemon) error {
		to := r.partner(s, i)
		if to == nil {
			return nil
		}
		if err := d.submit(to.address, smallMail(d.address, to.address)); err != nil {
			return err
		}
		return r.until(ctx, to, 1)
	})
	if err != nil {
		return err
	}
	err = r.each(func(s scenario, i int, d *daemon) error {
		if s != up {
			return nil
		}
		to := r.partner(s, i)
		before := r.usage(to).brought
		for left := r.attachment(); left > 0; left -= mostAttachment {
			if err := d.submit(to.address, largeMail(d.address, to.address, min(left, mostAttachment))); err != nil {
				return err
			}
		}
		return r.until(ctx, to, before+10)
	})
	if err != nil {
		return err
	}
	return pause.For(ctx, r.scaled(settle))
}

// settle is how long all goes on before the recording, at scale 1: an observer finds
// out in it which number of packets in flight is none.
const settle = 3 * time.Minute

// until waits until reads have brought so many blocks to a client.
func (r *round) until(ctx context.Context, d *daemon, blocks int) error {
	for r.usage(d).brought < blocks {
		if err := pause.For(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("wait for mail to reach %s: %w", d.address, err)
		}
	}
	return nil
}

// mostAttachment is how large one attachment is at most, in bytes.
const mostAttachment = 12 << 20

// attachment returns how many bytes an attachment needs to be under way for the
// whole recording: more than a block of 8 KiB for each slot that there can be.
func (r *round) attachment() int {
	slots := r.parameters().QueryRate * r.scaled(r.length+2*settle).Seconds()
	return int(1.1*slots+100) * 8192
}

// mails sends what is to be sent while the recording goes on, and returns when it is
// over: of each minute each sender picks a moment at random.
func (r *round) mails(ctx context.Context) error {
	begin := time.Now()
	minutes := int(r.length / time.Minute)
	err := r.each(func(s scenario, i int, d *daemon) error {
		if s != sends {
			return nil
		}
		to := r.partner(s, i)
		for m := range minutes {
			at := begin.Add(r.scaled(time.Duration((float64(m) + rand.Float64()) * float64(time.Minute))))
			if err := pause.For(ctx, time.Until(at)); err != nil {
				return err
			}
			if err := d.submit(to.address, smallMail(d.address, to.address)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return pause.For(ctx, time.Until(begin.Add(r.scaled(r.length))))
}

func head(from, to, more string) []byte {
	return fmt.Appendf(nil, "From: %s\r\nTo: %s\r\nSubject: %s\r\nMIME-Version: 1.0\r\n%s\r\n", from, to, crand.Text(), more)
}

// smallMail returns a mail with some lines of text.
func smallMail(from, to string) []byte {
	b := head(from, to, "Content-Type: text/plain; charset=utf-8\r\n")
	for range 1 + rand.IntN(20) {
		b = append(b, crand.Text()+" "+crand.Text()+"\r\n"...)
	}
	return b
}

// largeMail returns a mail that is an attachment of random bytes.
func largeMail(from, to string, size int) []byte {
	raw := make([]byte, size)
	crand.Read(raw) // never fails
	b := bytes.NewBuffer(head(from, to, "Content-Type: application/octet-stream\r\n"+
		"Content-Disposition: attachment; filename=\"random.bin\"\r\nContent-Transfer-Encoding: base64\r\n"))
	const line = 57 // bytes that make 76 characters
	for ; len(raw) > 0; raw = raw[min(line, len(raw)):] {
		b.WriteString(base64.StdEncoding.EncodeToString(raw[:min(line, len(raw))]) + "\r\n")
	}
	return b.Bytes()
}
