// Attachment measures how long a mail with an attachment takes, compared with what
// the slots that were actually drawn allow, and what it does to small mails that
// are sent meanwhile. Parameters are those that real users get.
//
//	go run ./contrib/measure/attachment -size 1048576
//
// It runs a network and two people's engines in this process, over TCP on
// loopback. Once alice knows bob's keys, some small mails go to him at random
// times; then a mail with an attachment of random bytes, and while it is under way
// small mails again. All are read over IMAP. It fails if the large one's body has
// not the same bytes.
//
// The ideal is the least time that the slots of both clients allow: each λ_P slot of
// alice's since the 250 may carry a block, unless it carried another mail's; the
// block is in the spool once the delays drawn for that packet have passed; each
// read of bob's, also one that brought nothing, may bring a block that is there
// when it is, unless it brought another mail's, and is back after its own drawn
// delay. ratio is the real time, from SMTP's 250 to EXISTS in IMAP IDLE, by the
// ideal one.
//
// For a small mail, "extra" counts the λ_P slots that went to the attachment (or
// to nothing) after the mail was sealed and before its own: without the attachment
// it would have had the first of them. "reads" counts the reads that brought blocks
// of the attachment while its own was in the spool: a provider cannot tell blocks
// apart, so that one does queue there.
//
// small_extra_slots_max is the largest "extra" of all.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"mailproxy/internal/demo"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
)

// patience is longer than registration or a small mail takes, but for a fault.
const patience = 3 * time.Minute

func main() {
	size := flag.Int("size", 1<<20, "size of the attachment in bytes")
	alone := flag.Int("alone", 10, "how many small mails to send before the attachment")
	every := flag.Duration("every", 15*time.Second, "mean of the random time between small mails")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *size, *alone, *every); err != nil {
		fmt.Fprintln(os.Stderr, "attachment:", err)
		os.Exit(1)
	}
}

// A measurement is a world and the mails in it.
type measurement struct {
	*demo.World
	*recorder
	mails    []*mail // in the order of submission
	arrivals chan demo.Arrival
	failed   chan error
}

// A mail is one of alice's to bob.
type mail struct {
	subject  string
	body     []byte
	answered time.Time // 250
	seen     time.Time // zero: not yet
	raw      []byte
}

func run(ctx context.Context, size, alone int, every time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "mailproxy-attachment-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m := &measurement{recorder: newRecorder(), arrivals: make(chan demo.Arrival, 1000), failed: make(chan error, 1)}
	m.World, err = demo.Start(demo.Config{
		Dir: dir, Parameters: directory.DefaultParameters(), Receipts: true,
		Listen:  proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0"},
		Observe: m.event, Slots: m.slot,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	registering, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := m.Register(registering, func(string, time.Duration) {}); err != nil {
		return err
	}
	watch, err := m.Watch(m.Accounts[1])
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); m.watch(watching, watch) }()
	defer func() { stop(); <-watched }()

	if err := m.small(); err != nil { // from here on alice knows bob's keys
		return err
	}
	if err := m.wait(ctx); err != nil {
		return err
	}
	fmt.Printf("%d small mails alone\n", alone)
	for range alone {
		if err := m.pause(ctx, every); err != nil {
			return err
		}
		if err := m.small(); err != nil {
			return err
		}
	}
	if err := m.wait(ctx); err != nil {
		return err
	}
	return m.attachment(ctx, size, every)
}

// watch takes in arrivals until ctx ends.
func (m *measurement) watch(ctx context.Context, w *demo.Watcher) {
	for {
		a, err := w.Next(ctx)
		if ctx.Err() != nil {
			_ = w.Close() // all that was to be seen has been
			return
		}
		if err != nil {
			m.failed <- err
			return
		}
		m.arrivals <- a
	}
}

// take notes an arrival.
func (m *measurement) take(a demo.Arrival) error {
	for _, mail := range m.mails {
		if bytes.Contains(a.Raw, []byte("\r\nSubject: "+mail.subject+"\r\n")) {
			if !mail.seen.IsZero() {
				return fmt.Errorf("%s has arrived twice", mail.subject)
			}
			mail.seen, mail.raw = a.Seen, a.Raw
			return nil
		}
	}
	return errors.New("a mail has arrived that was not sent")
}

// pause waits a random time, and takes in what arrives.
func (m *measurement) pause(ctx context.Context, mean time.Duration) error {
	end := time.After(time.Duration(mathrand.ExpFloat64() * float64(mean)))
	for {
		select {
		case <-end:
			return nil
		case a := <-m.arrivals:
			if err := m.take(a); err != nil {
				return err
			}
		case err := <-m.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// wait waits until all mails have arrived.
func (m *measurement) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for slices.ContainsFunc(m.mails, func(mail *mail) bool { return mail.seen.IsZero() }) {
		if err := m.pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// submit sends a mail with this content type and body.
func (m *measurement) submit(what, fields string, body []byte) (*mail, error) {
	mail := &mail{subject: what + " " + rand.Text(), body: body}
	message := append([]byte("From: "+demo.Alice+"\r\nTo: "+demo.Bob+"\r\nSubject: "+mail.subject+"\r\nMIME-Version: 1.0\r\n"+fields+"\r\n"), body...)
	var err error
	if mail.answered, err = m.SubmitTimed(m.Accounts[0], demo.Bob, message); err != nil {
		return nil, err
	}
	m.mails = append(m.mails, mail)
	return mail, nil
}

func (m *measurement) small() error {
	_, err := m.submit("small", "Content-Type: text/plain; charset=utf-8\r\n", []byte("Dear Bob,\r\n\r\njust a line.\r\n\r\nAlice\r\n"))
	return err
}

// attachment sends the large mail, and small ones until it has arrived.
func (m *measurement) attachment(ctx context.Context, size int, every time.Duration) error {
	before := len(m.mails)
	large, err := m.submit("large", "Content-Type: multipart/mixed; boundary=limit\r\n", withAttachment(size))
	if err != nil {
		return err
	}
	fmt.Printf("the mail with the attachment has %d bytes\n", len(large.body))
	for large.seen.IsZero() {
		if err := m.pause(ctx, every); err != nil {
			return err
		}
		if !large.seen.IsZero() {
			break
		}
		if err := m.small(); err != nil {
			return err
		}
		if j := m.journey(before); j.Count > 0 {
			fmt.Printf("%4.0f s: %d of %d blocks sent, %d read\n", time.Since(large.answered).Seconds(), len(j.Sent), j.Count, len(j.Read))
		}
	}
	if err := m.wait(ctx); err != nil {
		return err
	}
	_, body, _ := bytes.Cut(large.raw, []byte("\r\n\r\n"))
	if !bytes.Equal(body, large.body) {
		return fmt.Errorf("the body has arrived with %d bytes of %d, or other ones", len(body), len(large.body))
	}
	fmt.Println("the body has arrived with the same bytes")
	return m.report(before)
}

// withAttachment returns a body with an attachment of random bytes.
func withAttachment(size int) []byte {
	raw := make([]byte, size)
	rand.Read(raw) // never fails
	var b strings.Builder
	b.WriteString("--limit\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nsee the attachment\r\n" +
		"--limit\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n" +
		"Content-Disposition: attachment; filename=\"random.bin\"\r\n\r\n")
	const line = 57 // bytes that make 76 characters
	for ; len(raw) > 0; raw = raw[min(line, len(raw)):] {
		b.WriteString(base64.StdEncoding.EncodeToString(raw[:min(line, len(raw))]) + "\r\n")
	}
	b.WriteString("--limit--\r\n")
	return []byte(b.String())
}
