// Command mailspool is a provider's daemon: a service node of the mix network with
// the spool for the users at its domain, and an echo service.
package main

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

type cli struct {
	Init    initCmd    `cmd:"" help:"Make the keys and the configuration, and print its entry for the network document."`
	Run     runCmd     `cmd:"" help:"Run the service until it is told to stop."`
	Version versionCmd `cmd:"" help:"Print the version."`

	Verbose bool `help:"Log what happens, not only what is wrong." short:"v"`
}

func (c *cli) logger() *slog.Logger {
	level := slog.LevelWarn
	if c.Verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

type versionCmd struct{}

func (versionCmd) Run() error {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	fmt.Println("mailspool", version)
	return nil
}

func main() {
	var c cli
	parser := kong.Must(&c,
		kong.Name("mailspool"),
		kong.Description("The service of a provider in a mix network for private e-mail: it keeps sealed blocks for the users at its domain until they fetch them, and learns neither who sends nor who fetches."),
		kong.ShortUsageOnError(), // the whole would push the error out of sight
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	k, err := parser.Parse(os.Args[1:])
	parser.FatalIfErrorf(err)
	// A first signal ends the program in good order, a second at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(&c); err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			return
		}
		fmt.Fprintln(os.Stderr, "mailspool:", err)
		os.Exit(1)
	}
}
