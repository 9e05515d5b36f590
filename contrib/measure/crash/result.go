package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A result is what came of all mail.
type result struct {
	kills, ready     int // ready: lives in which the listeners came up
	mails            map[outcome]int
	sent, delivered  int // copies
	lost, duplicated int
	unknownArrived   int // copies of mail of an unknown outcome
	several          int // mails of more than one copy
	bytes            int64
	expunges, checks int
	wrong            []string
	stories          []string // of the mails that are to blame
	killing, ending  time.Duration
}

func (r *result) ok() bool { return r.lost == 0 && r.duplicated == 0 && len(r.wrong) == 0 }

// line returns the figures.
func (r *result) line() string {
	return fmt.Sprintf("kills=%d sent=%d delivered=%d lost=%d duplicated=%d", r.kills, r.sent, r.delivered, r.lost, r.duplicated)
}

// judge compares what was sent with what arrived.
func (t *torturer) judge() (*result, error) {
	l := t.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &result{
		kills: t.kills, ready: t.readied, mails: map[outcome]int{},
		expunges: l.expunges, checks: l.checks, wrong: l.wrong,
	}
	arrivals := map[int]map[string][]*arrival{} // by mail, by account
	for account, box := range l.inboxes {
		for _, a := range box.uids {
			if arrivals[a.number] == nil {
				arrivals[a.number] = map[string][]*arrival{}
			}
			arrivals[a.number][account] = append(arrivals[a.number][account], a)
		}
	}
	for _, m := range l.mails {
		r.mails[m.outcome]++
		var faults []string
		for _, to := range m.to {
			copies := arrivals[m.number][to]
			good := 0
			for _, a := range copies {
				if a.good {
					good++
				}
			}
			switch m.outcome {
			case accepted:
				r.sent++
				r.bytes += int64(m.size)
				if good > 0 {
					r.delivered++
				} else {
					r.lost++
					faults = append(faults, "lost to "+to)
				}
			case unknown:
				r.unknownArrived += good
			default:
				if len(copies) > 0 {
					faults = append(faults, fmt.Sprintf("arrived with %s though it was never sent to its end", to))
					r.wrong = append(r.wrong, faults[len(faults)-1]+": "+m.String())
				}
			}
			if len(copies) > 1 {
				r.duplicated += len(copies) - 1
				faults = append(faults, fmt.Sprintf("%d copies with %s", len(copies), to))
			}
		}
		if m.outcome == accepted && len(m.to) > 1 {
			r.several++
		}
		if len(faults) > 0 {
			story, err := t.story(m, faults, arrivals[m.number])
			if err != nil {
				return nil, err
			}
			r.stories = append(r.stories, story)
		}
	}
	return r, nil
}

// story tells what is known of a mail that is to blame. What links a mail to the
// outbox is the time at which it was taken, so that events of another that was
// taken at the same time may be among them.
func (t *torturer) story(m *mail, faults []string, arrivals map[string][]*arrival) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", strings.Join(faults, "; "), m)
	for account, list := range arrivals {
		for _, a := range list {
			fmt.Fprintf(&b, "  with %s as uid %d since %s, life %d, body good %v, expunged %v\n",
				account, a.uid, a.at.UTC().Format(stampFormat), a.life, a.good, a.expunged)
		}
	}
	events, err := readEvents(filepath.Join(t.dir, eventsFile))
	if err != nil {
		return "", err
	}
	ids := map[string]bool{} // of outbox and seal
	from, to := m.began.UTC().Format(stampFormat), m.answered.UTC().Format(stampFormat)
	for _, e := range events {
		if e.what == "submitted" && e.field["account"] == m.from && from <= e.at && e.at <= to && slices.Contains(m.to, e.field["recipient"]) {
			ids["outbox="+e.field["outbox"]] = true
		}
		outbox, message := "outbox="+e.field["outbox"], "message="+e.field["message"]
		if !ids[outbox] && !ids[message] {
			continue
		}
		if e.what == "sealed" {
			ids[message] = true
		}
		fmt.Fprintln(&b, "  "+e.line)
	}
	return b.String(), nil
}

// An event is a line of the child's log.
type event struct {
	line, at, what string
	field          map[string]string
}

func readEvents(file string) (events []event, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the log of events: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		parts := strings.Fields(lines.Text())
		if len(parts) < 3 {
			continue
		}
		e := event{line: lines.Text(), at: parts[0], what: parts[2], field: map[string]string{}}
		for _, p := range parts {
			if name, value, ok := strings.Cut(p, "="); ok {
				e.field[name] = value
			}
		}
		events = append(events, e)
	}
	return events, lines.Err()
}

// print prints all but the last line.
func (r *result) print(w io.Writer) {
	for _, s := range r.stories {
		fmt.Fprintf(w, "\n%s", s)
	}
	for _, s := range r.wrong {
		fmt.Fprintf(w, "\nwrong: %s\n", s)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, a ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, a...)) }
	row("killed", "%d times in %.0f s; %d times after the listeners were up", r.kills, r.killing.Seconds(), r.ready)
	row("then", "%.0f s until all was there and looked at", r.ending.Seconds())
	row("mails accepted", "%d, %d of them to two recipients, %.1f MB in all copies", r.mails[accepted], r.several, float64(r.bytes)/1e6)
	row("mails without an answer", "%d, of which %d copies arrived", r.mails[unknown], r.unknownArrived)
	row("mails given up half way", "%d", r.mails[aborted])
	row("copies accepted", "%d", r.sent)
	row("  of these delivered", "%d", r.delivered)
	row("  lost", "%d", r.lost)
	row("  duplicated", "%d", r.duplicated)
	row("messages expunged", "%d", r.expunges)
	row("INBOXes checked", "%d times", r.checks)
	row("other faults", "%d", len(r.wrong))
	_ = t.Flush() // whoever reads w sees what is missing
	fmt.Fprintln(w)
}
