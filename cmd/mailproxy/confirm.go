package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Errors of confirm.
var (
	errNotConfirmed = errors.New("nothing was done; to confirm, type the address, or use --yes")
	errNotLeft      = errors.New("nothing was done; to confirm, type leave, or use --yes")
	errAskNothing   = errors.New("nothing was done: with --json you are asked nothing; confirm with --yes")
)

// confirm says what will be, and asks for a word; without it, the answer is no. A
// program, which wants JSON and nothing else, is not asked.
func confirm(asJSON bool, consequences, what, word string, no error) error {
	if asJSON {
		return errAskNothing
	}
	fmt.Fprintf(os.Stderr, "%s\n\nType %s to confirm: ", consequences, what)
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n') // no line confirms nothing
	fmt.Fprintln(os.Stderr)
	if !strings.EqualFold(strings.TrimSpace(line), word) {
		return no
	}
	return nil
}
