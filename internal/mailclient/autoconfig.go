package mailclient

import (
	"encoding/xml"
	"fmt"

	"mailproxy/internal/address"
)

// Where a provider serves its autoconfig file: the first path at the host
// "autoconfig." before its domain, the second at the domain itself
// (draft-ietf-mailmaint-autoconfig, section 3.1).
const (
	AutoconfigPath  = "mail/config-v1.1.xml"
	AutoconfigKnown = ".well-known/autoconfig/mail/config-v1.1.xml"
)

// The file as Mozilla's config-v1.1 has it (draft-ietf-mailmaint-autoconfig, section
// 4). Of each kind of server there is one: some programs offer all that they find,
// and the person who sets an account up should not have to choose how it is secured.
type clientConfig struct {
	XMLName  xml.Name      `xml:"clientConfig"`
	Version  string        `xml:"version,attr"`
	Mark     string        `xml:",comment"`
	Provider emailProvider `xml:"emailProvider"`
}

type emailProvider struct {
	ID        string             `xml:"id,attr"`
	Domain    string             `xml:"domain"`
	Name      string             `xml:"displayName"`
	ShortName string             `xml:"displayShortName"`
	Incoming  []autoconfigServer `xml:"incomingServer"`
	Outgoing  []autoconfigServer `xml:"outgoingServer"`
}

type autoconfigServer struct {
	Type           Protocol `xml:"type,attr"`
	Host           string   `xml:"hostname"`
	Port           int      `xml:"port"`
	Socket         string   `xml:"socketType"`
	Authentication string   `xml:"authentication"`
	Username       string   `xml:"username"`
}

var sockets = map[Security]string{TLS: "SSL", STARTTLS: "STARTTLS"}

// CheckDomain returns the domain in lower case, or an error if addresses cannot be
// at it.
func CheckDomain(domain string) (string, error) {
	canonical, err := address.Canonical("user@" + domain)
	if err != nil {
		return "", fmt.Errorf("domain %q: %w", domain, err)
	}
	_, domain = address.Split(canonical)
	return domain, nil
}

// Autoconfig returns the autoconfig file for addresses at the domain. Thunderbird
// takes it as isp/DOMAIN.xml in its own directory, or from the provider; others do
// as well. The servers must hold IMAP or POP3, and SMTP.
func Autoconfig(domain string, servers []Server) ([]byte, error) {
	domain, err := CheckDomain(domain)
	if err != nil {
		return nil, fmt.Errorf("write autoconfig file: %w", err)
	}
	c := clientConfig{Version: "1.1", Mark: " " + mark + " ", Provider: emailProvider{ID: domain, Domain: domain, Name: domain, ShortName: domain}}
	for _, p := range []Protocol{IMAP, POP3, SMTP} {
		s, ok := best(servers, p)
		if !ok {
			continue
		}
		entry := autoconfigServer{p, s.Host, s.Port, sockets[s.Security], "password-cleartext", "%EMAILADDRESS%"}
		if p == SMTP {
			c.Provider.Outgoing = append(c.Provider.Outgoing, entry)
		} else {
			c.Provider.Incoming = append(c.Provider.Incoming, entry)
		}
	}
	if len(c.Provider.Incoming) == 0 || len(c.Provider.Outgoing) == 0 {
		return nil, fmt.Errorf("write autoconfig file: %w: it takes SMTP, and IMAP or POP3", ErrNoServers)
	}
	b, err := xml.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write autoconfig file: %w", err)
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}
