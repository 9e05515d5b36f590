package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"mailproxy/contrib/clients/ready"
)

// A dialog is the set-up as a new user meets it: Thunderbird is started for the first
// time, the authority and the autoconfig files are installed by mailproxy's commands,
// and the account is set up in the dialog that Thunderbird opens by itself. Nothing is
// done there but typing name, address and password and going on. Where mailproxy join has
// been before, Thunderbird is taken as it is.
type dialog struct {
	config, mailproxy       string
	address, password, name string // password is the file with it
	joined                  bool   // mailproxy join has done what there was to do
	u                       *user
	profile                 string
	settings                settings
}

// settings is what "mailproxy account settings --json" says.
type settings struct {
	Accounts []struct {
		Address  string `json:"address"`
		UserName string `json:"user_name"`
	} `json:"accounts"`
	Servers []struct {
		Protocol string `json:"protocol"`
		Host     string `json:"host"`
		Port     int    `json:"port"`
		Security string `json:"security"`
	} `json:"servers"`
	Authority struct {
		File string `json:"file"`
	} `json:"authority"`
}

// at returns the first server of the protocol with the security.
func (s *settings) at(protocol, security string) (ready.Endpoint, error) {
	for _, server := range s.Servers {
		if server.Protocol == protocol && server.Security == security {
			return ready.Endpoint{Host: server.Host, Port: server.Port}, nil
		}
	}
	return ready.Endpoint{}, fmt.Errorf("the daemon offers no %s with %s", protocol, security)
}

// run does it all. file is the ready file of a demo whose bob writes and is written
// to; without it, the account writes to itself.
func (d *dialog) run(file, out string) (failed bool, err error) {
	password, err := os.ReadFile(d.password)
	if err != nil {
		return false, err
	}
	if d.name == "" {
		local, _, _ := strings.Cut(d.address, "@")
		d.name = strings.ToUpper(local[:1]) + local[1:]
	}
	d.u = &user{out: out, alice: ready.Account{Address: d.address, Password: strings.TrimRight(string(password), "\r\n")}}
	if err := d.daemon(); err != nil {
		return false, err
	}
	d.u.peer, d.u.bob = d.u.file, d.u.alice
	if file != "" {
		if d.u.peer, err = ready.Read(file); err != nil {
			return false, err
		}
		if d.u.bob, err = d.u.peer.Account("bob"); err != nil {
			return false, err
		}
	}
	settings, args := quiet, []string{"-P", "default"}
	if d.joined {
		settings, args = untouched, nil
		d.profile, err = d.onlyProfile()
	} else {
		err = d.prepare()
	}
	if err != nil {
		return false, err
	}
	names := filepath.Join(out, "names")
	d.u.env = []string{"MOZ_LOG=nsHostResolver:5", "MOZ_LOG_FILE=" + names}
	stop, err := d.u.start(d.profile, userJS(settings), args...)
	if err != nil {
		return false, err
	}
	steps := []step{
		{"start, which opens the dialog", d.opens, false},
		{"type name and address", d.who, false},
		{"continue to what was found", d.found, false},
		{"continue to the password", d.secret, false},
		{"continue to the account", d.made, false},
		{"finish", d.finish, false},
		{"write", d.u.write, true},
		{"send", d.u.send, false},
		{"receive over IDLE", d.u.receive, false},
		{"read, which marks as read", d.u.read, false},
	}
	failed = d.u.all(steps)
	if err := stop(); err != nil {
		return failed, err
	}
	return failed, asked(names)
}

// daemon asks mailproxy what there is to set up, and keeps how to look at the
// account from the other side.
func (d *dialog) daemon() error {
	b, err := exec.Command(d.mailproxy, "account", "settings", "--json", d.address, "--config", d.config).Output()
	if err != nil {
		return fmt.Errorf("mailproxy account settings: %w", err)
	}
	if err := json.Unmarshal(b, &d.settings); err != nil {
		return fmt.Errorf("mailproxy account settings: %w", err)
	}
	if len(d.settings.Accounts) != 1 {
		return errors.New("mailproxy account settings: it tells of more than one account")
	}
	d.u.alice.Username = d.settings.Accounts[0].UserName
	imap, err := d.settings.at("imap", "starttls")
	if err != nil {
		return err
	}
	smtp, err := d.settings.at("smtp", "starttls")
	if err != nil {
		return err
	}
	d.u.file = &ready.File{Accounts: []ready.Account{d.u.alice}, SMTP: smtp, IMAP: imap, CAFile: d.settings.Authority.File}
	return nil
}

// onlyProfile returns the profile that there is.
func (d *dialog) onlyProfile() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	// The profile that Thunderbird takes by itself; beside it, it makes an empty one.
	kind := "*.default"
	if d.joined {
		kind = "*.default-default"
	}
	made, err := filepath.Glob(filepath.Join(home, ".thunderbird", kind))
	if err != nil || len(made) != 1 {
		return "", fmt.Errorf("there are %d profiles %s in %s, and not one", len(made), kind, home)
	}
	return made[0], nil
}

// prepare has Thunderbird make its profile by a first start, and then installs in and
// beside it what mailproxy has to install.
func (d *dialog) prepare() error {
	// The profile is there before the start only so that the settings of quiet hold.
	if out, err := exec.Command("thunderbird", "--headless", "--CreateProfile", "default").CombinedOutput(); err != nil {
		return fmt.Errorf("make a profile: %w: %s", err, out)
	}
	var err error
	if d.profile, err = d.onlyProfile(); err != nil {
		return fmt.Errorf("make a profile: %w", err)
	}
	stop, err := d.u.start(d.profile, userJS(quiet), "-P", "default")
	if err != nil {
		return fmt.Errorf("start Thunderbird for the first time: %w", err)
	}
	if err := errors.Join(d.u.m.js(`await until("the window", () => main && main.document.readyState == "complete");`, nil), stop()); err != nil {
		return err
	}
	for _, command := range [][]string{{"cert", "install", "thunderbird"}, {"account", "autoconfig"}} {
		out, err := exec.Command(d.mailproxy, append(command, "--config", d.config)...).CombinedOutput()
		fmt.Printf("$ mailproxy %s\n%s", strings.Join(command, " "), out)
		if err != nil {
			return fmt.Errorf("mailproxy %s: %w", strings.Join(command, " "), err)
		}
	}
	return nil
}

// view is JavaScript that waits for a part of the dialog to be what is seen; if the
// dialog says that something is wrong, that is the error.
const view = `
const modal = await until("the dialog", () => main.document.querySelector("account-hub-container")?.modal);
const hub = await until("the dialog", () => modal.open && modal.querySelector("account-hub-email"));
const shown = id => { const e = hub.querySelector("#" + id); return e && !e.hidden ? e : null; };
const words = () => hub.innerText.replace(/\s+/g, " ").trim();
const view = async id => {
	try {
		return await until(id, () => shown(id));
	} catch (e) {
		throw new Error(e.message + "; the dialog says: " + words());
	}
};
const go = async () => {
	const forward = hub.querySelector("account-hub-footer #forward");
	await until("the button", () => !forward.disabled && !forward.hidden);
	forward.click();
};
`

// opens waits for the dialog, for which nobody has asked.
func (d *dialog) opens() error {
	return d.u.m.js(view+`await view("emailAutoConfigSubview");`, nil)
}

// who types name and address with the keyboard, from field to field by Tab.
func (d *dialog) who() error {
	if err := d.u.m.js(view+`
		const name = (await view("emailAutoConfigSubview")).querySelector("#realName");
		name.focus();
		name.select();
	`, nil); err != nil {
		return err
	}
	if err := d.u.m.keys(d.name + tabKey + d.address); err != nil {
		return err
	}
	var got []string
	err := d.u.m.js(view+`return ["realName", "email"].map(id => hub.querySelector("#" + id).value);`, &got)
	if err == nil && !slices.Equal(got, []string{d.name, d.address}) {
		err = fmt.Errorf("it has %q", got)
	}
	return err
}

// found goes on, and reads what Thunderbird found and from where.
func (d *dialog) found() error {
	imap, err := d.settings.at("imap", "tls")
	if err != nil {
		return err
	}
	smtp, err := d.settings.at("smtp", "tls")
	if err != nil {
		return err
	}
	var text string
	began := time.Now()
	if err := d.u.m.js(view+`await go(); await view("emailConfigFoundSubview"); return words();`, &text); err != nil {
		return err
	}
	fmt.Printf("  found in %.1f s\n", time.Since(began).Seconds())
	for _, want := range []string{imap.Host, fmt.Sprint(imap.Port), fmt.Sprint(smtp.Port), d.address} {
		if !strings.Contains(text, want) {
			return fmt.Errorf("it found another thing, without %s: %s", want, text)
		}
	}
	return nil
}

func (d *dialog) secret() error {
	if err := d.u.m.js(view+`await go(); (await view("emailPasswordSubview")).querySelector("#password").focus();`, nil); err != nil {
		return err
	}
	if err := d.u.m.keys(d.u.alice.Password); err != nil {
		return err
	}
	return d.u.m.js(view+`
		const remember = hub.querySelector("#rememberPassword");
		if (!remember.checked) remember.click();
		if (!remember.checked) throw new Error("the password cannot be remembered");
	`, nil)
}

// made goes on until the account is there. No window may open meanwhile: it would be
// about a certificate or a wrong password.
func (d *dialog) made() error {
	return d.u.m.js(view+`
		const before = [...Services.wm.getEnumerator(null)].length;
		await go();
		await until("the account", () => {
			const now = [...Services.wm.getEnumerator(null)];
			if (now.length > before) throw new Error("a window opened: " + now.map(w => w.document.title || w.location.href));
			return shown("emailAddedSuccessSubview") || shown("emailSyncAccountsSubview");
		}).catch(e => { throw new Error(e.message + "; the dialog says: " + words()); });
		if (shown("emailSyncAccountsSubview")) { await go(); await view("emailAddedSuccessSubview"); }
	`, nil)
}

// finish closes the dialog, and reads what Thunderbird made of it all.
func (d *dialog) finish() error {
	imap, err := d.settings.at("imap", "tls")
	if err != nil {
		return err
	}
	var got struct {
		Host, User, SMTP string
		Port, SMTPPort   int
		Security         [2]int
		Folders          []string
	}
	err = d.u.m.js(view+`
		await go();
		await until("the dialog to close", () => !modal.open);
		const incoming = server();
		const inbox = await until("the INBOX", () => incoming.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox));
		await until("the folders", () => folder("Trash") && folder("Sent"));
		main.document.getElementById("tabmail").currentAbout3Pane.displayFolder(inbox.URI);
		const outgoing = MailServices.outgoingServer.defaultServer.QueryInterface(Ci.nsISmtpServer);
		return {
			Host: incoming.hostname ?? incoming.hostName, User: incoming.username, Port: incoming.port, SMTP: outgoing.hostname, SMTPPort: outgoing.port,
			Security: [incoming.socketType, outgoing.socketType], Folders: incoming.rootFolder.descendants.map(f => f.name),
		};
	`, &got)
	if err != nil {
		return err
	}
	const implicitTLS = 3 // nsMsgSocketType.SSL
	if net.JoinHostPort(got.Host, fmt.Sprint(got.Port)) != imap.String() || got.User != d.u.alice.Username || got.Security != [2]int{implicitTLS, implicitTLS} {
		return fmt.Errorf("it made %+v", got)
	}
	return nil
}

var resolving = regexp.MustCompile(`Calling getaddrinfo for host \[([^\]]+)\]`)

// asked writes down of which names Thunderbird asked the system for the address, which
// tells others what is being set up. It asks for MX and SRV records besides, by another
// way that leaves nothing in the log.
func asked(logs string) error {
	files, err := filepath.Glob(logs + "*")
	if err != nil {
		return err
	}
	var names []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		for _, m := range resolving.FindAllStringSubmatch(string(b), -1) {
			if !slices.Contains(names, m[1]) {
				names = append(names, m[1])
			}
		}
	}
	fmt.Printf("names that Thunderbird asked for: %s\n", strings.Join(names, " "))
	return nil
}
