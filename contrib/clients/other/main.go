// Other is the other mail program of contrib/clients/run: it changes what a client
// under test has to notice, and looks at what that client did. It writes the mails
// that are used, and compares bytes.
//
//	other -ready FILE -account NAME COMMAND ARGUMENT...
//
// A message is named by its subject, which must be in the folder once where only one
// is meant. Flags are letters, as in Maildir: D draft, F flagged, R answered, S seen,
// T deleted; - is none. The commands:
//
//	show WHAT                       address, username, password, smtp, imap, pop3 or ca
//	compose DIR FROM TO ID...       writes the mails DIR/ID, and DIR/ID.crlf for the wire
//	big DIR FROM TO ID BYTES        the same for one mail with an attachment, of so many bytes
//	append FOLDER FLAGS FILE...     the files have CRLF line ends
//	flag FOLDER FLAGS SUBJECT...    replaces the flags
//	move FOLDER DEST SUBJECT...
//	delete FOLDER SUBJECT...        and expunges just these
//	empty FOLDER                    deletes and expunges all
//	create|remove FOLDER...         folders
//	rename FOLDER NAME
//	list FOLDER...                  a line each: folder, UID, flags, size, SHA-256, subject
//	count FOLDER [TEXT]             how many messages there are, with TEXT in the subject
//	save FOLDER DIR                 writes each message into a file
//	whole FOLDER=FILE...            the folders hold exactly these, to the byte
//	tree DIR FOLDER[=SUBDIR]...     the Maildirs DIR/FOLDER, or DIR/SUBDIR, hold the same messages
//	                                with the same flags
//	bodies DIR FILE...              each mail is in DIR, in one file, with the same body
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/emersion/go-imap/v2/imapclient"

	"mailproxy/contrib/clients/ready"
)

func main() {
	file := flag.String("ready", "", "the demo's ready `file`")
	account := flag.String("account", "alice", "whose mail")
	flag.Parse()
	if err := run(*file, *account, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "other:", err)
		os.Exit(1)
	}
}

// A command is run with its arguments, of which there are least at least. Those that
// need no connection have imap false.
type command struct {
	least int
	imap  bool
	run   func(o *other, args []string) error
}

var commands = map[string]command{
	"show":    {1, false, (*other).show},
	"compose": {4, false, (*other).compose},
	"big":     {5, false, (*other).big},
	"bodies":  {2, false, (*other).bodies},
	"append":  {3, true, (*other).append},
	"flag":    {3, true, (*other).flag},
	"move":    {3, true, (*other).move},
	"delete":  {2, true, (*other).delete},
	"empty":   {1, true, (*other).empty},
	"create":  {1, true, (*other).create},
	"remove":  {1, true, (*other).remove},
	"rename":  {2, true, (*other).rename},
	"list":    {1, true, (*other).list},
	"count":   {1, true, (*other).count},
	"save":    {2, true, (*other).save},
	"whole":   {1, true, (*other).whole},
	"tree":    {2, true, (*other).tree},
}

// An other is one run of the program.
type other struct {
	file    *ready.File
	account ready.Account
	c       *imapclient.Client // nil for commands without imap
}

func run(file, account string, args []string) error {
	if len(args) == 0 {
		return errors.New("which command? See the program's comment")
	}
	cmd, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("no command %s", args[0])
	}
	if len(args)-1 < cmd.least {
		return fmt.Errorf("%s takes %d arguments at least", args[0], cmd.least)
	}
	f, err := ready.Read(file)
	if err != nil {
		return err
	}
	o := &other{file: f}
	if o.account, err = f.Account(account); err != nil {
		return err
	}
	if !cmd.imap {
		return cmd.run(o, args[1:])
	}
	if o.c, err = f.Dial(o.account, nil); err != nil {
		return err
	}
	if err := cmd.run(o, args[1:]); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", args[0], err), o.c.Close())
	}
	return o.c.Logout().Wait()
}

// show prints one thing that the ready file says.
func (o *other) show(args []string) error {
	what, ok := map[string]string{
		"address": o.account.Address, "username": o.account.Username, "password": o.account.Password,
		"smtp": o.file.SMTP.String(), "imap": o.file.IMAP.String(), "pop3": o.file.POP3.String(),
		"imaps": o.file.IMAPS.String(), "pop3s": o.file.POP3S.String(),
		"ca": o.file.CAFile,
	}[args[0]]
	if !ok {
		return fmt.Errorf("show: the ready file says nothing of %q", args[0])
	}
	fmt.Println(what)
	return nil
}
