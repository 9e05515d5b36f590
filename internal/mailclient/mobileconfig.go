package mailclient

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"howett.net/plist"

	"mailproxy/internal/address"
)

// A Profile is what Apple's configuration profile sets up on this computer: trust in
// the authority, and an account.
type Profile struct {
	Address  string
	Name     string // the user's, as recipients see it; may be empty
	Password string // empty: it is asked for when the profile is installed
	Servers  []Server
	// Authority is the certificate authority of the servers, in DER, under a name that
	// no other has.
	Authority     []byte
	AuthorityName string
}

// Payload is what each part of a profile has (exported, or the encoder skips it).
type Payload struct {
	Type         string `plist:"PayloadType"`
	Version      int    `plist:"PayloadVersion"`
	Identifier   string `plist:"PayloadIdentifier"`
	UUID         string `plist:"PayloadUUID"`
	DisplayName  string `plist:"PayloadDisplayName"`
	Description  string `plist:"PayloadDescription"`
	Organization string `plist:"PayloadOrganization"`
}

type profile struct {
	Payload
	Content []any  `plist:"PayloadContent"`
	Scope   string `plist:"PayloadScope"`
}

type rootPayload struct {
	Payload
	File    string `plist:"PayloadCertificateFileName"`
	Content []byte `plist:"PayloadContent"`
}

// mailPayload is Apple's com.apple.mail.managed.
type mailPayload struct {
	Payload
	Account     string `plist:"EmailAccountDescription"`
	Name        string `plist:"EmailAccountName,omitempty"`
	AccountType string `plist:"EmailAccountType"`
	Address     string `plist:"EmailAddress"`

	InAuth     string `plist:"IncomingMailServerAuthentication"`
	InHost     string `plist:"IncomingMailServerHostName"`
	InPort     int    `plist:"IncomingMailServerPortNumber"`
	InTLS      bool   `plist:"IncomingMailServerUseSSL"`
	InUser     string `plist:"IncomingMailServerUsername"`
	InPassword string `plist:"IncomingPassword,omitempty"`

	OutAuth      string `plist:"OutgoingMailServerAuthentication"`
	OutHost      string `plist:"OutgoingMailServerHostName"`
	OutPort      int    `plist:"OutgoingMailServerPortNumber"`
	OutTLS       bool   `plist:"OutgoingMailServerUseSSL"`
	OutUser      string `plist:"OutgoingMailServerUsername"`
	OutPassword  string `plist:"OutgoingPassword,omitempty"`
	SamePassword bool   `plist:"OutgoingPasswordSameAsIncomingPassword"`

	PreventMove bool `plist:"PreventMove"` // of its mail to other accounts
	SMIME       bool `plist:"SMIMEEnabled"`
}

// ErrNeedsIMAP is wrapped by the error for a profile without IMAP and SMTP.
var ErrNeedsIMAP = errors.New("a configuration profile takes IMAP and SMTP")

// MobileConfig returns the profile as a .mobileconfig file, which macOS installs when
// it is opened. It is not signed, as macOS will say: who could sign it is nobody that
// macOS knows. Made again for the same account and authority it replaces the one
// that is installed.
func MobileConfig(p Profile) ([]byte, error) {
	addr, err := address.Canonical(p.Address)
	if err != nil {
		return nil, fmt.Errorf("write configuration profile for %s: %w", p.Address, err)
	}
	in, okIn := best(p.Servers, IMAP)
	out, okOut := best(p.Servers, SMTP)
	if !okIn || !okOut {
		return nil, fmt.Errorf("write configuration profile: %w", ErrNeedsIMAP)
	}
	part := func(kind, id, name, description string) Payload {
		return Payload{
			Type: kind, Version: 1, Identifier: "mailproxy." + id + "." + addr,
			UUID: uuid(id, addr, string(p.Authority)), DisplayName: name, Description: description, Organization: "mailproxy",
		}
	}
	const password = "EmailAuthPassword"
	b, err := plist.MarshalIndent(profile{
		Payload: part("Configuration", "profile", "mailproxy: "+addr,
			"Lets Mail use mailproxy, which runs on this computer, for "+addr+"."),
		Scope: "User",
		Content: []any{
			rootPayload{
				Payload: part("com.apple.security.root", "authority", p.AuthorityName,
					"Was made on this computer and can vouch for localhost, 127.0.0.1 and ::1 only."),
				File: "mailproxy-ca.cer", Content: p.Authority,
			},
			mailPayload{
				Payload: part("com.apple.mail.managed", "mail", addr, "IMAP and SMTP with mailproxy on this computer."),
				Account: addr, Name: p.Name, AccountType: "EmailTypeIMAP", Address: addr,
				InAuth: password, InHost: in.Host, InPort: in.Port, InTLS: true, InUser: addr, InPassword: p.Password,
				OutAuth: password, OutHost: out.Host, OutPort: out.Port, OutTLS: true, OutUser: addr, OutPassword: p.Password,
				SamePassword: true,
			},
		},
	}, plist.XMLFormat, "\t")
	if err != nil {
		return nil, fmt.Errorf("write configuration profile: %w", err)
	}
	return append(b, '\n'), nil
}

// uuid returns a UUID of version 8 (RFC 9562 section 5.8) that is made of the
// SHA-256 of the parts, so that the same parts have the same.
func uuid(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	u := h.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 0x80 // version
	u[8] = u[8]&0x3f | 0x80 // variant
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
