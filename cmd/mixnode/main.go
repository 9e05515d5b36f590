// Command mixnode runs one node of the mix network, a mix, gateway or directory,
// and makes and signs the network document. Service nodes are mailspool's.
package main

import (
	"os"
	"runtime/debug"

	"mailproxy/internal/command"
	"mailproxy/mixnet/node"
)

type cli struct {
	Init    initCmd    `cmd:"" help:"Make a node's keys and configuration, and print its entry for the network document."`
	Run     runCmd     `cmd:"" help:"Run a node until it is told to stop."`
	Network networkCmd `cmd:"" help:"Make, sign and check a network document."`

	command.Common
}

func main() {
	if os.Getenv("GOGC") == "" { // else the operator has decided
		// Replay tags: node.GCPercent says why.
		debug.SetGCPercent(node.GCPercent)
	}
	command.Main("mixnode", "A node of a mix network for private e-mail: a mix, a gateway or a directory; and the tool that makes and signs the document that says who takes part.", new(cli))
}
