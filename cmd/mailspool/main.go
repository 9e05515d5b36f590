// Command mailspool is a provider's daemon: a service node of the mix network with
// the spool for the users at its domain, and an echo service.
package main

import "mailproxy/internal/command"

type cli struct {
	Init initCmd `cmd:"" help:"Make the keys and the configuration, and print its entry for the network document."`
	Run  runCmd  `cmd:"" help:"Run the service until it is told to stop."`

	command.Common
}

func main() {
	command.Main("mailspool", "The service of a provider in a mix network for private e-mail: it keeps sealed blocks for the users at its domain until they fetch them, and learns neither who sends nor who fetches.", new(cli))
}
