//go:build linux

package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"syscall"
	"time"

	"mailproxy/internal/child"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/keyring"
	"mailproxy/mixnet/node"
	"mailproxy/mixnet/sphinx"
)

// The parts of this program in processes of their own.
const (
	mixPart   = "mix"
	watchPart = "watch"
)

var parts = map[string]child.Part{mixPart: child.Func(childConfig.run), watchPart: child.Func(watch)}

// A childConfig says which mix to run.
type childConfig struct {
	Document *directory.Document
	Identity ed25519.PrivateKey
	Keys     string    // directory of the keyring
	Now      time.Time // what the mix's clock says when it starts
}

// A request is a line to the mix's process; each gets a report.
type request struct {
	Unwrap  time.Duration // how long to unwrap alone
	Profile string        // begin a profile in this file
	End     bool          // end the profile
}

// A report is a line from the mix's process. The first comes when the mix is up.
type report struct {
	Opened    time.Duration // how long the keyring took to open
	Tags      int           // replay tags that are kept
	Unwrapped int           // as asked
	Took      time.Duration // for it

	Received, Forwarded, Dropped uint64 // since the start

	Latest time.Duration // the most that a packet left late, by the mix itself

	Processor   time.Duration // since the start
	Collections uint32
}

// run runs the mix until standard input ends.
func (c childConfig) run() (err error) {
	debug.SetGCPercent(node.GCPercent) // as cmd/mixnode does
	start := time.Now()
	now := func() time.Time { return c.Now.Add(time.Since(start)) }
	ring, err := keyring.Open(c.Keys, c.Document.Parameters, now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ring.Close()) }()
	opened := time.Since(start)
	var address string
	for _, n := range c.Document.Nodes {
		if n.Name == mixName {
			address = n.Address
		}
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	n, err := node.Start(node.Config{Document: c.Document, Identity: c.Identity, Keys: ring, Listener: l, Now: now})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if err := child.Say(report{Opened: opened, Tags: ring.Tags()}); err != nil {
		return err
	}
	return child.Serve(func(r request) (report, error) {
		a, err := answer(r, n, c.Document.Parameters)
		a.Opened, a.Tags = opened, ring.Tags()
		return a, err
	})
}

// answer does what was asked.
func answer(r request, n *node.Node, p directory.Parameters) (a report, err error) {
	switch {
	case r.Unwrap > 0:
		a.Unwrapped, a.Took, err = unwrap(p, r.Unwrap)
	case r.Profile != "":
		var f *os.File
		if f, err = os.Create(r.Profile); err == nil {
			err = pprof.StartCPUProfile(f) // the file is closed when this process ends
		}
	case r.End:
		pprof.StopCPUProfile()
	}
	c := &n.Counters
	a.Received, a.Forwarded, a.Dropped = c.Received.Load(), c.Forwarded.Load(), c.Dropped.Load()
	a.Latest = time.Duration(c.LateMax.Load())
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return a, err
	}
	a.Processor = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	a.Collections = mem.NumGC
	return a, err
}

// benchPackets is how many packets are unwrapped in turn.
const benchPackets = 64

// unwrap unwraps packets for about that long and returns how many, and the time.
func unwrap(p directory.Parameters, length time.Duration) (n int, took time.Duration, err error) {
	key, err := sphinx.NewPrivateKey(rand.Reader)
	if err != nil {
		return 0, 0, err
	}
	var list [benchPackets][]byte
	for i := range list {
		if list[i], err = sphinx.NewPacket(rand.Reader, []sphinx.Hop{
			{Key: key.Public()}, {Key: key.Public(), Recipient: new(sphinx.Recipient)},
		}, make([]byte, p.Payload())); err != nil {
			return 0, 0, err
		}
	}
	buf := make([]byte, p.Packet())
	start := time.Now()
	for took < length {
		for _, packet := range list {
			copy(buf, packet)
			if u, err := key.Unwrap(buf); err != nil || u.Last {
				return 0, 0, errors.Join(err, errors.New("a packet did not unwrap as it was made"))
			}
		}
		n += len(list)
		took = time.Since(start)
	}
	return n, took, nil
}

// A mix is the process that is measured.
type mix struct {
	*child.Process
	up report // its first
}

// startMix starts the mix on one core; on all if core is negative.
func (w *world) startMix(core int, now time.Time) (*mix, error) {
	cmd, err := child.Command(mixPart, childConfig{w.doc, w.mix, w.keyDir, now})
	if err != nil {
		return nil, err
	}
	if core >= 0 {
		cmd.Args = []string{"taskset", "-c", strconv.Itoa(core), cmd.Path}
		if cmd.Path, err = exec.LookPath("taskset"); err != nil {
			return nil, err
		}
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	}
	m := &mix{}
	if m.Process, err = child.Launch(mixPart, cmd); err != nil {
		return nil, err
	}
	if err := m.Read(&m.up); err != nil {
		return nil, errors.Join(fmt.Errorf("the mix does not start: %w", err), m.Stop())
	}
	return m, nil
}

// ask sends a request and waits for its report.
func (m *mix) ask(r request) (a report, err error) { return a, m.Ask(r, &a) }

// pin binds this process to one core, on which it runs one goroutine at a time, or
// with a negative core to all.
func pin(core int) error {
	cores, atOnce := strconv.Itoa(core), 1
	if core < 0 {
		atOnce = runtime.NumCPU()
		cores = "0-" + strconv.Itoa(atOnce-1)
	}
	runtime.GOMAXPROCS(atOnce)
	out, err := exec.Command("taskset", "-a", "-p", "-c", cores, strconv.Itoa(os.Getpid())).CombinedOutput()
	if err != nil {
		return fmt.Errorf("take a core: %w: %s", err, out)
	}
	return nil
}
