package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"mailproxy/internal/demo"
	"mailproxy/internal/invitation"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/local"
	"mailproxy/proxy"
	"mailproxy/proxy/ports"
)

type demoCmd struct {
	Dir               string   `help:"Keep all state here, across runs; without it a temporary directory is used and removed." type:"path" placeholder:"DIR"`
	ReadyFile         string   `help:"Once both accounts are registered and the listeners are up, write addresses, passwords and ports to this file as JSON." type:"path" placeholder:"FILE"`
	Send              []string `help:"Mail (RFC 5322 files) to send from alice to bob in place of the first mail; more files may follow as arguments. From is set to alice." type:"existingfile" sep:"none" placeholder:"FILE"`
	ExitWhenDelivered bool     `help:"End once all mail that was sent is in bob's INBOX; with an error if it cannot be."`
	SMTP              string   `help:"Where to offer SMTP (${default}); if the port is taken, a free one is used." default:"127.0.0.1:1025" name:"smtp" placeholder:"ADDRESS"`
	IMAP              string   `help:"Where to offer IMAP (${default}); if the port is taken, a free one is used." default:"127.0.0.1:1143" name:"imap" placeholder:"ADDRESS"`
	POP3              string   `help:"Where to offer POP3 (${default}); if the port is taken, a free one is used." default:"127.0.0.1:1110" name:"pop3" placeholder:"ADDRESS"`
	SMTPS             string   `help:"Where to offer SMTP with TLS from the start (127.0.0.1:1465; any free port where --smtp has port 0)." name:"smtps" placeholder:"ADDRESS"`
	IMAPS             string   `help:"The same for IMAP (127.0.0.1:1993)." name:"imaps" placeholder:"ADDRESS"`
	POP3S             string   `help:"The same for POP3 (127.0.0.1:1995)." name:"pop3s" placeholder:"ADDRESS"`
	Files             []string `arg:"" optional:"" type:"existingfile" help:"More mail for --send."`
}

// registerWait bounds how long the demo waits for its two providers.
const registerWait = 2 * time.Minute

// Run runs the demo until ctx ends, or with ExitWhenDelivered until all mail is
// there.
func (d *demoCmd) Run(ctx context.Context, c *cli) (err error) {
	if len(d.Files) > 0 && len(d.Send) == 0 {
		return fmt.Errorf("what is %s for? To send files, put --send before them", d.Files[0])
	}
	if d.ReadyFile != "" {
		if err := clearReady(d.ReadyFile); err != nil {
			return err
		}
	}
	dir := d.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "mailproxy-demo-"); err != nil {
			return fmt.Errorf("make temporary directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	show := &show{start: time.Now(), delivered: map[string]bool{}, failed: map[string]bool{}, changed: make(chan struct{}, 1)}
	log := &demo.Log{Changed: show.event}
	fmt.Println("mailproxy demo: a private mail network and two mailboxes, in one process, on loopback")
	w, err := demo.Start(demo.Config{
		Dir: dir, Parameters: directory.DefaultParameters(), Receipts: true,
		Listen: proxy.ListenConfig{
			SMTP: d.SMTP, IMAP: d.IMAP, POP3: d.POP3,
			SMTPS: withTLS(d.SMTPS, d.SMTP, "1465"), IMAPS: withTLS(d.IMAPS, d.IMAP, "1993"), POP3S: withTLS(d.POP3S, d.POP3, "1995"),
			Web: "127.0.0.1:0", AllowPlaintext: true,
		},
		FreePorts: true, Taken: func(taken *ports.TakenError, instead string) {
			fmt.Printf("          %s is taken by %s: using %s instead\n", taken.Address, taken.By(), instead)
		},
		Observe: log.Observe, Logger: c.Logger(),
	})
	if err != nil {
		return fmt.Errorf("start demo: %w", err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	fmt.Printf("\n%6.1f s  listening: SMTP %s, IMAP %s, POP3 %s\n", show.since(),
		w.Daemon.Address("smtp"), w.Daemon.Address("imap"), w.Daemon.Address("pop3"))
	fmt.Printf("          network: 2 gateways, 3 layers of 2 mixes, providers %s; delays of %v on average at each mix\n",
		strings.Join(demo.Providers, " and "), time.Duration(w.Network.Document.Parameters.MixDelay))
	fmt.Printf("          each of the two sends %.1f packets a second, mail or no mail: %s\n",
		w.Network.Document.Parameters.Rate(), costs(w.Client(demo.Alice).Status()))
	if err := d.writeConfig(dir, w); err != nil {
		return err
	}
	registering, cancel := context.WithTimeout(ctx, registerWait)
	defer cancel()
	err = w.Register(registering, func(address string, _ time.Duration) {
		fmt.Printf("%6.1f s  %s is registered, through the network\n", show.since(), address)
	})
	if err != nil {
		return err
	}
	if d.ReadyFile != "" {
		if err := writeReady(d.ReadyFile, w); err != nil {
			return err
		}
	}
	refused, err := d.sendAll(w, show)
	if err != nil {
		return err
	}
	err = show.wait(ctx)
	if d.ExitWhenDelivered {
		if err != nil {
			return err
		}
		if refused > 0 {
			return fmt.Errorf("%d of %d messages were refused, for the reasons above; all others are in bob's INBOX", refused, len(d.Send)+len(d.Files))
		}
		fmt.Printf("%6.1f s  all mail is in bob's INBOX\n", show.since())
		return nil
	}
	if err != nil && ctx.Err() == nil {
		fmt.Printf("%6.1f s  %v\n", show.since(), err)
	}
	if ctx.Err() == nil {
		printHowTo(w, d.Dir)
	}
	<-ctx.Done()
	fmt.Println("\nstopping")
	return nil
}

// withTLS is where a protocol is offered with TLS from the start, if nothing is said:
// beside the plain one, on the usual port.
func withTLS(said, plain, usual string) string {
	host, port, err := net.SplitHostPort(plain)
	switch {
	case said != "" || err != nil: // whoever listens tells of an address that is none
		return said
	case port == "0":
		return plain
	}
	return net.JoinHostPort(host, usual)
}

// firstMail is what alice writes when no file was given.
const firstMail = "To: " + demo.Bob + "\r\n" +

	"Subject: Hello through the mix network\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n" +
	"\r\n" +
	"Dear Bob,\r\n\r\n" +
	"this mail left my computer as one packet among many that look like it, and\r\n" +
	"passed a gateway, three mixes and your provider, none of whom can tell that\r\n" +
	"it was I who wrote to you.\r\n\r\n" +
	"Alice\r\n"

// sendAll submits the mail by SMTP, as a mail program would. It returns how many
// messages were refused, having printed why.
func (d *demoCmd) sendAll(w *demo.World, show *show) (refused int, err error) {
	if len(d.Send) == 0 {
		fmt.Printf("\nA first mail, from %s to %s:\n", demo.Alice, demo.Bob)
		show.expect(1)
		return 0, w.Submit(w.Accounts[0], demo.Bob, demo.WithFrom([]byte(firstMail), demo.Alice))
	}
	files := append(d.Send, d.Files...)
	fmt.Printf("\nSending %d message%s from %s to %s:\n", len(files), plural(len(files)), demo.Alice, demo.Bob)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return refused, fmt.Errorf("read mail: %w", err)
		}
		show.expect(1)
		show.submitting(filepath.Base(file))
		err = w.Submit(w.Accounts[0], demo.Bob, demo.WithFrom(raw, demo.Alice))
		var answer *demo.AnswerError
		switch {
		case errors.As(err, &answer):
			refused++
			show.expect(-1)
			fmt.Printf("%6.1f s  refused %s: %v\n", show.since(), file, answer)
		case err != nil:
			return refused, fmt.Errorf("submit %s: %w", file, err)
		}
	}
	show.submitting("")
	return refused, nil
}

// endpoint is a listener as the ready file has it.
type endpoint struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

// clearReady removes the ready file of an earlier run, whose passwords and ports
// are not this one's, and tells early if the file cannot be written.
func clearReady(file string) error {
	if _, err := os.Stat(filepath.Dir(file)); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	switch info, err := os.Lstat(file); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("write ready file: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("write ready file: %s is there, and no file", file)
	}
	if err := os.Remove(file); err != nil {
		return fmt.Errorf("remove old ready file: %w", err)
	}
	return nil
}

// writeReady writes the ready file, all at once.
func writeReady(file string, w *demo.World) error {
	at := func(protocol string) endpoint {
		a := w.Daemon.Address(protocol).(*net.TCPAddr)
		return endpoint{a.IP.String(), a.Port}
	}
	b, err := json.Marshal(struct {
		Accounts []demo.Account `json:"accounts"`
		SMTP     endpoint       `json:"smtp"`
		IMAP     endpoint       `json:"imap"`
		POP3     endpoint       `json:"pop3"`
		SMTPS    endpoint       `json:"smtps"`
		IMAPS    endpoint       `json:"imaps"`
		POP3S    endpoint       `json:"pop3s"`
		CAFile   string         `json:"ca_file"`
	}{w.Accounts, at("smtp"), at("imap"), at("pop3"), at("smtps"), at("imaps"), at("pop3s"), w.Daemon.CAFile()})
	if err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	if err := os.WriteFile(file+".new", append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	return nil
}

// writeConfig writes the network document and a configuration, so that
// "mailproxy run" can join the demo's network from another terminal. What is set in
// one from an earlier run stays, but for the network, which is new.
func (d *demoCmd) writeConfig(dir string, w *demo.World) error {
	if err := os.WriteFile(filepath.Join(dir, "network.note"), w.Network.Note, 0o644); err != nil {
		return fmt.Errorf("write network document: %w", err)
	}
	whole, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("write invitation: %w", err)
	}
	text, err := invitation.Invitation{
		Document: filepath.Join(whole, "network.note"), Keys: w.Network.Trust.Keys, Threshold: w.Network.Trust.Threshold,
		Provider: demo.Providers[0],
	}.String()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "invitation"), []byte(text+"\n"), 0o600); err != nil {
		return fmt.Errorf("write invitation: %w", err)
	}
	file := filepath.Join(dir, "another-user.toml")
	cfg, err := proxy.LoadConfig(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		cfg = proxy.DefaultConfig()
		cfg.Listen = proxy.ListenConfig{
			SMTP: "127.0.0.1:2025", IMAP: "127.0.0.1:2143", POP3: "127.0.0.1:2110",
			SMTPS: "127.0.0.1:2465", IMAPS: "127.0.0.1:2993", POP3S: "127.0.0.1:2995",
			Web: "127.0.0.1:2180",
		}
		cfg.Dir = "another-user"
	case err != nil:
		return err
	default: // all but the network is the user's
		if rel, err := filepath.Rel(dir, cfg.Dir); err == nil && filepath.IsLocal(rel) {
			cfg.Dir = rel
		}
	}
	cfg.Network = networkConfig("network.note", w.Network)
	return cfg.Write(file)
}

func networkConfig(document string, n *local.Network) proxy.NetworkConfig {
	return proxy.NetworkConfig{Document: document, Keys: n.Trust.Keys, Threshold: n.Trust.Threshold}
}

// joinFromHere says what to type to join a demo that has that directory. The name is
// given: where the invitation is the standard input, nobody is asked.
func joinFromHere(dir string, installed bool) string {
	line := fmt.Sprintf("  mailproxy join - --name YOU < %s\n", filepath.Join(dir, "invitation"))
	if !installed {
		line += "There is no mailproxy where this terminal looks for programs. In its source, go build ./cmd/mailproxy makes ./mailproxy.\n"
	}
	return line
}

// printHowTo says what to type into Thunderbird, and how another user joins a demo that
// has a directory of its own.
func printHowTo(w *demo.World, dir string) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "\nIn Thunderbird: Account Settings, Add Mail Account, and below the address Manual configuration. For either of the two:\n\n")
	t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintf(t, "  address and user name\tpassword\n")
	for _, a := range w.Accounts {
		fmt.Fprintf(t, "  %s\t%s\n", a.Address, a.Password)
	}
	for _, row := range [][2]string{{"\n  incoming, IMAP", "imap"}, {"  or incoming, POP3", "pop3"}, {"  outgoing, SMTP", "smtp"}} {
		fmt.Fprintf(t, "%s\t%s\tSSL/TLS\tnormal password\n", row[0], w.Daemon.Address(row[1]+"s"))
		fmt.Fprintf(t, "    or\t%s\tSTARTTLS or none\tnormal password\n", w.Daemon.Address(row[1]))
	}
	_ = t.Flush() // into memory
	fmt.Fprintf(&b, "\nFor SSL/TLS and STARTTLS, import this certificate authority first (Settings, Privacy & Security, Certificates):\n  %s\n", w.Daemon.CAFile())
	if link, err := w.Daemon.Page(); err != nil {
		fmt.Fprintf(&b, "\nThere is no status page: %v\n", err)
	} else {
		fmt.Fprintf(&b, "\nThe status page of both; this link works once, within five minutes:\n  %s\n", link)
	}
	if dir != "" {
		_, err := exec.LookPath("mailproxy")
		fmt.Fprintf(&b, "\nAnother user joins from a second terminal:\n%s", joinFromHere(dir, err == nil))
	}
	fmt.Fprintf(&b, "\nMail you send takes about 5 seconds, the first to someone about 9. Press Ctrl-C to stop.\n")
	_, _ = os.Stdout.Write(b.Bytes())
}
