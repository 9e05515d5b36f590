package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailproxy/contrib/clients/ready"
)

// A user is who sits before Thunderbird.
type user struct {
	file       *ready.File   // alice's daemon
	peer       *ready.File   // bob's, which may be the same
	alice, bob ready.Account // alice is who has Thunderbird
	out        string
	env        []string // of Thunderbird, beside ours
	m          *marionette
}

// The subjects of the mails that are used.
const (
	fromBob   = "A mail from bob"
	fromAlice = "A mail from Thunderbird"
)

// A step is one thing that a person does.
type step struct {
	name  string
	do    func() error
	aside bool // it is done in a window of its own
}

// steps are those of an account that is set up without the assistant.
func (u *user) steps() []step {
	return []step{
		{"trust the authority", u.trust, false},
		{"set the account up", u.account, false},
		{"receive over IDLE", u.receive, false},
		{"read, which marks as read", u.read, false},
		{"write", u.write, true},
		{"send", u.send, false},
		{"move to a folder", u.move, false},
		{"delete, which moves to Trash", u.trash, false},
		{"empty the Trash", u.empty, false},
	}
}

// all does all steps, and says of each how it went. A step that follows one which
// failed is done all the same: it says what else is wrong.
func (u *user) all(steps []step) (failed bool) {
	passed, bad := 0, 0
	for i, s := range steps {
		began := time.Now()
		err := s.do()
		picture := filepath.Join(u.out, fmt.Sprintf("%02d-%s.png", i+1, strings.NewReplacer(" ", "-", ",", "").Replace(s.name)))
		time.Sleep(2 * time.Second) // what changed is drawn
		shot := func() error { return u.m.screenshot(picture) }
		if s.aside && err == nil {
			err = u.m.aside(shot)
		} else {
			err = cmp.Or(err, shot())
		}
		result := "ok"
		if err != nil {
			bad++
			result = "FAILED: " + err.Error()
		} else {
			passed++
		}
		fmt.Printf("%-32s %5.1f s  %s\n", s.name, time.Since(began).Seconds(), result)
	}
	fmt.Printf("steps=%d passed=%d failed=%d\n", passed+bad, passed, bad)
	return bad > 0
}

// trust imports the authority, as the certificate manager does with a file.
func (u *user) trust() error {
	pem, err := os.ReadFile(u.file.CAFile)
	if err != nil {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(string(pem)) {
		if !strings.HasPrefix(line, "-----") {
			b.WriteString(strings.TrimSpace(line))
		}
	}
	return u.m.js(`
		const db = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
		db.addCertFromBase64(args[0], "C,,");
	`, nil, b.String())
}

// account makes an account with the account manager and stores its passwords, as the
// set-up assistant does once a person has typed them.
func (u *user) account() error {
	var folders []string
	err := u.m.js(`
		const [address, username, password, imapPort, smtpPort] = args;
		const incoming = MailServices.accounts.createIncomingServer(username, "localhost", "imap");
		incoming.port = imapPort;
		incoming.socketType = Ci.nsMsgSocketType.alwaysSTARTTLS;
		incoming.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
		incoming.prettyName = address;
		incoming.loginAtStartUp = true;
		const outgoing = MailServices.outgoingServer.createServer("smtp");
		outgoing.QueryInterface(Ci.nsISmtpServer);
		outgoing.hostname = "localhost";
		outgoing.port = smtpPort;
		outgoing.username = username;
		outgoing.socketType = Ci.nsMsgSocketType.alwaysSTARTTLS;
		outgoing.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
		for (const origin of ["imap://localhost", "smtp://localhost"]) {
			const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
			login.init(origin, null, origin, username, password, "", "");
			await Services.logins.addLoginAsync(login);
		}
		const identity = MailServices.accounts.createIdentity();
		identity.email = address;
		identity.fullName = "Alice";
		identity.smtpServerKey = outgoing.key;
		identity.composeHtml = false;
		const account = MailServices.accounts.createAccount();
		account.incomingServer = incoming;
		account.addIdentity(identity);
		MailServices.accounts.defaultAccount = account;
		incoming.valid = true;
		identity.valid = true;
		incoming.password = password;
		const inbox = await until("the INBOX", () => incoming.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox));
		const { listener, promise } = listen();
		inbox.QueryInterface(Ci.nsIMsgImapMailFolder).updateFolderWithListener(main.msgWindow, listener);
		await promise;
		await until("the folders", () => folder("Trash") && folder("Sent"));
		main.document.getElementById("tabmail").currentAbout3Pane.displayFolder(inbox.URI);
		await sleep(2000);
		return incoming.rootFolder.descendants.map(f => f.QueryInterface(Ci.nsIMsgImapMailFolder).onlineName);
	`, &folders, u.alice.Address, u.alice.Username, u.alice.Password, u.file.IMAP.Port, u.file.SMTP.Port)
	if err != nil {
		return err
	}
	c, err := u.file.Dial(u.alice, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	list, err := c.List("", "*", nil).Collect()
	if err != nil {
		return err
	}
	for _, f := range list {
		if !slices.Contains(folders, f.Mailbox) {
			return fmt.Errorf("it shows the folders %s, and not %s", strings.Join(folders, ", "), f.Mailbox)
		}
	}
	return nil
}

// receive has bob write to alice through the network. Nobody asks Thunderbird to look.
func (u *user) receive() error {
	if err := submit(u.peer, u.bob, u.alice.Address, fromBob); err != nil {
		return err
	}
	if err := u.there(u.alice, "INBOX", fromBob, 1); err != nil {
		return err
	}
	stored := time.Now()
	err := u.m.js(`await until("the mail", () => find(folder("Inbox"), args[0]));`, nil, fromBob)
	if err == nil {
		fmt.Printf("  Thunderbird has it %.1f s after we saw it in the INBOX\n", time.Since(stored).Seconds())
	}
	return err
}

// read opens the mail.
func (u *user) read() error {
	err := u.m.js(`
		const pane = main.document.getElementById("tabmail").currentAbout3Pane;
		const hdr = find(folder("Inbox"), args[0]);
		main.document.getElementById("tabmail").currentAbout3Pane.displayFolder(folder("Inbox").URI);
		await until("the mail in the list", () => pane.gDBView && pane.gDBView.findIndexOfMsgHdr(hdr, true) != 0xffffffff);
		pane.threadTree.selectedIndex = pane.gDBView.findIndexOfMsgHdr(hdr, true);
		await until("the mark", () => hdr.isRead);
		const text = await until("the text", () => {
			const d = pane.messageBrowser.contentWindow.getMessagePaneBrowser().contentDocument;
			return d && d.body && d.body.textContent;
		});
		if (!text.includes("Grüße")) throw new Error("it shows " + text);
	`, nil, fromBob)
	if err != nil {
		return err
	}
	return u.eventually("the mail marked as seen", func() (bool, error) {
		flags, err := flagsOf(u.file, u.alice, "INBOX", fromBob)
		return slices.Contains(flags, `\Seen`), err
	})
}

// write writes in a window.
func (u *user) write() error {
	return u.m.js(`
		const [to, subject] = args;
		const params = Cc["@mozilla.org/messengercompose/composeparams;1"].createInstance(Ci.nsIMsgComposeParams);
		params.composeFields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
		params.composeFields.to = to;
		params.composeFields.subject = subject;
		params.composeFields.body = "Grüße aus Thunderbird\n";
		params.format = Ci.nsIMsgCompFormat.PlainText;
		params.identity = MailServices.accounts.defaultAccount.defaultIdentity;
		MailServices.compose.OpenComposeWindowWithParams(null, params);
		const win = await until("the window", () => {
			const w = Services.wm.getMostRecentWindow("msgcompose");
			return w && w.gMsgCompose && w.composeEditorReady !== false && w.document.readyState == "complete" && w;
		});
	`, nil, u.bob.Address, fromAlice)
}

// send sends what write has written.
func (u *user) send() error {
	err := u.m.js(`
		const win = Services.wm.getMostRecentWindow("msgcompose");
		win.goDoCommand("cmd_sendNow");
		await until("the window to close", () => win.closed);
	`, nil)
	if err != nil {
		return err
	}
	if err := u.there(u.bob, "INBOX", fromAlice, 1); err != nil {
		return err
	}
	if err := u.there(u.alice, "Sent", fromAlice, 1); err != nil {
		return err
	}
	time.Sleep(3 * time.Second) // a second copy would be there by now
	return u.there(u.alice, "Sent", fromAlice, 1)
}

// move makes a folder and moves the mail there.
func (u *user) move() error {
	err := u.m.js(`
		server().rootFolder.createSubfolder("Kept", main.msgWindow);
		const kept = await until("the folder", () => folder("Kept"));
		const { listener, promise } = listen();
		const inbox = folder("Inbox");
		MailServices.copy.copyMessages(inbox, [find(inbox, args[0])], kept, true, listener, main.msgWindow, true);
		await promise;
		main.document.getElementById("tabmail").currentAbout3Pane.displayFolder(kept.URI);
		await until("the mail in the folder", () => find(kept, args[0]));
	`, nil, fromBob)
	if err != nil {
		return err
	}
	if err := u.there(u.alice, "INBOX", fromBob, 0); err != nil {
		return err
	}
	return u.there(u.alice, "Kept", fromBob, 1)
}

func (u *user) trash() error {
	err := u.m.js(`
		const kept = folder("Kept");
		const { listener, promise } = listen();
		kept.deleteMessages([find(kept, args[0])], main.msgWindow, false, false, listener, true);
		await promise;
		main.document.getElementById("tabmail").currentAbout3Pane.displayFolder(folder("Trash").URI);
		await until("the mail in the Trash", () => find(folder("Trash"), args[0]));
	`, nil, fromBob)
	if err != nil {
		return err
	}
	if err := u.there(u.alice, "Kept", fromBob, 0); err != nil {
		return err
	}
	return u.there(u.alice, "Trash", fromBob, 1)
}

func (u *user) empty() error {
	err := u.m.js(`folder("Trash").emptyTrash(null);`, nil)
	if err != nil {
		return err
	}
	return u.there(u.alice, "Trash", fromBob, 0)
}
