package command

import (
	"os"

	"github.com/alecthomas/kong"

	"mailproxy/internal/command/manual"
)

// Documented is implemented by a command line with sections of its own for the manual
// page.
type Documented interface {
	Manual() []manual.Section
}

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"For which shell: bash, zsh or fish."`
}

// Run writes the completion.
func (c completionCmd) Run(k *kong.Context) error {
	return manual.Complete(os.Stdout, k.Model, c.Shell)
}

type manCmd struct{}

// Run writes the manual page.
func (manCmd) Run(k *kong.Context, vars kong.Vars) error {
	var more []manual.Section
	if d, ok := k.Model.Target.Addr().Interface().(Documented); ok {
		more = d.Manual()
	}
	return manual.Man(os.Stdout, k.Model, vars[versionVar], more)
}
