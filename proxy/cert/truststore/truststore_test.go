package truststore

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailproxy/proxy/cert"
)

// authority makes one, as the daemon does.
func authority(t *testing.T) Authority {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tls")
	if _, err := cert.Ensure(dir, nil, time.Now); err != nil {
		t.Fatal(err)
	}
	i, err := cert.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return Authority{Name: i.Name, File: i.File, DER: i.DER()}
}

// A fake is a computer whose programs only note that they were run.
type fake struct {
	Computer
	ran    []string
	answer map[string]func() (string, error) // by the first words
	none   []string                          // programs that are missing
}

func newFake(t *testing.T, system string) *fake {
	f := &fake{answer: map[string]func() (string, error){}}
	f.Computer = Computer{
		OS: system, Home: t.TempDir(), Root: t.TempDir(),
		LookPath: func(p string) (string, error) {
			if slices.Contains(f.none, p) {
				return "", exec.ErrNotFound
			}
			return "/bin/" + p, nil
		},
		Run: func(_ context.Context, argv []string) (string, error) {
			line := strings.Join(argv, " ")
			f.ran = append(f.ran, line)
			for begin, do := range f.answer {
				if strings.HasPrefix(line, begin) {
					return do()
				}
			}
			return "", nil
		},
	}
	return f
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// A Thunderbird that was never started is one that is installed and has no profile with a
// database. It is asked for one by its own first start, and what it says is not believed.
func TestFirstStart(t *testing.T) {
	f := newFake(t, "linux")
	const words = "thunderbird --headless --silent"
	if got := FirstStart(f.Computer); got != words {
		t.Errorf("it is started by %q", got)
	}
	if err := StartFirst(t.Context(), f.Computer); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "has made no profile") {
		t.Errorf("it made none, and the error is %v", err)
	}
	f.answer[words] = func() (string, error) { return "no display", errors.New("exit status 1") }
	if err := StartFirst(t.Context(), f.Computer); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "no display") {
		t.Errorf("it failed, and the error is %v", err)
	}
	f.answer[words] = func() (string, error) {
		write(t, filepath.Join(f.Home, ".thunderbird/profiles.ini"), "[Profile0]\nName=default-default\nIsRelative=1\nPath=a.default-default\n")
		write(t, filepath.Join(f.Home, ".thunderbird/a.default-default/cert9.db"), "")
		return "", nil
	}
	if err := StartFirst(t.Context(), f.Computer); err != nil {
		t.Error(err)
	}
	if got := FirstStart(f.Computer); got != "" {
		t.Errorf("it has a profile, and is to be started by %q", got)
	}
	f = newFake(t, "linux")
	f.none = []string{"thunderbird"}
	if got := FirstStart(f.Computer); got != "" {
		t.Errorf("it is not here, and is to be started by %q", got)
	}
}

// Profiles are where profiles.ini says, and have been used.
func TestProfiles(t *testing.T) {
	f := newFake(t, "linux")
	base := filepath.Join(f.Home, ".thunderbird")
	apart := filepath.Join(t.TempDir(), "apart")
	write(t, filepath.Join(base, "profiles.ini"), "[Install12]\nDefault=a.default\n\n[Profile1]\r\nName=x\r\nIsRelative=1\r\nPath=a.default\r\n\n"+
		"[Profile0]\nIsRelative=0\nPath="+apart+"\n[Profile2]\nPath=never-used\n[Profile3]\nPath=a.default\n[General]\nPath=no\n")
	for _, dir := range []string{filepath.Join(base, "a.default"), apart, filepath.Join(base, "no")} {
		write(t, filepath.Join(dir, "cert9.db"), "")
	}
	write(t, filepath.Join(f.Home, "snap/thunderbird/common/.thunderbird/profiles.ini"), "[Profile0]\nPath=s\n")
	write(t, filepath.Join(f.Home, "snap/thunderbird/common/.thunderbird/s/cert9.db"), "")
	var got []string
	for _, p := range Places(f.Computer, Thunderbird) {
		got = append(got, p.Path)
	}
	want := []string{filepath.Join(base, "a.default"), apart, filepath.Join(f.Home, "snap/thunderbird/common/.thunderbird/s")}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if n := len(Places(f.Computer, Firefox)); n != 0 {
		t.Errorf("%d profiles of Firefox", n)
	}
	if n := len(Places(f.Computer)); n != 3 {
		t.Errorf("%d places at all", n)
	}
}

// This runs the real certutil of NSS: the authority is trusted for servers, for
// nothing else, and gone again afterwards.
func TestNSS(t *testing.T) {
	if _, err := exec.LookPath(certutil); err != nil {
		t.Skip("certutil of NSS is not installed")
	}
	c, err := This()
	if err != nil {
		t.Fatal(err)
	}
	c.OS, c.Home = "linux", t.TempDir()
	a := authority(t)
	list := Places(c, NSS)
	if len(list) != 1 {
		t.Fatalf("places: %v", list)
	}
	if len(Places(c)) != 0 && !c.Admin {
		t.Error("a database that is not there is made without being asked for")
	}
	p := list[0]
	words := p.Words(a, true)
	if len(words) != 3 || !strings.HasPrefix(words[2], "certutil -A -d sql:"+p.Path+" -n '"+a.Name+"' -t C,, -i ") {
		t.Errorf("%q", words)
	}
	for i, step := range []struct {
		do               func(context.Context, Authority) Result
		changed, already bool
		trust            string
	}{
		{p.Uninstall, false, true, ""},
		{p.Install, true, false, "C,,"},
		{Places(c, NSS)[0].Install, false, true, "C,,"},
		{Places(c, NSS)[0].Uninstall, true, false, ""},
		{Places(c, NSS)[0].Install, true, false, "C,,"},
	} {
		if i > 0 { // the database is there now
			step.do = map[bool]func(context.Context, Authority) Result{true: Places(c, NSS)[0].Install, false: Places(c, NSS)[0].Uninstall}[step.trust != ""]
		}
		r := step.do(t.Context(), a)
		if r.Err != nil || r.Changed != step.changed || r.Already != step.already {
			t.Fatalf("step %d: %+v", i, r)
		}
		out, err := exec.Command(certutil, "-L", "-d", "sql:"+p.Path).CombinedOutput()
		if i > 0 && (err != nil || strings.Contains(string(out), a.Name) != (step.trust != "") || !strings.Contains(string(out), step.trust)) {
			t.Errorf("step %d: %v\n%s", i, err, out)
		}
	}
	// A server certificate of the authority verifies in that database.
	leaf := filepath.Join(filepath.Dir(a.File), "leaf.pem")
	if out, err := exec.Command(certutil, "-A", "-d", "sql:"+p.Path, "-n", "leaf", "-t", ",,", "-i", leaf).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(certutil, "-V", "-d", "sql:"+p.Path, "-n", "leaf", "-u", "V").CombinedOutput(); err != nil {
		t.Errorf("the leaf does not verify: %v\n%s", err, out)
	}
	// A damaged database is said to be that.
	write(t, filepath.Join(p.Path, "cert9.db"), "nothing of a database")
	r := Places(c, NSS)[0].Install(t.Context(), a)
	if !errors.Is(r.Err, ErrFailed) || len(r.Type) == 0 {
		t.Errorf("damaged: %+v", r)
	}
}

// Without certutil the user is told what it is in, and what to type.
func TestWithoutProgram(t *testing.T) {
	f := newFake(t, "linux")
	f.none = []string{certutil}
	write(t, filepath.Join(f.Home, ".thunderbird", "profiles.ini"), "[Profile0]\nPath=my profile\n")
	write(t, filepath.Join(f.Home, ".thunderbird", "my profile", "cert9.db"), "")
	a := authority(t)
	r := Places(f.Computer, Thunderbird)[0].Install(t.Context(), a)
	if !errors.Is(r.Err, ErrProgram) || !strings.Contains(r.Problem, "libnss3-tools") || r.Changed {
		t.Errorf("%+v", r)
	}
	want := fmt.Sprintf("certutil -A -d 'sql:%s' -n '%s' -t C,, -i %s", filepath.Join(f.Home, ".thunderbird", "my profile"), a.Name, a.File)
	if len(r.Type) != 1 || r.Type[0] != want || len(f.ran) != 0 {
		t.Errorf("%q, want %q; ran %q", r.Type, want, f.ran)
	}
}

// A program that says it did what it did not.
func TestNotBelieved(t *testing.T) {
	f := newFake(t, "linux")
	write(t, filepath.Join(f.Home, ".pki", "nssdb", "cert9.db"), "")
	if r := Places(f.Computer)[0].Install(t.Context(), authority(t)); !errors.Is(r.Err, ErrFailed) || r.Changed {
		t.Errorf("%+v", r)
	}
}

func TestSystemOfLinux(t *testing.T) {
	for _, at := range anchors {
		f := newFake(t, "linux")
		a := authority(t)
		dir := filepath.Join(f.Root, at.dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if len(Places(f.Computer)) != 0 {
			t.Error("the system's store is changed without being asked for")
		}
		p := Places(f.Computer, System)[0]
		r := p.Install(t.Context(), a)
		if !errors.Is(r.Err, ErrAdmin) || len(r.Type) != 2 || !strings.HasPrefix(r.Type[0], "sudo cp ") || r.Type[1] != "sudo "+strings.Join(at.update, " ") || len(f.ran) != 0 {
			t.Errorf("%+v, ran %q", r, f.ran)
		}
		f.Admin = true
		p = Places(f.Computer)[0]
		if r = p.Install(t.Context(), a); r.Err != nil || !r.Changed {
			t.Errorf("%+v", r)
		}
		names, err := filepath.Glob(filepath.Join(dir, "*"+at.ext))
		if err != nil || len(names) != 1 {
			t.Fatalf("%q, %v", names, err)
		}
		b, err := os.ReadFile(names[0])
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(b)
		if c, err := x509.ParseCertificate(block.Bytes); err != nil || c.Subject.CommonName != a.Name {
			t.Errorf("%v, %v", c, err)
		}
		if r = p.Install(t.Context(), a); !r.Already {
			t.Errorf("%+v", r)
		}
		if r = p.Uninstall(t.Context(), a); r.Err != nil || !r.Changed {
			t.Errorf("%+v", r)
		}
		if want := []string{strings.Join(at.update, " "), strings.Join(at.update, " ")}; !slices.Equal(f.ran, want) {
			t.Errorf("ran %q, want %q", f.ran, want)
		}
	}
}

func TestSystemOfOthers(t *testing.T) {
	a := authority(t)
	for system, want := range map[string][2][]string{
		"darwin": {
			{"security add-trusted-cert -r trustRoot -p ssl -k HOME/Library/Keychains/login.keychain-db " + a.File},
			{"security remove-trusted-cert " + a.File, "security delete-certificate -Z " + thumbprint(a) + " HOME/Library/Keychains/login.keychain-db"},
		},
		"windows": {{"certutil.exe -user -addstore Root " + a.File}, {"certutil.exe -user -delstore Root " + thumbprint(a)}},
	} {
		f := newFake(t, system)
		trusted := false
		f.answer["security find-certificate"] = func() (string, error) {
			if !trusted {
				return "", errors.New("exit status 44")
			}
			return "SHA-1 hash: " + thumbprint(a), nil
		}
		f.answer["certutil.exe -user -store"] = func() (string, error) {
			if !trusted {
				return "", errors.New("exit status 1")
			}
			return "", nil
		}
		for i, line := range []string{want[0][0], want[1][len(want[1])-1]} {
			f.answer[strings.ReplaceAll(line, "HOME", f.Home)] = func() (string, error) { trusted = i == 0; return "", nil }
		}
		list := Places(f.Computer)
		if len(list) != 1 || list[0].Kind != System {
			t.Fatalf("%s: %v", system, list)
		}
		if r := list[0].Install(t.Context(), a); r.Err != nil || !r.Changed {
			t.Errorf("%s: %+v", system, r)
		}
		if r := list[0].Uninstall(t.Context(), a); r.Err != nil || !r.Changed {
			t.Errorf("%s: %+v", system, r)
		}
		var changes []string
		for _, line := range f.ran {
			if !strings.Contains(line, "find-certificate") && !strings.Contains(line, "-store ") {
				changes = append(changes, strings.ReplaceAll(line, f.Home, "HOME"))
			}
		}
		if !slices.Equal(changes, append(slices.Clone(want[0]), want[1]...)) {
			t.Errorf("%s: ran %q", system, changes)
		}
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct {
		system string
		argv   []string
		want   string
	}{
		{"linux", []string{"a", "", "b c", "it's", `x\y`}, `a '' 'b c' 'it'\''s' 'x\y'`},
		{"windows", []string{"a", `C:\Users\A B\x`, `C:\x`}, `a "C:\Users\A B\x" C:\x`},
	} {
		if got := (step{argv: c.argv}).words(c.system); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}
