// Package ready reads the ready file of "mailproxy demo" and speaks IMAP with the
// daemon that it tells of, over TLS with that daemon's own authority.
//
// It is for the programs beneath contrib, which look at the daemon from outside, as
// a mail program does: it imports nothing of ours.
package ready

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2/imapclient"
)

// An Account is one that the daemon serves.
type Account struct {
	Address  string `json:"address"`
	Username string `json:"username"`
	Password string `json:"password"`
}

// An Endpoint is where a protocol is served.
type Endpoint struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

// String returns host and port as net.Dial takes them.
func (e Endpoint) String() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// A File is what the daemon wrote once all was up.
type File struct {
	Accounts []Account `json:"accounts"`
	SMTP     Endpoint  `json:"smtp"`
	IMAP     Endpoint  `json:"imap"`
	POP3     Endpoint  `json:"pop3"`
	IMAPS    Endpoint  `json:"imaps"`
	POP3S    Endpoint  `json:"pop3s"`
	CAFile   string    `json:"ca_file"`
}

// Read reads a ready file.
func Read(file string) (*File, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read ready file: %w", err)
	}
	var f File
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("read ready file %s: %w", file, err)
	}
	if len(f.Accounts) < 2 || f.SMTP.Port == 0 || f.IMAP.Port == 0 || f.POP3.Port == 0 || f.IMAPS.Port == 0 || f.POP3S.Port == 0 || f.CAFile == "" {
		return nil, fmt.Errorf("read ready file %s: it lacks two accounts, smtp, imap, pop3, imaps, pop3s or ca_file", file)
	}
	return &f, nil
}

// Account returns the account name@…, or an error that names those there are.
func (f *File) Account(name string) (Account, error) {
	var all []string
	for _, a := range f.Accounts {
		if local, _, _ := strings.Cut(a.Address, "@"); local == name {
			return a, nil
		}
		all = append(all, a.Address)
	}
	return Account{}, fmt.Errorf("no account %s@…; there are %s", name, strings.Join(all, ", "))
}

// Dial connects to IMAP with STARTTLS and logs in. o may be nil; its TLSConfig is
// set here.
func (f *File) Dial(a Account, o *imapclient.Options) (*imapclient.Client, error) {
	pem, err := os.ReadFile(f.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the daemon's authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", f.CAFile)
	}
	var options imapclient.Options
	if o != nil {
		options = *o
	}
	options.TLSConfig = &tls.Config{RootCAs: roots, ServerName: "localhost"}
	c, err := imapclient.DialStartTLS(f.IMAP.String(), &options)
	if err != nil {
		return nil, fmt.Errorf("connect to IMAP: %w", err)
	}
	if err := c.Login(a.Username, a.Password).Wait(); err != nil {
		return nil, errors.Join(fmt.Errorf("log in to IMAP: %w", err), c.Close())
	}
	return c, nil
}
