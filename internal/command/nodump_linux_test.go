package command

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// dumpEnv makes this test's binary a command.
const dumpEnv = "MAILPROXY_TEST_DUMP"

type dumpCLI struct {
	Show showDump `cmd:""`
	Common
}

type showDump struct{}

// Run prints what the system knows of this process.
func (showDump) Run() error {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	limits, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			fmt.Printf("dumpable %d, core %s\n", dumpable, strings.Join(strings.Fields(rest), " "))
		}
	}
	return nil
}

func TestMain(m *testing.M) {
	if os.Getenv(dumpEnv) != "" {
		os.Args = []string{"test", "show"}
		Main("test", "A test.", new(dumpCLI))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Design section 7.3: no secret is in a core dump. All three programs start by Main.
func TestNoCoreDumps(t *testing.T) {
	if n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || n != 1 {
		t.Skipf("this process is not dumpable itself: %d, %v", n, err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dumpEnv+"=1")
	out, err := cmd.CombinedOutput()
	if want := "dumpable 0, core 0 0 bytes\n"; err != nil || string(out) != want {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
}
