package main

import (
	"fmt"
	"os"
	"text/tabwriter"
)

func table() *tabwriter.Writer { return tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0) }

// flush prints a table; what cannot be printed cannot be reported either.
func flush(t *tabwriter.Writer) { _ = t.Flush() }

// evidence prints that the scenarios have taken place.
func evidence(s *setting, list []recording) {
	t := table()
	fmt.Fprintln(t, "\nscenario\tclients\tpackets up\tpackets down\tλ_P slots with mail\tblocks into its spool\treads that brought a block\tlost")
	p := s.parameters()
	for k := range scenarios {
		var n, ups, downs, appended, reads, blocks int
		var mail, lost uint64
		var seconds float64
		for i := range list {
			r := &list[i]
			if r.scenario != k {
				continue
			}
			n++
			seconds += (r.end - r.start).Seconds()
			mail, lost = mail+r.mail, lost+r.lost
			appended, reads, blocks = appended+r.appended, reads+r.reads, blocks+r.blocks
			for _, e := range r.tape.link {
				switch {
				case e.at < r.start || e.at >= r.end:
				case e.up:
					ups++
				default:
					downs++
				}
			}
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.1f %%\t%d\t%.1f %%\t%d\n", k, n, ups, downs,
			100*float64(mail)/(seconds*p.QueryRate), appended, 100*float64(blocks)/float64(max(1, reads)), lost)
	}
	flush(t)
}

// count prints how many windows there are of each scenario and returns the fewest
// that are held out.
func count(windows []window) (held int) {
	var train, test [scenarios]int
	for i := range windows {
		if windows[i].train {
			train[windows[i].scenario]++
		} else {
			test[windows[i].scenario]++
		}
	}
	held = test[0]
	fmt.Printf("\nwindows to learn from, and held out:")
	for s := range scenarios {
		fmt.Printf(" %s %d, %d;", s.short(), train[s], test[s])
		held = min(held, test[s])
	}
	fmt.Println()
	return held
}

func (a area) String() string { return fmt.Sprintf("%.3f [%.3f, %.3f]", a.auc, a.low, a.high) }

// print prints what the tests and the classifiers have found, pair by pair.
func print(list []pair, ks []difference, of []success) {
	t := table()
	if ks != nil {
		fmt.Fprint(t, "\ntold apart\tleast KS p\tHolm\tof")
	} else {
		fmt.Fprint(t, "\ntold apart")
	}
	for v := range views {
		for _, c := range classifiers {
			fmt.Fprintf(t, "\tAUC %s, %s", v, c)
		}
	}
	fmt.Fprintln(t)
	for _, p := range list {
		fmt.Fprint(t, p)
		if ks != nil {
			var of []difference
			for _, d := range ks {
				if d.pair == p {
					of = append(of, d)
				}
			}
			d := smallest(of)
			fmt.Fprintf(t, "\t%.4f\t%.3f\t%s, %s", d.p, d.holm, d.view, d.feature)
		}
		for _, s := range of {
			if s.pair == p {
				fmt.Fprintf(t, "\t%v", s.area)
			}
		}
		fmt.Fprintln(t)
	}
	flush(t)
}

// printControl prints how well idle clients were told from idle clients.
func printControl(ks []difference, control []success) {
	d := smallest(ks)
	fmt.Printf("\ncontrol, idle against idle: least KS p %.4f, Holm %.3f (%s, %s)\n", d.p, d.holm, d.view, d.feature)
	for _, s := range control {
		fmt.Printf("  AUC %s, %s: %.3f, interval of %.2f %% [%.3f, %.3f]\n", s.view, s.classifier, s.auc, 100*controlConfidence, s.low, s.high)
	}
}
