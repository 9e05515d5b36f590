package proxy

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"mailproxy/internal/mailclient"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/web"
)

// This file is what the status page shows and does of contacts and of mail programs.

// Contacts implements web.Source.
func (p pageSource) Contacts() ([]web.Contact, error) {
	var list []web.Contact
	for _, a := range p.d.list() {
		if a.ending() == Deleted {
			continue
		}
		all, err := p.d.Contacts(a.keys.Address())
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			list = append(list, pageContact(c))
		}
	}
	return list, nil
}

func pageContact(c ContactStatus) web.Contact {
	out := web.Contact{
		Account: c.Account, Address: c.Address, State: c.State, Since: c.Since,
		Blocked: c.Blocked, PaysWork: c.PaysWork, Verified: c.Verified, HeldTo: c.HeldTo, HeldFrom: c.HeldFrom,
	}
	if o := c.Other; o != nil {
		out.Other = &web.OtherKey{Key: o.Key, Since: o.Since, Published: o.Published}
		if o.SafetyNumber != "" {
			out.Other.SafetyNumber = contacts.GroupDigits(o.SafetyNumber)
		}
	}
	return out
}

// Contact implements web.Source.
func (p pageSource) Contact(account, address string) (web.Contact, error) {
	c, err := p.d.ContactKeys(ContactName{Account: account, Address: address})
	if err != nil {
		// It is logged, so that it is not to name the contact.
		return web.Contact{}, fmt.Errorf("read a contact: %w", errors.Unwrap(err))
	}
	out := pageContact(c.ContactStatus)
	out.SafetyNumber, out.QR = contacts.GroupDigits(c.SafetyNumber), c.QR
	return out, nil
}

// Decide implements web.Source.
func (p pageSource) Decide(in web.Decision) (string, error) {
	name := ContactName{Account: in.Account, Address: in.Address}
	switch in.Do {
	case "block", "unblock":
		out, err := p.d.Block(BlockContact{Account: in.Account, Address: in.Address, Unblock: in.Do == "unblock"})
		if err != nil {
			return "", err
		}
		if out.Blocked {
			return out.Address + " is blocked: their mail is dropped from now on.", nil
		}
		return out.Address + " is not blocked any more.", nil
	case "accept":
		out, err := p.d.AcceptKey(DecideKey{ContactName: name, Key: in.Key, LoseVerified: in.LoseVerified})
		return decidedWords(out, err)
	case "reject":
		out, err := p.d.RejectKey(DecideKey{ContactName: name, Key: in.Key})
		return decidedWords(out, err)
	case "verify":
		out, err := p.d.VerifyContact(VerifyContact{ContactName: name, Number: in.Number})
		return decidedWords(out, err)
	case "unverify":
		out, err := p.d.UnverifyContact(name)
		return decidedWords(out, err)
	case "forget":
		if err := p.d.ForgetContact(name); err != nil {
			return "", err
		}
		return in.Address + " is forgotten: the key that is shown next under this address is trusted.", nil
	}
	return "", errors.New("this is nothing that can be decided")
}

// decidedWords says what came of a decision.
func decidedWords(d DecidedKey, err error) (string, error) {
	if err != nil {
		return "", err
	}
	s := "The key of " + d.Address + " is " + d.State + " now."
	if !d.Changed {
		s = "The key of " + d.Address + " was " + d.State + " before."
	}
	if d.Released > 0 {
		s += fmt.Sprintf(" Mails to them that go on: %d.", d.Released)
	}
	if d.Delivered > 0 {
		s += fmt.Sprintf(" Mails from them that are in the Inbox now: %d.", d.Delivered)
	}
	if d.Dropped > 0 {
		s += fmt.Sprintf(" Mails that were sealed with the other key, and were dropped: %d.", d.Dropped)
	}
	return s, nil
}

// Settings implements web.Source.
func (p pageSource) Settings() (web.Settings, error) {
	m, err := p.d.MailSettings("")
	if err != nil {
		return web.Settings{}, err
	}
	pem, err := os.ReadFile(m.Authority.File)
	if err != nil {
		return web.Settings{}, fmt.Errorf("read certificate: %w", err)
	}
	out := web.Settings{Autoconfig: p.d.opt.Autoconfig, CAFile: m.Authority.File, CAPEM: pem, Fingerprint: m.Authority.Fingerprint, Plaintext: p.d.opt.Listen.AllowPlaintext}
	for _, a := range m.Accounts {
		out.Accounts = append(out.Accounts, a.UserName)
	}
	for _, s := range m.Servers {
		shown := web.MailServer{Host: s.Host, Port: strconv.Itoa(s.Port), Protocol: string(s.Protocol), Security: "STARTTLS"}
		if s.Security == mailclient.TLS {
			shown.Protocol, shown.Security = shown.Protocol+"s", "SSL/TLS"
		}
		shown.Purpose = map[mailclient.Protocol]string{
			mailclient.IMAP: "Incoming mail (IMAP)", mailclient.POP3: "Incoming mail (POP3)", mailclient.SMTP: "Outgoing mail (SMTP)",
		}[s.Protocol]
		out.Servers = append(out.Servers, shown)
	}
	return out, nil
}

// Profile implements web.Source.
func (p pageSource) Profile(account string) ([]byte, error) { return p.d.MobileConfig(account, "") }
