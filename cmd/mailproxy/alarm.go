package main

import (
	"context"
	"fmt"

	"mailproxy/internal/command"
	"mailproxy/proxy"
)

type alarmCmd struct {
	Dismiss alarmDismissCmd `cmd:"" help:"End an alarm that status shows, when you know what it was; it comes again with its cause."`
}

type alarmDismissCmd struct {
	configFlag
	command.JSONFlag
	ID string `arg:"" help:"The alarm, as status shows it."`
}

// Run ends an alarm.
func (a *alarmDismissCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(a.Config)
	if err != nil {
		return err
	}
	if err := proxy.Control(cfg.Dir).DismissAlarm(ctx, a.ID); err != nil {
		return err
	}
	return a.Say(map[string]string{"dismissed": a.ID}, func() { fmt.Println("the alarm is dismissed; it comes again if its cause does") })
}

// printAlarms prints what is wrong with providers' logs of keys.
func printAlarms(list []proxy.Alarm) {
	for _, a := range list {
		fmt.Printf("\nALARM %s, since %s\n  %s\n  %s\n", a.ID, a.Since.Format("2006-01-02 15:04"), a.Subject, a.Text)
		fmt.Printf("  When you know what it was: mailproxy alarm dismiss %s\n  For experts: %s\n", a.ID, a.Detail)
	}
}
