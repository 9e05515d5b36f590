package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailproxy/proxy"
	"mailproxy/proxy/cert"
	"mailproxy/proxy/cert/truststore"
)

// certificate looks at what mail programs are shown.
func (p *Patient) certificate(context.Context) []Result {
	i, err := p.authority()
	switch {
	case errors.Is(err, cert.ErrNone) && p.Status == nil:
		return one(OK, "", "it is made when the daemon is first started")
	case err != nil:
		return one(Problem, "", "%v", err)
	case p.Now.After(i.Until):
		return one(Problem, "move "+filepath.Dir(i.File)+" away and restart the daemon: a new authority is made, which mail programs must be told to trust",
			"the authority of this computer ended on %s", i.Until.Format(time.DateOnly))
	case p.Now.Before(i.From):
		return one(Problem, "set this computer's clock right", "by this computer's clock, the authority's certificate begins in the future, on %s", i.From.Format(time.DateOnly))
	case p.Now.After(i.Leaf.Until) && p.Status == nil:
		return one(OK, "", "it ended on %s, and is renewed when the daemon is started", i.Leaf.Until.Format(time.DateOnly))
	case p.Now.After(i.Leaf.Until):
		return one(Problem, "restart the daemon; its output says why it was not renewed", "it ended on %s", i.Leaf.Until.Format(time.DateOnly))
	case p.Now.After(i.Leaf.RenewedFrom.Add(24*time.Hour)) && p.Status != nil:
		return one(Warning, "restart the daemon; its output says why it was not renewed", "it ends on %s, and should have been renewed", i.Leaf.Until.Format(time.DateOnly))
	}
	return one(OK, "", "it holds until %s, and is renewed by itself", i.Leaf.Until.Format(time.DateOnly))
}

func (p *Patient) authority() (*cert.Info, error) {
	return cert.Read(filepath.Join(p.Config.Dir, proxy.CertDir))
}

// mailPrograms looks into the profiles of Thunderbird: whether one asks here, how, and
// whether it trusts the certificate. Other programs are not looked at.
func (p *Patient) mailPrograms(ctx context.Context) []Result {
	var all []Result
	profiles := truststore.Places(p.Computer, truststore.Thunderbird)
	if len(profiles) == 0 {
		return one(OK, "", "there is no Thunderbird here; others are not looked at (mailproxy account settings says what they need)")
	}
	for _, profile := range profiles {
		file := filepath.Join(profile.Path, "prefs.js")
		b, err := os.ReadFile(file)
		if err != nil {
			continue // a profile that was never used
		}
		prefs := parsePrefs(string(b))
		found, incoming, outgoing := p.judge(prefs)
		if len(found) == 0 {
			continue
		}
		for i := range found {
			found[i].Text = "Thunderbird: " + found[i].Text
		}
		all = append(all, found...)
		switch {
		case incoming && !outgoing:
			all = append(all, one(Warning, "add an outgoing server; mailproxy account settings says which", "Thunderbird receives by mailproxy, and sends by another server")...)
		case outgoing && !incoming:
			all = append(all, one(Warning, "add the account; mailproxy account settings says what to type", "Thunderbird sends by mailproxy, and does not receive by it")...)
		}
		all = append(all, p.trusts(ctx, profile)...)
	}
	if len(all) == 0 {
		return one(Warning, "mailproxy account settings says what to type", "Thunderbird has no account that mailproxy serves")
	}
	return all
}

// trusts says whether a profile trusts this computer's authority.
func (p *Patient) trusts(ctx context.Context, profile truststore.Place) []Result {
	i, err := p.authority()
	if err != nil {
		return nil // certificate has said it
	}
	trusted, err := profile.Trusted(ctx, truststore.Authority{Name: i.Name, File: i.File, DER: i.DER()})
	switch {
	case errors.Is(err, truststore.ErrProgram):
		return one(Warning, "install that program, or see whether Thunderbird asks when it connects", "whether Thunderbird trusts the certificate cannot be seen: %v", err)
	case err != nil:
		return one(Warning, "close Thunderbird and try again", "whether Thunderbird trusts the certificate cannot be seen: %v", err)
	case !trusted:
		return one(Problem, "mailproxy cert install thunderbird", "Thunderbird does not trust the certificate, and so does not connect")
	}
	return one(OK, "", "Thunderbird trusts the certificate")
}

// How Thunderbird secures a connection: nsMsgSocketType.
const (
	socketPlain = "0"
	socketTLS   = "3"
)

// judge looks at the servers of a profile that are this computer's.
func (p *Patient) judge(prefs map[string]string) (all []Result, incoming, outgoing bool) {
	listen := p.Config.Listen.Ports()
	own := map[string]bool{}
	if p.Status != nil {
		listen = p.Status.Listen
		for _, a := range p.Status.Accounts {
			own[a.Address] = a.AliasOf == "" // an alias is no login
		}
	}
	for _, s := range servers(prefs) {
		port := strconv.Itoa(s.port)
		begins, tls := portOf(listen[s.kind]), portOf(listen[s.kind+"s"])
		name := fmt.Sprintf("%s for %s at port %s", strings.ToUpper(s.kind), s.user, port)
		var r []Result
		switch {
		case !loopback(s.host):
			continue
		case port == begins && s.socket == socketTLS:
			r = one(Problem, "choose STARTTLS for it"+orPort(tls, "SSL/TLS"), "%s wants TLS from the start, and that port begins without", name)
		case port == begins && s.socket == socketPlain && !p.Config.Listen.AllowPlaintext:
			r = one(Problem, "choose STARTTLS for it"+orPort(tls, "SSL/TLS"), "%s does without TLS, and mailproxy refuses the password", name)
		case port == tls && s.socket != socketTLS:
			r = one(Problem, "choose SSL/TLS for it"+orPort(begins, "STARTTLS"), "%s does not begin with TLS, and that port does", name)
		case port == begins, port == tls:
			r = one(OK, "", "%s", name)
		case own[strings.ToLower(s.user)]:
			r = one(Problem, "mailproxy account settings says the right port", "%s asks where mailproxy does not listen", name)
		default:
			continue // another program's
		}
		if s.kind == "smtp" {
			outgoing = true
		} else {
			incoming = true
		}
		all = append(all, r...)
	}
	return all, incoming, outgoing
}

func orPort(port, with string) string {
	if port == "" {
		return ""
	}
	return fmt.Sprintf(", or port %s with %s", port, with)
}

// portOf returns the port of an address, or nothing if it has none or any.
func portOf(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" {
		return ""
	}
	return port
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// A server is one that a mail program asks.
type server struct {
	kind   string // "imap", "pop3", "smtp"
	host   string
	port   int
	user   string
	socket string
}

// servers returns those of a profile, in the order of their names there.
func servers(prefs map[string]string) (all []server) {
	for _, key := range slices.Sorted(maps.Keys(prefs)) {
		in, out := "mail.server.", "mail.smtpserver."
		base, ok := strings.CutSuffix(key, ".hostname")
		if !ok {
			continue
		}
		s := server{host: prefs[key], socket: socketPlain}
		switch {
		case strings.HasPrefix(base, in):
			s.kind, s.user = prefs[base+".type"], prefs[base+".userName"]
			if v, ok := prefs[base+".socketType"]; ok {
				s.socket = v
			}
		case strings.HasPrefix(base, out):
			s.kind, s.user = "smtp", prefs[base+".username"]
			if v, ok := prefs[base+".try_ssl"]; ok {
				s.socket = v
			}
		}
		if s.kind != "imap" && s.kind != "pop3" && s.kind != "smtp" {
			continue
		}
		s.port, _ = strconv.Atoi(prefs[base+".port"]) // without one the usual one, never ours
		all = append(all, s)
	}
	return all
}

// parsePrefs reads a profile's prefs.js, which is lines of user_pref("name", value);.
// What it does not understand it leaves out: the file is Thunderbird's.
func parsePrefs(text string) map[string]string {
	prefs := map[string]string{}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "user_pref(")
		if !ok {
			continue
		}
		rest, ok = strings.CutSuffix(rest, ");")
		if !ok {
			continue
		}
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			continue
		}
		name, err := strconv.Unquote(quoted)
		value, comma := strings.CutPrefix(strings.TrimSpace(rest[len(quoted):]), ",")
		if err != nil || !comma {
			continue
		}
		value = strings.TrimSpace(value)
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		prefs[name] = value
	}
	return prefs
}
