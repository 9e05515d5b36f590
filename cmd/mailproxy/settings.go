package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"mailproxy/internal/address"
	"mailproxy/internal/command"
	"mailproxy/internal/control"
	"mailproxy/internal/durable"
	"mailproxy/internal/mailclient"
	"mailproxy/proxy"
	"mailproxy/proxy/cert"
)

// theSettings returns what mail programs have to be told: of the running daemon, or if
// none runs, of the one that the configuration is for. An empty addr stands for all
// accounts, which only a running daemon knows.
func (f configFlag) theSettings(ctx context.Context, addr string) (proxy.MailSettings, *cert.Info, error) {
	fail := func(err error) (proxy.MailSettings, *cert.Info, error) { return proxy.MailSettings{}, nil, err }
	cfg, err := proxy.LoadConfig(f.Config)
	if err != nil {
		return fail(err)
	}
	if addr != "" {
		canonical, err := address.Canonical(addr)
		if err != nil {
			return fail(fmt.Errorf("account %s: %w", addr, err))
		}
		addr = canonical
	}
	info, err := f.certificates()
	if err != nil {
		return fail(err)
	}
	var addresses []string
	listeners := cfg.Listen.Listeners()
	status, err := proxy.Control(cfg.Dir).Status(ctx)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		if addr != "" {
			addresses = []string{addr}
		}
	case err != nil:
		return fail(err)
	default:
		listeners = status.Listen
		if addresses, err = chosen(status.Accounts, addr); err != nil {
			return fail(err)
		}
	}
	s, err := proxy.MakeMailSettings(addresses, listeners, info)
	if err != nil {
		return fail(fmt.Errorf("%w; start the daemon first: mailproxy run --config %s", err, f.Config))
	}
	return s, info, nil
}

// chosen returns the address if there is such an account, or with none all that are
// not deleted.
func chosen(all []proxy.AccountStatus, addr string) ([]string, error) {
	var list []string
	for _, a := range all {
		if a.Ending != proxy.Deleted.String() && a.AliasOf == "" {
			list = append(list, a.Address)
		}
		if a.Address == addr && a.AliasOf == "" {
			return []string{addr}, nil
		}
	}
	if addr == "" {
		return list, nil
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("there is no account %s here, and no other; add it first: mailproxy account add %s", addr, addr)
	}
	return nil, fmt.Errorf("there is no account %s here; there is %s", addr, strings.Join(list, ", "))
}

type accountSettingsCmd struct {
	configFlag
	Address string `arg:"" optional:"" help:"The account's address; without it, all are named."`
	command.JSONFlag

	passwordSaid bool // what it is stands above
}

// Run says what to type into a mail program.
func (c *accountSettingsCmd) Run(ctx context.Context) error {
	s, _, err := c.theSettings(ctx, c.Address)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s)
	}
	var b bytes.Buffer
	switch len(s.Accounts) {
	case 0:
		b.WriteString("user name  your address\n")
	case 1:
		fmt.Fprintf(&b, "user name  %s\n", s.Accounts[0].UserName)
	default:
		b.WriteString("user name  the address, one of:\n")
		for _, a := range s.Accounts {
			fmt.Fprintf(&b, "           %s\n", a.UserName)
		}
	}
	if !c.passwordSaid {
		b.WriteString(thePassword("ADDRESS"))
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "\tserver\tport\tsecurity\tauthentication\n")
	said := map[mailclient.Protocol]bool{}
	for _, server := range s.Servers {
		what := serverWords[server.Protocol]
		if said[server.Protocol] {
			what = "  or"
		}
		said[server.Protocol] = true
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\tnormal password\n", what, server.Host, server.Port, securityWords[server.Security])
	}
	_ = t.Flush() // into memory
	fmt.Fprintf(&b, "\nTake IMAP or POP3, not both; IMAP keeps all folders. The mail program must first trust this authority, which\n"+
		"mailproxy cert install does for most; for others there is the file:\n\n"+
		"  %s\n  file     %s\n  SHA-256  %s\n", s.Authority.Name, s.Authority.File, s.Authority.Fingerprint)
	_, err = os.Stdout.Write(b.Bytes())
	return err
}

// thePassword says which password an account has, where it is not known.
func thePassword(address string) string {
	return "password   the one that was shown when it was made, or that you chose; if it is lost, this makes another:\n" +
		"           mailproxy account password " + address + "\n"
}

var serverWords = map[mailclient.Protocol]string{
	mailclient.IMAP: "incoming, IMAP", mailclient.POP3: "or incoming, POP3", mailclient.SMTP: "outgoing, SMTP",
}

var securityWords = map[mailclient.Security]string{mailclient.TLS: "SSL/TLS", mailclient.STARTTLS: "STARTTLS"}

type accountMobileconfigCmd struct {
	configFlag
	Address      string `arg:"" help:"The account's address."`
	Out          string `help:"File to write, with a name that ends in .mobileconfig; without it, to the output." type:"path" short:"o" placeholder:"FILE"`
	DisplayName  string `help:"Your name, as recipients are to see it in Mail." placeholder:"NAME" aliases:"name"`
	PasswordFile string `help:"File with the account's password, which is then put into the profile as it is; without it, macOS asks for it." type:"existingfile" placeholder:"FILE"`
	Force        bool   `help:"Replace a file that holds something else."`
}

// profileEnding is what the name of a profile ends in.
const profileEnding = ".mobileconfig"

// Run writes the configuration profile.
func (c *accountMobileconfigCmd) Run(ctx context.Context) error {
	if c.Out != "" && !strings.EqualFold(filepath.Ext(c.Out), profileEnding) {
		return fmt.Errorf("--out %s: macOS takes a file for a profile only if its name ends in %s; nothing was written", c.Out, profileEnding)
	}
	s, info, err := c.theSettings(ctx, c.Address)
	if err != nil {
		return err
	}
	p := mailclient.Profile{
		Address: s.Accounts[0].Address, Name: c.DisplayName, Servers: s.Servers,
		Authority: info.DER(), AuthorityName: info.Name,
	}
	mode := fs.FileMode(0o644)
	if c.PasswordFile != "" {
		b, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return fmt.Errorf("read password: %w", err)
		}
		if p.Password = strings.TrimRight(string(b), "\r\n"); p.Password == "" {
			return fmt.Errorf("there is no password in %s", c.PasswordFile)
		}
		mode = 0o600
	}
	b, err := mailclient.MobileConfig(p)
	if err != nil {
		return err
	}
	if c.Out == "" {
		_, err := os.Stdout.Write(b)
		return err
	}
	if err := writeNew(c.Out, b, mode, c.Force); err != nil {
		return fmt.Errorf("write configuration profile: %w", err)
	}
	fmt.Printf("%s sets Mail up on this Mac: open it, then confirm it in System Settings, General, Device Management.\n", c.Out)
	if p.Password != "" {
		fmt.Println("It holds your password: remove it once it is installed.")
	}
	return nil
}

// writeNew writes a file, unless it is there and holds something else, or force says
// to replace that.
func writeNew(file string, b []byte, mode fs.FileMode, force bool) error {
	switch have, err := os.ReadFile(file); {
	case err == nil && !bytes.Equal(have, b) && !force:
		return fmt.Errorf("%s is there and holds something else; --force replaces it", file)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return durable.WriteFile(file, b, mode)
}
