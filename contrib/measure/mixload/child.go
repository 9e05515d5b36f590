//go:build linux

package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"syscall"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/keyring"
	"mailproxy/mixnet/node"
	"mailproxy/mixnet/sphinx"
)

// childEnv holds a childConfig as JSON in the environment of the mix's process.
const childEnv = "MAILPROXY_MIXLOAD_CHILD"

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
	Error     string
	Opened    time.Duration // how long the keyring took to open
	Tags      int           // replay tags that are kept
	Unwrapped int           // as asked
	Took      time.Duration // for it

	Received, Forwarded, Dropped uint64 // since the start

	Latest time.Duration // the most that a packet left late, by the mix itself

	Processor   time.Duration // since the start
	Collections uint32
}

// runChild runs the mix if this process is the child, and returns false if not.
func runChild() bool {
	raw := os.Getenv(childEnv)
	if raw == "" {
		return false
	}
	var c childConfig
	err := json.Unmarshal([]byte(raw), &c)
	if err == nil {
		err = c.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mix:", err)
		os.Exit(1)
	}
	return true
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
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(report{Opened: opened, Tags: ring.Tags()}); err != nil {
		return err
	}
	for in := json.NewDecoder(os.Stdin); ; {
		var r request
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := answer(r, n, c.Document.Parameters)
		if err != nil {
			a.Error = err.Error()
		}
		a.Opened, a.Tags = opened, ring.Tags()
		if err := out.Encode(a); err != nil {
			return err
		}
	}
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
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
	up  report // its first
}

// startMix starts the mix on one core; on all if core is negative.
func (w *world) startMix(core int, now time.Time) (*mix, error) {
	config, err := json.Marshal(childConfig{w.doc, w.mix, w.keyDir, now})
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	m := &mix{cmd: exec.Command(self)}
	m.cmd.Env = append(os.Environ(), childEnv+"="+string(config))
	if core >= 0 {
		m.cmd.Args = []string{"taskset", "-c", strconv.Itoa(core), self}
		if m.cmd.Path, err = exec.LookPath("taskset"); err != nil {
			return nil, err
		}
		m.cmd.Env = append(m.cmd.Env, "GOMAXPROCS=1")
	}
	m.cmd.Stderr = os.Stderr
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	m.out = json.NewDecoder(bufio.NewReader(out))
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	if err := m.out.Decode(&m.up); err != nil {
		return nil, errors.Join(fmt.Errorf("the mix does not start: %w", err), m.stop())
	}
	return m, nil
}

// ask sends a request and waits for its report.
func (m *mix) ask(r request) (a report, err error) {
	if err := json.NewEncoder(m.in).Encode(r); err != nil {
		return a, fmt.Errorf("ask the mix: %w", err)
	}
	if err := m.out.Decode(&a); err != nil {
		return a, fmt.Errorf("ask the mix: %w", err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("ask the mix: %s", a.Error)
	}
	return a, nil
}

// stop ends the mix in good order.
func (m *mix) stop() error { return errors.Join(m.in.Close(), m.cmd.Wait()) }

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
