package main

import (
	"fmt"
	"time"

	"mailproxy/proxy"
	"mailproxy/proxy/outbox"
)

// shownMost is how many mails status shows of each kind; --json has more.
const shownMost = 10

// printSending says how far each mail has come on its way to each recipient.
func printSending(list []outbox.Mail) {
	for _, m := range list[:min(len(list), shownMost)] {
		for _, r := range m.Recipients {
			if line := sendingLine(r); line != "" {
				fmt.Printf("  to %s, %s, since %s: %s\n", r.Address, mib(m.Size), m.Submitted.Local().Format(time.DateTime), line)
			}
		}
	}
	if more := len(list) - shownMost; more > 0 {
		fmt.Printf("  and %d more; \"mailproxy queue list\" shows all\n", more)
	}
}

// sendingLine says how far a mail has come for a recipient, nothing once it is there.
func sendingLine(r outbox.MailRecipient) string {
	switch r.State {
	case "sending":
		return fmt.Sprintf("%d of %d blocks are at their provider", r.Acknowledged, r.Blocks)
	case "queued":
		return "waits to leave"
	case "held":
		return "is held: the recipient's key changed, or is in doubt"
	}
	return ""
}

// printArriving says how much is here of each message that is not whole.
func printArriving(list []proxy.Arrival) {
	for _, a := range list[:min(len(list), shownMost)] {
		fmt.Printf("    %d of %d blocks, since %s\n", a.Here, a.Blocks, a.Since.Local().Format(time.DateTime))
	}
	if more := len(list) - shownMost; more > 0 {
		fmt.Printf("    and %d more\n", more)
	}
}

// mib writes a size, of which the first tenth of a MiB does not matter.
func mib(bytes int64) string {
	if bytes < 100<<10 {
		return fmt.Sprintf("%d KiB", (bytes+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
}
