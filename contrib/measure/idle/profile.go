package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"

	"mailproxy/contrib/measure/resident"
)

// shown is how many lines each part of the profile has.
const shown = 8

// printProfile says in brief where this process's memory is and what its
// goroutines do.
func printProfile(w io.Writer) {
	runtime.GC() // the profile is of what the last collection left
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	fmt.Fprintf(w, "heap: %.1f MiB live, %.1f MiB held from the system; stacks %.1f MiB, the runtime's own %.1f MiB; %d collections, %.3f %% of the time\n",
		resident.MiB(s.HeapAlloc), resident.MiB(s.HeapSys-s.HeapReleased), resident.MiB(s.StackSys), resident.MiB(s.GCSys+s.MSpanSys+s.MCacheSys+s.BuckHashSys+s.OtherSys), s.NumGC, 100*s.GCCPUFraction)

	// Twice as many as there were: more may have come meanwhile.
	n, _ := runtime.MemProfile(nil, true)
	records := make([]runtime.MemProfileRecord, 2*n)
	n, _ = runtime.MemProfile(records, true)
	live := map[string]int64{}
	for _, r := range records[:n] {
		live[packageOf(r.Stack())] += r.InUseBytes()
	}
	fmt.Fprintln(w, "live heap by package that allocated it (sampled):")
	for _, name := range most(live) {
		fmt.Fprintf(w, "  %7.2f MiB  %s\n", float64(live[name])/(1<<20), name)
	}

	stacks := make([]runtime.StackRecord, 2*runtime.NumGoroutine()+10)
	n, _ = runtime.GoroutineProfile(stacks)
	goroutines := map[string]int64{}
	for _, r := range stacks[:n] {
		goroutines[packageOf(r.Stack())]++
	}
	fmt.Fprintf(w, "%d goroutines, by package:\n", n)
	for _, name := range most(goroutines) {
		fmt.Fprintf(w, "  %7d      %s\n", goroutines[name], name)
	}
}

// most returns the names with the largest values.
func most(values map[string]int64) []string {
	names := slices.SortedFunc(maps.Keys(values), func(a, b string) int {
		return cmp.Or(cmp.Compare(values[b], values[a]), strings.Compare(a, b))
	})
	return names[:min(shown, len(names))]
}

// packageOf returns the package of the innermost function that is not the
// standard library's, or "the Go runtime" for a stack without one.
func packageOf(stack []uintptr) string {
	frames := runtime.CallersFrames(stack)
	for {
		f, more := frames.Next()
		// Import paths of others' packages have a dot in their first part; ours
		// begin with the module's name.
		path, name := "", f.Function
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			path, name = name[:i+1], name[i+1:]
		}
		name, _, _ = strings.Cut(name, ".")
		first, _, _ := strings.Cut(path, "/")
		if first == "mailproxy" || strings.Contains(first, ".") {
			return path + name
		}
		if !more {
			return "the standard library alone"
		}
	}
}
