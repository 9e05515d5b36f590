package command

import "github.com/alecthomas/kong"

// helpCmd is for who types "help" before anything else.
type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command; without one, all are listed."`
}

// Run prints what --help does.
func (h helpCmd) Run(k *kong.Context) error {
	_, err := k.Kong.Parse(append(h.Command, "--help")) // ends the program, unless there is no such command
	return err
}
