package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"
)

type statsCmd struct{ at }

// Run prints the service's figures.
func (s *statsCmd) Run(ctx context.Context) error {
	var st stats
	if err := s.ask(ctx, http.MethodGet, pathStats, nil, &st); err != nil {
		return err
	}
	return show(s.JSON, st, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "provider\t%s, registration: %s, running since %s\n", st.Provider, st.Registration, day(&st.Started))
		fmt.Fprintf(w, "names\t%d, of which %d suspended; %d revoked\n", st.Names, st.Suspended, st.Revoked)
		fmt.Fprintf(w, "open invitations\t%d\n", st.OpenInvites)
		fmt.Fprintf(w, "waiting\t%d blocks, %s; the oldest came %s\n", st.Blocks, size(st.Bytes), day(st.Oldest))
		fmt.Fprintf(w, "remembered ids\t%d\n", st.Remembered)
		fmt.Fprintf(w, "disk\t%s used, %s free\n", size(st.DiskBytes), size(st.DiskFree))
		fmt.Fprintf(w, "key log\t%d records, head %s\n", st.LogRecords, st.LogHead)
		st.Work.print(w)
		fmt.Fprintf(w, "since the start\t%d blocks appended, %d swept for their age, %d dropped for users who are not here\n", st.Appended, st.SweptBlocks, st.DroppedBlocks)
		fmt.Fprintf(w, "refused\t%d spool full, %d no proof of work, %d no append key, %d too often, %d for a fault here\n",
			st.RefusedFull, st.RefusedWork, st.RefusedKey, st.RefusedBusy, st.RefusedTemp)
	})
}

type workCmd struct {
	at
	Bits  uint8         `help:"Set the price to this many bits; each doubles it."`
	For   time.Duration `help:"For how long (${default}), or until the service ends." default:"2h" placeholder:"TIME"`
	Reset bool          `help:"Set it back to what the configuration says."`
}

// Run says what a stranger's block costs, or changes it for a while.
func (c *workCmd) Run(ctx context.Context) error {
	var out price
	var err error
	switch {
	case c.Reset && c.Bits != 0:
		return errors.New("give --bits or --reset, not both")
	case c.Reset:
		err = c.ask(ctx, http.MethodPost, pathWork, setWork{}, &out)
	case c.Bits != 0:
		err = c.ask(ctx, http.MethodPost, pathWork, setWork{c.Bits, time.Now().Add(c.For)}, &out)
	default:
		err = c.ask(ctx, http.MethodGet, pathWork, nil, &out)
	}
	if err != nil {
		return err
	}
	return show(c.JSON, out, out.print)
}

func (p *price) print(w *tabwriter.Writer) {
	fmt.Fprintf(w, "price for strangers\t%d bits of %d KiB, %d passes; configured: %d", p.Bits, p.Memory, p.Passes, p.Config)
	if p.Set != 0 {
		fmt.Fprintf(w, ", set: %d until %s", p.Set, day(p.Until))
	}
	fmt.Fprintln(w)
}
