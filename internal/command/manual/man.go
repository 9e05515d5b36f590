package manual

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// A Section is one that only the program itself can write, such as EXIT STATUS. Its
// paragraphs are of text; one with a Tag stands indented under it.
type Section struct {
	Title string
	Paras []Para
}

// A Para is a paragraph of a section.
type Para struct{ Tag, Text string }

// Man writes the manual page of a program, in the man(7) macros. Version is what
// "--version" prints, and stands at the foot.
func Man(w io.Writer, app *kong.Application, version string, more []Section) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" %q %q\n", strings.ToUpper(app.Name), roff(version), roff(app.Name))
	what, _, _ := strings.Cut(app.Help, ":")
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(app.Name), roff(strings.TrimSuffix(what, ".")))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n.I command\n[\\fIflags\\fP]\n", roff(app.Name))
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", text(app.Help))
	b.WriteString(".SH COMMANDS\n")
	for _, p := range places(app) {
		if len(p.words) == 0 || len(commands(p.node)) > 0 {
			continue
		}
		fmt.Fprintf(&b, ".SS %s\n%s\n", roff(strings.Join(append(p.words, operands(p.node)...), " ")), text(p.node.Help))
		for _, v := range p.node.Positional {
			if v.Help != "" {
				tagged(&b, v.Name, v.Help)
			}
		}
		for _, f := range p.flags {
			if !global(app, f) {
				tagged(&b, tag(f), about(f))
			}
		}
	}
	b.WriteString(".SH FLAGS OF ALL COMMANDS\n")
	for _, f := range app.Flags {
		if !f.Hidden {
			tagged(&b, tag(f), about(f))
		}
	}
	for _, s := range more {
		fmt.Fprintf(&b, ".SH %s\n", roff(strings.ToUpper(s.Title)))
		for i, p := range s.Paras {
			switch {
			case p.Tag != "":
				tagged(&b, p.Tag, p.Text)
			case i > 0:
				fmt.Fprintf(&b, ".PP\n%s\n", text(p.Text))
			default:
				fmt.Fprintf(&b, "%s\n", text(p.Text))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func operands(n *kong.Node) (list []string) {
	for _, v := range n.Positional {
		list = append(list, v.Summary())
	}
	return list
}

// global reports whether a flag is of the whole program, and described once for all.
func global(app *kong.Application, f *kong.Flag) bool {
	for _, g := range app.Flags {
		if g == f {
			return true
		}
	}
	return false
}

// tag is a flag as it is typed, as in the program's own help.
func tag(f *kong.Flag) string {
	if off(f) == "" {
		return f.String()
	}
	return strings.Replace(f.String(), "--", "--[no-]", 1)
}

// off is the word that turns a flag off, if there is one.
func off(f *kong.Flag) string {
	if f.Tag.Negatable == "" {
		return ""
	}
	return "--no-" + f.Name
}

func about(f *kong.Flag) string {
	s := f.Help
	if off(f) != "" {
		if f.Default == "true" && !strings.Contains(s, off(f)) {
			s += " It is so unless " + off(f) + " is given."
		}
		return s
	}
	if list := choices(f.Value); list != nil {
		s += " One of " + strings.Join(list, ", ") + "."
	}
	if f.HasDefault && f.Default != "" && !strings.Contains(f.Help, f.Default) {
		s += " Without it: " + f.Default + "."
	}
	return s
}

func tagged(b *strings.Builder, tag, about string) {
	fmt.Fprintf(b, ".TP\n\\fB%s\\fP\n%s\n", roff(tag), text(about))
}

// roff writes words so that none of them is taken for a command of troff.
func roff(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`, "\n", " ").Replace(s)
}

// text writes a paragraph.
func text(s string) string {
	s = roff(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") { // troff's commands begin so
		s = `\&` + s
	}
	return s
}
