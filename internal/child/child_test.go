package child

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// adderConfig is what the part adds to each number.
type adderConfig struct{ Summand int }

func TestMain(m *testing.M) {
	Main(map[string]Part{
		"adder": Func(runAdder),
		"waits": Func(func(struct{}) error { Wait(); return nil }),
		"fails": Func(func(why string) error { return errors.New(why) }),
		"alone": Func(func(struct{}) error { return Say(os.Getenv(variable)) }),
	})
	os.Exit(m.Run())
}

func runAdder(c adderConfig) error {
	if err := Say("ready"); err != nil {
		return err
	}
	return Serve(func(n int) (int, error) {
		if n < 0 {
			return 0, errors.New("below zero")
		}
		return n + c.Summand, nil
	})
}

// A part gets its configuration, says something, answers, and ends with its input.
func TestServe(t *testing.T) {
	p, err := Start("adder", adderConfig{2})
	if err != nil {
		t.Fatal(err)
	}
	var said string
	if err := p.Read(&said); err != nil || said != "ready" {
		t.Errorf("said %q, %v", said, err)
	}
	var sum int
	if err := p.Ask(40, &sum); err != nil || sum != 42 {
		t.Errorf("reply %d, %v", sum, err)
	}
	if err := p.Ask(-1, &sum); err == nil || !strings.Contains(err.Error(), "adder: below zero") {
		t.Errorf("a request that fails: %v", err)
	}
	if err := p.Ask("no number", &sum); err == nil {
		t.Error("a request that cannot be read is answered")
	}
	if err := p.Ask(1, nil); err != nil {
		t.Error(err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if err := p.Read(&said); err == nil {
		t.Error("one that has ended says something")
	}
}

func TestKill(t *testing.T) {
	p, err := Start("waits", struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Errorf("it ended with %v", err)
	}
	if err := p.Kill(); err != nil { // it has ended: nothing is to do
		t.Error(err)
	}
}

// What fails says so on standard error, and by its status.
func TestFails(t *testing.T) {
	for _, c := range []struct {
		part, want string
		config     any
	}{
		{"fails", "fails: for a reason\n", "for a reason"},
		{"fails", "fails: read configuration: ", 1},
		{"unknown", "unknown: there is no such part\n", nil},
	} {
		cmd, err := Command(c.part, c.config)
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		cmd.Stderr = &said
		p, err := Launch(c.part, cmd)
		if err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := p.Stop(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%s ended with %v", c.part, err)
		}
		if !strings.HasPrefix(said.String(), c.want) {
			t.Errorf("%s said %q, want %q", c.part, said.String(), c.want)
		}
	}
}

// What a child starts is not taken for one.
func TestEnvironment(t *testing.T) {
	p, err := Start("alone", struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	said := "nothing"
	if err := p.Read(&said); err != nil || said != "" {
		t.Errorf("its environment has %q, %v", said, err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}
