package proxy

import (
	"fmt"
	"path/filepath"

	"mailproxy/internal/mailclient"
	"mailproxy/proxy/cert"
)

// MailSettings is what a mail program on this computer has to be told. Authentication
// is always by password, within TLS.
type MailSettings struct {
	Accounts []MailUser `json:"accounts"`
	// Servers of each protocol, the one to prefer first. A program takes one of IMAP
	// and POP3, and SMTP.
	Servers   []mailclient.Server `json:"servers"`
	Authority MailAuthority       `json:"authority"`
}

// MailUser is an account as mail programs know it.
type MailUser struct {
	Address  string `json:"address"`
	UserName string `json:"user_name"`
}

// MailAuthority is what vouches for the servers. A mail program has to trust it once.
type MailAuthority struct {
	Name        string `json:"name"`
	File        string `json:"file"`        // in PEM
	Fingerprint string `json:"fingerprint"` // SHA-256, as mail programs show it
}

// Listeners returns where the front ends are to listen, by name, as Status.Listen has
// it; those that are not offered are left out.
func (l ListenConfig) Listeners() map[string]string {
	all := map[string]string{"smtp": l.SMTP, "imap": l.IMAP, "pop3": l.POP3, "smtps": l.SMTPS, "imaps": l.IMAPS, "pop3s": l.POP3S}
	for name, at := range all {
		if at == "" {
			delete(all, name)
		}
	}
	return all
}

// MakeMailSettings makes the settings of accounts from where the front ends listen and
// from their certificates. It is for who has no Daemon: see Daemon.MailSettings.
func MakeMailSettings(addresses []string, listeners map[string]string, certificates *cert.Info) (MailSettings, error) {
	servers, err := mailclient.Servers(listeners)
	if err != nil {
		return MailSettings{}, fmt.Errorf("say what mail programs are told: %w", err)
	}
	s := MailSettings{
		Accounts: []MailUser{}, Servers: servers,
		Authority: MailAuthority{Name: certificates.Name, File: certificates.File, Fingerprint: certificates.Fingerprint},
	}
	for _, a := range addresses {
		s.Accounts = append(s.Accounts, MailUser{Address: a, UserName: a})
	}
	return s, nil
}

// MailSettings returns what mail programs have to be told of an account, or of all if
// addr is empty.
func (d *Daemon) MailSettings(addr string) (MailSettings, error) {
	var addresses []string
	if addr != "" {
		a, err := d.theAccount(addr)
		if err != nil {
			return MailSettings{}, err
		}
		addresses = append(addresses, a.home()) // with whose login an alias sends
	} else {
		for _, a := range d.list() {
			if a.ending() != Deleted && a.owner == "" {
				addresses = append(addresses, a.keys.Address())
			}
		}
	}
	info, err := cert.Read(filepath.Join(d.opt.Dir, CertDir))
	if err != nil {
		return MailSettings{}, err
	}
	return MakeMailSettings(addresses, d.listening(), info)
}

// MobileConfig returns Apple's configuration profile for an account, which sets Mail
// on this Mac up and has it trust the authority. An empty addr stands for the only
// account. The password is in the profile as it is; if it is empty, macOS asks for it
// at installation.
func (d *Daemon) MobileConfig(addr, password string) ([]byte, error) {
	a, err := d.theAccount(addr)
	if err != nil {
		return nil, err
	}
	info, err := cert.Read(filepath.Join(d.opt.Dir, CertDir))
	if err != nil {
		return nil, err
	}
	servers, err := mailclient.Servers(d.listening())
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	name := a.record.DisplayName
	a.mu.Unlock()
	return mailclient.MobileConfig(mailclient.Profile{
		Address: a.keys.Address(), Name: name, Password: password, Servers: servers, Authority: info.DER(), AuthorityName: info.Name,
	})
}

// listening returns where the front ends listen, by name.
func (d *Daemon) listening() map[string]string {
	all := map[string]string{}
	for name, a := range d.addresses {
		all[name] = a.String()
	}
	return all
}
