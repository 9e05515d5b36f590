// Command mailproxy is the user's daemon and its command line: SMTP, IMAP and
// POP3 on loopback for the mail program, a mix network behind it.
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
	Demo    demoCmd    `cmd:"" help:"Run a whole private mail network and two mailboxes in this process."`
	Run     runCmd     `cmd:"" help:"Run the daemon for your own accounts."`
	Account accountCmd `cmd:"" help:"Add and list accounts of the running daemon."`
	Status  statusCmd  `cmd:"" help:"Say how the running daemon is."`
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
	fmt.Println("mailproxy", version)
	return nil
}

func main() {
	var c cli
	parser := kong.Must(&c,
		kong.Name("mailproxy"),
		kong.Description("Private e-mail for your own mail program: mail between addresses of the network leaves as packets of a mix network, under cover traffic."),
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
		fmt.Fprintln(os.Stderr, "mailproxy:", err)
		os.Exit(1)
	}
}
