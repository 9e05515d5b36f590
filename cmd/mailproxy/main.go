// Command mailproxy is the user's daemon and its command line: SMTP, IMAP and
// POP3 on loopback for the mail program, a mix network behind it.
//
// It ends with status 0 if all is done; 1 if something failed; 4 if the store's
// passphrase is wrong; 5 if what opens the store (passphrase, key file, keychain) is
// not to be had; 6 if the accounts were moved to another computer; 80 if the command
// line is wrong.
package main

import (
	"os"
	"runtime/debug"

	"mailproxy/internal/command"
	"mailproxy/proxy"
)

type cli struct {
	Join    joinCmd    `cmd:"" help:"Join a network: all that an invitation takes, in one command."`
	Leave   leaveCmd   `cmd:"" help:"Undo join: delete the accounts, and take everything off this computer."`
	Demo    demoCmd    `cmd:"" help:"Run a whole private mail network and two mailboxes in this process."`
	Run     runCmd     `cmd:"" help:"Run the daemon for your own accounts."`
	Account accountCmd `cmd:"" help:"Add, list, revoke and delete accounts of the running daemon, and make new passwords."`
	Alias   aliasCmd   `cmd:"" help:"Make, list and retire further addresses that nobody can connect with your account."`
	Contact contactCmd `cmd:"" help:"List, verify, decide on and block whom your accounts know."`
	Queue   queueCmd   `cmd:"" help:"List, show, withdraw and retry mail that is on its way."`
	Alarm   alarmCmd   `cmd:"" help:"Dismiss what status warns of."`
	Mailbox mailboxCmd `cmd:"" help:"Check, repair, export and import the mail on this computer."`
	Page    pageCmd    `cmd:"" help:"Open the running daemon's status page in the browser."`
	Status  statusCmd  `cmd:"" help:"Say how the running daemon is."`
	Cert    certCmd    `cmd:"" help:"Show, export and install the certificate by which mail programs know this daemon."`
	Store   storeCmd   `cmd:"" help:"Say and change how what is kept on this computer is encrypted."`
	Config  configCmd  `cmd:"" help:"Show, change and check the configuration file."`
	Doctor  doctorCmd  `cmd:"" help:"Look for what may be the matter, and say what to do."`
	Export  exportCmd  `cmd:"" help:"Move all accounts to a new computer: write them into one encrypted file."`
	Import  importCmd  `cmd:"" help:"Move all accounts to this computer, from the file of the old one."`

	command.Common
}

func main() {
	if os.Getenv("GOGC") == "" { // else the user has decided
		debug.SetGCPercent(proxy.GCPercent)
	}
	command.Main("mailproxy", "Private e-mail for your own mail program: mail between addresses of the network leaves as packets of a mix network, under cover traffic.", new(cli))
}
