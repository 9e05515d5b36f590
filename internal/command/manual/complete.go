package manual

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Shells are those that Complete knows.
var Shells = []string{"bash", "zsh", "fish"}

// ErrShell is returned by Complete for another.
var ErrShell = errors.New("no completion for this shell")

// Complete writes the completion of a program for a shell.
func Complete(w io.Writer, app *kong.Application, shell string) error {
	var b strings.Builder
	switch shell {
	case "bash":
		bash(&b, app)
	case "zsh":
		zsh(&b, app)
	case "fish":
		fish(&b, app)
	default:
		return fmt.Errorf("%w: %s", ErrShell, shell)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// quote writes a word for any of the shells. (In fish a backslash within is one only
// before a quote or another, and no word here has any.)
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'" }

func quoteAll(list []string) string {
	q := make([]string, len(list))
	for i, s := range list {
		q[i] = quote(s)
	}
	return strings.Join(q, " ")
}

// function returns a name for the completion's function.
func function(app *kong.Application) string {
	return "_" + strings.NewReplacer("-", "_", ".", "_").Replace(app.Name)
}

// known returns, as patterns, the places that a further word can lead to.
func known(app *kong.Application) string {
	var list []string
	for _, p := range places(app)[1:] {
		list = append(list, quote(p.at()))
	}
	return strings.Join(list, "|")
}

// names are how a flag can be typed.
func names(f *kong.Flag) []string {
	list := []string{"--" + f.Name}
	if f.Short != 0 {
		list = append(list, "-"+string(f.Short))
	}
	return list
}

// values writes, in the syntax that bash and zsh share, a case for each flag that takes
// a value: files, some words, or what nobody can guess.
func values(b *strings.Builder, app *kong.Application, files string, words func([]string) string) {
	for _, p := range places(app) {
		for _, f := range p.flags {
			if !takesValue(f) {
				continue
			}
			do := ":"
			if list := choices(f.Value); list != nil {
				do = words(list)
			} else if takesFile(f.Value) {
				do = files
			}
			var patterns []string
			for _, n := range names(f) {
				patterns = append(patterns, quote(p.at()+","+n))
			}
			fmt.Fprintf(b, "        %s) %s; return ;;\n", strings.Join(patterns, "|"), do)
		}
	}
}

func bash(b *strings.Builder, app *kong.Application) {
	fn := function(app)
	fmt.Fprintf(b, "# Completion of %s for bash.\n%s() {\n", app.Name, fn)
	fmt.Fprintf(b, `    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at= i IFS=$'\n'
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${COMP_WORDS[i]}" in
        %s) at="$at ${COMP_WORDS[i]}" ;;
        esac
    done
    case "$at,$prev" in
`, known(app))
	values(b, app, `COMPREPLY=($(compgen -f -- "$cur"))`, func(list []string) string {
		return fmt.Sprintf(`COMPREPLY=($(compgen -W $'%s' -- "$cur"))`, strings.Join(list, `\n`))
	})
	b.WriteString("    esac\n    case \"$at\" in\n")
	for _, p := range places(app) {
		files, words := argument(p.node)
		for _, c := range commands(p.node) {
			words = append(words, c.Name)
		}
		var flags []string
		for _, f := range p.flags {
			flags = append(flags, "--"+f.Name)
		}
		fmt.Fprintf(b, "    %s)\n        if [[ $cur == -* ]]; then\n            COMPREPLY=($(compgen -W $'%s' -- \"$cur\"))\n        else\n            COMPREPLY=($(compgen -W $'%s' -- \"$cur\"))\n",
			quote(p.at()), strings.Join(flags, `\n`), strings.Join(words, `\n`))
		if files {
			b.WriteString("            COMPREPLY+=($(compgen -f -- \"$cur\"))\n")
		}
		b.WriteString("        fi\n")
		b.WriteString("        ;;\n")
	}
	fmt.Fprintf(b, "    esac\n}\ncomplete -o filenames -F %s %s\n", fn, app.Name)
}

func zsh(b *strings.Builder, app *kong.Application) {
	fn := function(app)
	fmt.Fprintf(b, "#compdef %s\n# Completion of %s for zsh.\n%s() {\n", app.Name, app.Name, fn)
	fmt.Fprintf(b, `    local at= prev=${words[CURRENT-1]} i
    local -a found
    for ((i = 2; i < CURRENT; i++)); do
        case "$at ${words[i]}" in
        (%s) at="$at ${words[i]}" ;;
        esac
    done
    case "$at,$prev" in
`, known(app))
	values(b, app, "_files", func(list []string) string { return "compadd -- " + quoteAll(list) })
	b.WriteString("    esac\n    case \"$at\" in\n")
	// In what _describe is given, a colon parts the word from what is said about it.
	described := func(word, help string) string {
		return quote(strings.ReplaceAll(word, ":", `\:`) + ":" + strings.ReplaceAll(help, "\n", " "))
	}
	for _, p := range places(app) {
		files, words := argument(p.node)
		var found []string
		for _, c := range commands(p.node) {
			found = append(found, described(c.Name, c.Help))
		}
		for _, f := range p.flags {
			found = append(found, described("--"+f.Name, f.Help))
		}
		for _, word := range words {
			found = append(found, quote(word))
		}
		fmt.Fprintf(b, "    (%s)\n        found=(\n            %s\n        )\n", quote(p.at()), strings.Join(found, "\n            "))
		if files {
			b.WriteString("        [[ ${words[CURRENT]} == -* ]] || _files\n")
		}
		b.WriteString("        ;;\n")
	}
	fmt.Fprintf(b, `    esac
    _describe %s found
}
if [[ ${funcstack[1]-} == %s ]]; then
    %s "$@"
else
    compdef %s %s
fi
`, app.Name, fn, fn, fn, app.Name)
}

func fish(b *strings.Builder, app *kong.Application) {
	at := "_" + function(app) + "_at"
	fmt.Fprintf(b, `# Completion of %s for fish.
function %s
    set -l at ''
    set -l tokens (commandline -opc)
    set -e tokens[1]
    for word in $tokens
        switch "$at $word"
            case %s
                set at "$at $word"
        end
    end
    test "$at" = "$argv[1]"
end
complete -c %s -f
`, app.Name, at, strings.ReplaceAll(known(app), "|", " "), app.Name)
	for _, p := range places(app) {
		here := fmt.Sprintf("complete -c %s -n %s", app.Name, quote(at+` "`+p.at()+`"`))
		for _, c := range commands(p.node) {
			fmt.Fprintf(b, "%s -a %s -d %s\n", here, quote(c.Name), quote(c.Help))
		}
		for _, f := range p.flags {
			line := here + " -l " + quote(f.Name)
			if f.Short != 0 {
				line += " -s " + quote(string(f.Short))
			}
			if takesValue(f) {
				list := choices(f.Value)
				switch {
				case list != nil:
					line += " -x -a " + quote(strings.Join(list, " "))
				case takesFile(f.Value):
					line += " -r -F"
				default:
					line += " -x"
				}
			}
			fmt.Fprintf(b, "%s -d %s\n", line, quote(f.Help))
		}
		files, words := argument(p.node)
		if len(words) > 0 {
			fmt.Fprintf(b, "%s -a %s\n", here, quote(strings.Join(words, " ")))
		}
		if files {
			fmt.Fprintf(b, "%s -F\n", here)
		}
	}
}
