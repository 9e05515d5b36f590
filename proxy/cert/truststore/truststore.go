// Package truststore tells mail programs and systems to trust the authority of package
// cert, and takes that back.
//
// A Place is one store of trusted authorities on this computer: a profile of
// Thunderbird or Firefox, the user's NSS database, the system's store. What a place
// needs is said before it is done, in the words that a user could type; where it
// cannot be done here, those words are the answer. It changes nothing but what it
// names. cmd/mailproxy and proxy/doctor import it.
package truststore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Authority is what is to be trusted.
type Authority struct {
	Name string // which no other authority has
	File string // its certificate in PEM
	DER  []byte
}

// Computer is where it is to be trusted.
type Computer struct {
	OS   string // as runtime.GOOS
	Home string
	Root string // directory of the system's files: "/", or another in tests
	// Admin says that this user may change the system's files.
	Admin bool
	// LookPath finds a program, Run runs it and returns what it prints.
	LookPath func(program string) (string, error)
	Run      func(ctx context.Context, argv []string) (string, error)
}

// This returns the computer that the program runs on.
func This() (Computer, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return Computer{}, fmt.Errorf("find your programs' profiles: %w", err)
	}
	return Computer{
		OS: runtime.GOOS, Home: home, Root: string(filepath.Separator), Admin: os.Geteuid() == 0,
		LookPath: exec.LookPath,
		Run: func(ctx context.Context, argv []string) (string, error) {
			// Without an input: a database under a password of its own fails, and the
			// user is told what to type.
			cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
			cmd.WaitDelay = 5 * time.Second // what it started may hold its output open
			out, err := cmd.CombinedOutput()
			return strings.TrimSpace(string(out)), err
		},
	}, nil
}

// A Kind of places can be asked for by name.
type Kind string

// The kinds.
const (
	Thunderbird Kind = "thunderbird" // each profile of it
	Firefox     Kind = "firefox"     // each profile of it
	NSS         Kind = "nss"         // the user's database: Evolution, Chromium
	System      Kind = "system"      // the system's, or on macOS and Windows the user's
)

// Kinds are all.
var Kinds = []Kind{Thunderbird, Firefox, NSS, System}

// A Place is one store of trusted authorities.
type Place struct {
	Kind Kind   `json:"kind"`
	Path string `json:"path"` // of the store; what it is called where it is no file

	on      Computer
	note    string // what the user has to do besides
	program string // that does it
	where   string // to get the program
	admin   bool   // whether it takes the right to change the system
	trusted func(context.Context, Authority) (bool, error)
	add     func(Authority) []step
	remove  func(Authority) []step
}

// A step is a command to run, or a file to copy or remove.
type step struct {
	argv []string
	do   func() error
}

// words returns the step as one types it in the system's usual shell.
func (s step) words(system string) string {
	quoted := make([]string, len(s.argv))
	for i, a := range s.argv {
		switch {
		case a != "" && !strings.ContainsAny(a, " '\"$()&;*?") && (system == "windows" || !strings.Contains(a, `\`)):
			quoted[i] = a
		case system == "windows":
			quoted[i] = `"` + a + `"` // which no path there has within
		default:
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// Why a place is left alone.
var (
	ErrProgram = errors.New("a program is missing")
	ErrAdmin   = errors.New("it takes the administrator's rights")
	ErrFailed  = errors.New("it failed")
)

// A Result says what became of one place.
type Result struct {
	Kind    Kind     `json:"kind"`
	Path    string   `json:"path"`
	Changed bool     `json:"changed"`
	Already bool     `json:"already,omitempty"` // it was as wished
	Note    string   `json:"note,omitempty"`    // what the user has to do besides
	Type    []string `json:"type,omitempty"`    // what to type, where it was not done
	Problem string   `json:"problem,omitempty"` // why it was not done
	Err     error    `json:"-"`
}

// Words returns what Install would do, or Uninstall, as one types it.
func (p Place) Words(a Authority, install bool) []string {
	var all []string
	for _, s := range p.steps(a, install) {
		w := s.words(p.on.OS)
		if p.admin && !p.on.Admin && p.on.OS != "windows" {
			w = "sudo " + w
		}
		all = append(all, w)
	}
	return all
}

func (p Place) steps(a Authority, install bool) []step {
	if install {
		return p.add(a)
	}
	return p.remove(a)
}

// Install makes the place trust the authority.
func (p Place) Install(ctx context.Context, a Authority) Result { return p.change(ctx, a, true) }

// Uninstall takes that back.
func (p Place) Uninstall(ctx context.Context, a Authority) Result { return p.change(ctx, a, false) }

// Trusted reports whether the place trusts the authority. The error wraps ErrProgram if
// the program is missing that can tell, and else ErrFailed.
func (p Place) Trusted(ctx context.Context, a Authority) (bool, error) {
	if p.program != "" {
		if _, err := p.on.LookPath(p.program); err != nil {
			return false, fmt.Errorf("%w: %s; %s", ErrProgram, p.program, p.where)
		}
	}
	is, err := p.trusted(ctx, a)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return is, nil
}

func (p Place) change(ctx context.Context, a Authority, install bool) Result {
	r := Result{Kind: p.Kind, Path: p.Path}
	leave := func(err error) Result {
		r.Type, r.Err, r.Problem = p.Words(a, install), err, err.Error()
		return r
	}
	is, err := p.Trusted(ctx, a)
	if err != nil {
		return leave(err)
	}
	if is == install {
		r.Already = true
		return r
	}
	if p.admin && !p.on.Admin {
		return leave(ErrAdmin)
	}
	for _, s := range p.steps(a, install) {
		if s.do != nil {
			err = s.do()
		} else {
			err = p.run(ctx, s.argv)
		}
		if err != nil {
			return leave(fmt.Errorf("%w: %w", ErrFailed, err))
		}
	}
	// What a program says is not what it did.
	if is, err = p.trusted(ctx, a); err == nil && is != install {
		err = errors.New("it was said to be done, and is not")
	}
	if err != nil {
		return leave(fmt.Errorf("%w: %w", ErrFailed, err))
	}
	r.Changed, r.Note = true, p.note
	return r
}

func (p Place) run(ctx context.Context, argv []string) error {
	out, err := p.on.Run(ctx, argv)
	if err != nil && out != "" {
		return fmt.Errorf("%s: %w: %s", argv[0], err, out)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	return nil
}

// Places returns the places of these kinds on the computer; without kinds all that can
// be found and take no administrator.
func Places(c Computer, kinds ...Kind) []Place {
	var all []Place
	asked := func(k Kind) bool { return len(kinds) == 0 || slices.Contains(kinds, k) }
	if asked(Thunderbird) {
		all = append(all, c.profiles(Thunderbird)...)
	}
	if asked(Firefox) {
		all = append(all, c.profiles(Firefox)...)
	}
	if asked(NSS) && c.OS == "linux" {
		if p, ok := c.userDatabase(); ok || len(kinds) > 0 {
			all = append(all, p)
		}
	}
	if asked(System) {
		if p, ok := c.system(); ok && (len(kinds) > 0 || !p.admin || c.Admin) {
			all = append(all, p)
		}
	}
	return all
}

// sameFile reports whether the certificate in file is the authority.
func sameFile(file string, a Authority) (bool, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	pool, want := x509.NewCertPool(), x509.NewCertPool()
	c, err := x509.ParseCertificate(a.DER)
	if err != nil {
		return false, err
	}
	want.AddCert(c)
	return pool.AppendCertsFromPEM(b) && pool.Equal(want), nil
}
