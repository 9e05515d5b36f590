// Package manual writes what a system keeps about a program, from the model of the
// program's command line: the manual page, and the completions of bash, zsh and fish.
//
// What it writes is static: it names no path and no time, and completing asks the
// program nothing. The libraries that do this for kong were left alone years ago, or
// start the program at each press of the key. internal/command and cmd/mailproxy import it.
package manual

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// A place is where a command line stands after some words: a command, with all that may
// follow it.
type place struct {
	words []string // the command's, without the program's name
	node  *kong.Node
	flags []*kong.Flag
}

// at returns the words as the completions keep them: each after a blank.
func (p place) at() string { return strings.Join(append([]string{""}, p.words...), " ") }

// places returns the program itself and all commands that are not hidden.
func places(app *kong.Application) []place {
	var all []place
	var walk func(n *kong.Node, words []string, flags []*kong.Flag)
	walk = func(n *kong.Node, words []string, flags []*kong.Flag) {
		for _, f := range n.Flags {
			if !f.Hidden {
				flags = append(flags, f)
			}
		}
		all = append(all, place{words, n, slices.Clone(flags)})
		for _, c := range commands(n) {
			walk(c, append(slices.Clone(words), c.Name), flags)
		}
	}
	walk(app.Node, nil, nil)
	return all
}

func commands(n *kong.Node) (list []*kong.Node) {
	for _, c := range n.Children {
		if !c.Hidden && c.Type == kong.CommandNode {
			list = append(list, c)
		}
	}
	return list
}

// takesValue reports whether a word must follow the flag.
func takesValue(f *kong.Flag) bool { return !f.IsBool() && !f.IsCounter() }

// takesFile reports whether a value is the name of a file or directory.
func takesFile(v *kong.Value) bool {
	return slices.Contains([]string{"path", "existingfile", "existingdir", "filecontent", "file"}, v.Tag.Type)
}

// choices are all the values that one can have, if they are few.
func choices(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	var list []string
	for _, s := range v.EnumSlice() {
		if s != "" {
			list = append(list, s)
		}
	}
	return list
}

// argument says what may follow a command that is no flag: files, or some words.
func argument(n *kong.Node) (files bool, words []string) {
	for _, p := range n.Positional {
		files = files || takesFile(p)
		words = append(words, choices(p)...)
	}
	return files, words
}
