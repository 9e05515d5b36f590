// Command mixnode runs one node of the mix network, a mix, gateway or directory,
// and makes and signs the network document. Service nodes are mailspool's.
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
	Init    initCmd    `cmd:"" help:"Make a node's keys and configuration, and print its entry for the network document."`
	Run     runCmd     `cmd:"" help:"Run a node until it is told to stop."`
	Network networkCmd `cmd:"" help:"Make, sign and check a network document."`
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
	fmt.Println("mixnode", version)
	return nil
}

func main() {
	var c cli
	parser := kong.Must(&c,
		kong.Name("mixnode"),
		kong.Description("A node of a mix network for private e-mail: a mix, a gateway or a directory; and the tool that makes and signs the document that says who takes part."),
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
		fmt.Fprintln(os.Stderr, "mixnode:", err)
		os.Exit(1)
	}
}
