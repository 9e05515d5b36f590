// Command mailspool is a provider's daemon: a service node of the mix network with
// the spool for the users at its domain, and an echo service; and its
// administration.
//
// It ends with status 0 if all is done; 1 if something failed; 2 if verify found
// something wrong; 3 if the command needs the service to run and it does not, or to
// be stopped and it runs; 80 if the command line is wrong.
package main

import "mailproxy/internal/command"

type cli struct {
	Init       initCmd       `cmd:"" help:"Make the keys and the configuration, and print its entry for the network document."`
	Run        runCmd        `cmd:"" help:"Run the service until it is told to stop."`
	Invite     inviteCmd     `cmd:"" help:"Make, list and revoke invitations."`
	User       userCmd       `cmd:"" help:"List, show, suspend, resume and delete users."`
	Stats      statsCmd      `cmd:"" help:"Say how much there is, and what was refused."`
	Work       workCmd       `cmd:"" help:"Say or change what a block costs strangers, for a while."`
	Verify     verifyCmd     `cmd:"" help:"Check the whole store, and say what is wrong."`
	GC         gcCmd         `cmd:"" name:"gc" help:"Give back to the disk what removed blocks still take."`
	Backup     backupCmd     `cmd:"" help:"Write the whole store into one encrypted file."`
	Restore    restoreCmd    `cmd:"" help:"Make a store of a backup."`
	Autoconfig autoconfigCmd `cmd:"" help:"Write the files by which users' mail programs find their servers, for a web server."`

	command.Common
}

func main() {
	command.Main("mailspool", "The service of a provider in a mix network for private e-mail: it keeps sealed blocks for the users at its domain until they fetch them, and learns neither who sends nor who fetches.", new(cli))
}
