package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/term"

	"mailproxy/internal/address"
)

// The part of join that sees to the name that a person chooses.

// localPart returns what is to stand before the @ at provider, from what somebody
// typed: that alone, or the whole address.
func localPart(typed, provider string) (string, error) {
	typed = strings.TrimSpace(typed)
	local, domain, whole := strings.Cut(typed, "@")
	if _, err := address.Canonical(local + "@" + provider); err != nil {
		return "", fmt.Errorf("%q cannot be a name at %s: letters, digits and single . - _ are possible, and %d of them at most", typed, provider, address.MaxLocal)
	}
	if whole && !strings.EqualFold(domain, provider) {
		return "", fmt.Errorf("%q is not at %s, which the invitation is for: give what is to stand before the @ alone, such as %s", typed, provider, local)
	}
	return local, nil
}

// checkName sees to the name before anything is done.
func (j *joinCmd) checkName(provider string) (err error) {
	if j.Name != "" {
		if j.Name, err = localPart(j.Name, provider); err != nil {
			return fmt.Errorf("--name: %w", err)
		}
		return nil
	}
	// With a configuration there may be an account as well, and then none is asked for.
	if _, err := os.Stat(j.Config); errors.Is(err, fs.ErrNotExist) && !j.asks() {
		return fmt.Errorf("%w; nothing was done", noName(provider))
	}
	return nil
}

// asks reports whether there is somebody to ask.
func (j *joinCmd) asks() bool { return !j.JSON && term.IsTerminal(int(os.Stdin.Fd())) }

func noName(provider string) error {
	return fmt.Errorf("choose your name at %s, and join once more with the same words and --name NAME", provider)
}
