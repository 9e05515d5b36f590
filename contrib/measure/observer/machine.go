package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A strain is how hard the machine was at work during a recording: what is late, or
// waits for a processor, is late on the wire too, and with times divided by the scale
// that weighs as many times as much.
type strain struct {
	late []time.Duration // how late a timer of 10 ms was, in order
	busy float64         // share of processors' time that was used, by anybody; 0 if the system does not tell
}

// watchMachine watches until ctx ends.
func watchMachine(ctx context.Context) *strain {
	const beat = 10 * time.Millisecond
	s := &strain{}
	used, all := processors()
	for ctx.Err() == nil {
		due := time.Now().Add(beat)
		time.Sleep(beat)
		s.late = append(s.late, time.Since(due))
	}
	slices.Sort(s.late)
	usedThen, allThen := processors()
	if allThen > all {
		s.busy = (usedThen - used) / (allThen - all)
	}
	return s
}

func (s *strain) String() string {
	at := func(share float64) time.Duration {
		return s.late[int(share*float64(len(s.late)-1))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("processors busy %.0f %%, timers late by %v in the median, %v at the 99th percentile, %v at most", 100*s.busy, at(0.5), at(0.99), at(1))
}

// processors returns how long processors were used, and how long there were any, in
// units of the system (proc(5), /proc/stat): zeros where it does not tell.
func processors() (used, all float64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line) {
		n, err := strconv.ParseFloat(f, 64)
		if i == 0 || i > 8 || err != nil { // after the eighth come times that others contain
			continue
		}
		all += n
		if i != 4 && i != 5 { // idle, and idle while a disk is at work
			used += n
		}
	}
	return used, all
}
