package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/term"

	"mailproxy/proxy/storekey"
)

// How a passphrase gets in. Never as an argument, which other users can see, and
// never by the variable itself, which child processes inherit.
const (
	passphraseEnv    = "MAILPROXY_PASSPHRASE_FILE"
	newPassphraseEnv = "MAILPROXY_NEW_PASSPHRASE_FILE"
	credentialsEnv   = "CREDENTIALS_DIRECTORY" // systemd's: systemd.exec(5)
	credential       = "mailproxy-passphrase"
	keyCredential    = "mailproxy-key"
)

// maxPassphraseFile bounds what is read, in bytes.
const maxPassphraseFile = 4 << 10

// Exit statuses of errors that a script may want to tell apart from others.
const (
	exitWrongPassphrase = 4
	exitNoKey           = 5
	exitMoved           = 6
)

// A keyError ends the program with a status of its own.
type keyError struct {
	error
	status int
}

// ExitCode implements kong.ExitCoder.
func (e keyError) ExitCode() int { return e.status }

// Unwrap lets errors.Is see the cause.
func (e keyError) Unwrap() error { return e.error }

// keyStatus gives an error of the store's key the status that main.go describes.
func keyStatus(err error) error {
	switch {
	case errors.Is(err, storekey.ErrWrongPassphrase):
		return keyError{err, exitWrongPassphrase}
	case errors.Is(err, storekey.ErrNoPassphrase), errors.Is(err, storekey.ErrNoKeychain), errors.Is(err, storekey.ErrKeyFile):
		return keyError{err, exitNoKey}
	}
	return err
}

// keySources returns the means to open the store's key: what the environment names,
// else the terminal.
func keySources(ctx context.Context) storekey.Sources {
	from := storekey.Sources{
		KeyFile: os.Getenv(storekey.KeyFileEnv),
		Passphrase: func(before int) (string, error) {
			if file := passphraseFile(passphraseEnv); file != "" {
				if before > 0 {
					return "", fmt.Errorf("%w in %s: the mail stays closed, and nothing was changed", storekey.ErrWrongPassphrase, file)
				}
				return readPassphrase(file)
			}
			if before > 0 {
				fmt.Fprintln(os.Stderr, "This passphrase does not open the store. Try again.")
			}
			if err := terminal(passphraseEnv + " names, or give systemd the credential " + credential); err != nil {
				return "", err
			}
			return ask(ctx, "Passphrase of the store: ")
		},
	}
	if from.KeyFile == "" {
		from.KeyFile = inCredentials(keyCredential)
	}
	return from
}

// passphraseFile returns the file with a passphrase that the variable names, or for
// the present one systemd, or nothing.
func passphraseFile(env string) string {
	if file := os.Getenv(env); file != "" || env != passphraseEnv {
		return file
	}
	return inCredentials(credential)
}

// inCredentials returns the path of a credential that systemd has given, or nothing.
func inCredentials(name string) string {
	dir := os.Getenv(credentialsEnv)
	if dir == "" {
		return ""
	}
	file := filepath.Join(dir, name)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return file // any other error is told when it is read
}

// readPassphrase returns the first line of a file that others cannot read.
func readPassphrase(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("read passphrase: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 && filepath.Dir(file) != os.Getenv(credentialsEnv) {
		return "", fmt.Errorf("the passphrase in %s can be read by others: run chmod 600 %s", file, file)
	}
	if info.Size() > maxPassphraseFile {
		return "", fmt.Errorf("%s has %d bytes, and a file with a passphrase at most %d", file, info.Size(), maxPassphraseFile)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("%s is empty; its first line should be the passphrase", file)
	}
	return line, nil
}

// newPassphrase asks for a passphrase twice, or reads it from a file.
func newPassphrase(ctx context.Context) (string, error) {
	if file := passphraseFile(newPassphraseEnv); file != "" {
		return readPassphrase(file)
	}
	if err := terminal(newPassphraseEnv + " names"); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "Several words that you did not take from a text are best: at least %d characters.\n", storekey.MinPassphrase)
	first, err := ask(ctx, "New passphrase: ")
	if err != nil {
		return "", err
	}
	second, err := ask(ctx, "The same once more: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passphrases differ; nothing was changed")
	}
	return first, nil
}

// terminal says what to do instead if there is no terminal.
func terminal(instead string) error {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return nil
	}
	return fmt.Errorf("%w, and there is no terminal to ask at: put it into a file that %s", storekey.ErrNoPassphrase, instead)
}

// ask asks at the terminal, which does not show what is typed.
func ask(ctx context.Context, question string) (string, error) {
	in := int(os.Stdin.Fd())
	state, err := term.GetState(in)
	if err != nil {
		return "", fmt.Errorf("ask for the passphrase: %w", err)
	}
	fmt.Fprint(os.Stderr, question)
	type answer struct {
		line []byte
		err  error
	}
	typed := make(chan answer, 1)
	// A read from a terminal cannot be interrupted. If ctx ends first, the program is
	// about to end, and this with it.
	go func() {
		line, err := term.ReadPassword(in)
		typed <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr)
		return "", errors.Join(ctx.Err(), term.Restore(in, state))
	case a := <-typed:
		fmt.Fprintln(os.Stderr)
		if a.err != nil {
			return "", fmt.Errorf("ask for the passphrase: %w", a.err)
		}
		return string(a.line), nil
	}
}
