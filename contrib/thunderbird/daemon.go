package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/smtp"
	"os"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"mailproxy/contrib/clients/ready"
)

// mailPatience is how long a mail may take through the network, on a busy machine.
const mailPatience = 3 * time.Minute

// eventually repeats a look until it says yes.
func (u *user) eventually(what string, look func() (bool, error)) error {
	until := time.Now().Add(mailPatience)
	for {
		ok, err := look()
		switch {
		case err != nil:
			return err
		case ok:
			return nil
		case time.Now().After(until):
			return fmt.Errorf("waited in vain for %s", what)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// there waits until the folder, in the daemon, holds the mail n times.
func (u *user) there(a ready.Account, folder, subject string, n int) error {
	return u.eventually(fmt.Sprintf("%d of %q in %s of %s", n, subject, folder, a.Address), func() (bool, error) {
		list, err := fetch(u.daemon(a), a, folder, subject)
		return len(list) == n, err
	})
}

// daemon returns the daemon of one of the two.
func (u *user) daemon(a ready.Account) *ready.File {
	if a.Address == u.bob.Address {
		return u.peer
	}
	return u.file
}

func flagsOf(f *ready.File, a ready.Account, folder, subject string) ([]string, error) {
	list, err := fetch(f, a, folder, subject)
	if err != nil || len(list) != 1 {
		return nil, err
	}
	return list[0], nil
}

// fetch returns the flags of each message in the folder that has the subject.
func fetch(f *ready.File, a ready.Account, folder, subject string) ([][]string, error) {
	c, err := f.Dial(a, nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	in, err := c.Select(folder, &goimap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil || in.NumMessages == 0 {
		return nil, err
	}
	var all goimap.SeqSet
	all.AddRange(1, 0)
	got, err := c.Fetch(all, &goimap.FetchOptions{Flags: true, Envelope: true}).Collect()
	if err != nil {
		return nil, err
	}
	var list [][]string
	for _, m := range got {
		if m.Envelope == nil || m.Envelope.Subject != subject {
			continue
		}
		flags := []string{}
		for _, f := range m.Flags {
			flags = append(flags, string(f))
		}
		list = append(list, flags)
	}
	return list, nil
}

// submit sends a mail by SMTP.
func submit(f *ready.File, from ready.Account, to, subject string) error {
	pem, err := os.ReadFile(f.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", f.CAFile)
	}
	c, err := smtp.Dial(f.SMTP.String())
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	defer c.Close()
	mail := "From: " + from.Address + "\r\nTo: " + to + "\r\nSubject: " + subject + "\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße von bob\r\n"
	if err := c.StartTLS(&tls.Config{RootCAs: roots, ServerName: "localhost"}); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if err := c.Auth(smtp.PlainAuth("", from.Username, from.Password, f.SMTP.Host)); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if err := c.Mail(from.Address); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if err := c.Rcpt(to); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	w, err := c.Data()
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if _, err := w.Write([]byte(mail)); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	return c.Quit()
}
