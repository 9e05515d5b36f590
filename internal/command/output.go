package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"

	"github.com/alecthomas/kong"
)

// JSONFlag is embedded in the flags of each command that answers something. Where a
// command has such a flag and it is given, Main writes the command's error as JSON.
type JSONFlag struct {
	JSON bool `help:"Answer as JSON, errors too."`
}

// Say prints an answer: v as JSON if that was asked for, else what text prints.
func (f JSONFlag) Say(v any, text func()) error {
	if f.JSON {
		return PrintJSON(os.Stdout, v)
	}
	text()
	return nil
}

// PrintJSON writes v in the form that all commands have: indented, with an end of
// line, and < > & as they are. A list without anything in it is [], never null.
func PrintJSON(w io.Writer, v any) error {
	if list := reflect.ValueOf(v); list.Kind() == reflect.Slice && list.IsNil() {
		v = []struct{}{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// jsonName is the name of the flag that Main looks for.
const jsonName = "json"

// jsonInArguments is for a command line that kong could not read.
func jsonInArguments(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.Contains(args, "--"+jsonName)
}

// jsonAsked reports whether the command that was given is to answer as JSON.
func jsonAsked(k *kong.Context) bool {
	for _, f := range k.Flags() {
		if f.Name == jsonName {
			on, ok := k.FlagValue(f).(bool)
			return ok && on
		}
	}
	return false
}

// failed is an error as JSON. It goes where errors go, since what a command has to say
// may stand in its output already.
type failed struct {
	Error  string `json:"error"`
	Status int    `json:"status"` // with which the program ends
}

// fail tells of an error, and returns the program's exit status.
func fail(program string, err error, asJSON bool) int {
	status := 1
	var coder kong.ExitCoder
	if errors.As(err, &coder) {
		status = coder.ExitCode()
	}
	if asJSON && PrintJSON(os.Stderr, failed{err.Error(), status}) == nil {
		return status
	}
	fmt.Fprintln(os.Stderr, program+":", err)
	return status
}
