// Package command is what the commands have in common: version, logging, signals,
// and how an error ends the program. cmd imports it.
package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

// Common is embedded in the command line of each program.
type Common struct {
	HelpCommand helpCmd       `cmd:"" name:"help" help:"Say what a command is for and takes, as --help does."`
	Version     versionCmd    `cmd:"" help:"Print the version."`
	Completion  completionCmd `cmd:"" help:"Write the completion of commands and flags for a shell."`
	Man         manCmd        `cmd:"" help:"Write the manual page."`

	VersionFlag kong.VersionFlag `help:"Print the version, as the command does." name:"version"`
	Verbose     bool             `help:"Log what happens, not only what is wrong." short:"v"`
}

// Logger returns the program's log.
func (c *Common) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: c.Level()}))
}

// Level is the least that is logged.
func (c *Common) Level() slog.Level {
	if c.Verbose {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// release is the version of a program that was built for a package; the linker sets it
// (contrib/packages). Empty in others, which Go's own stamp is good enough for.
var release string

// versionOf says which version of the program this is.
func versionOf(program string) string {
	version := "unknown"
	if release != "" {
		version = release
	} else if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	return program + " " + version
}

// versionVar is where kong.VersionFlag looks for what to print.
const versionVar = "version"

// Main parses the command line into cli, a pointer to a struct for kong, and runs
// the command that was given. Its Run method may ask for a context.Context, which
// ends with the first signal to stop, and for cli. An error ends the program with
// status 1, or with its own if it is a kong.ExitCoder; a command that was asked for
// JSON writes its error as JSON too.
func Main(name, description string, cli any) {
	parser := kong.Must(cli,
		kong.Name(name),
		kong.Description(description),
		kong.Vars{versionVar: versionOf(name)},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	k, err := parser.Parse(os.Args[1:])
	if err != nil && jsonInArguments(os.Args[1:]) {
		os.Exit(fail(name, err, true))
	}
	if err != nil {
		var usage *kong.ParseError
		if errors.As(err, &usage) { // in place of parser.FatalIfErrorf, which begins the error as no other does
			_ = kong.DefaultShortHelpPrinter(kong.HelpOptions{}, usage.Context) // fail says what is the matter
			fmt.Println()
		}
		os.Exit(fail(name, err, false))
	}
	if err := noDump(); err != nil { // before there is any secret
		os.Exit(fail(name, err, jsonAsked(k)))
	}
	// A first signal ends the program in good order, a second at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(cli); err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			return
		}
		os.Exit(fail(name, err, jsonAsked(k)))
	}
}
