package truststore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The program that changes NSS databases, and where one gets it.
const (
	certutil      = "certutil"
	certutilWhere = "it is in the package libnss3-tools (Debian, Ubuntu), nss-tools (Fedora), nss (Arch, Homebrew)"
)

// profileDirs are where the programs keep their profiles, below the home directory.
func (c Computer) profileDirs(k Kind) []string {
	switch {
	case c.OS == "darwin" && k == Thunderbird:
		return []string{"Library/Thunderbird"}
	case c.OS == "darwin":
		return []string{"Library/Application Support/Firefox"}
	case c.OS == "windows" && k == Thunderbird:
		return []string{"AppData/Roaming/Thunderbird"}
	case c.OS == "windows":
		return []string{"AppData/Roaming/Mozilla/Firefox"}
	case k == Thunderbird: // as itself, from Flathub, as a snap
		return []string{".thunderbird", ".var/app/org.mozilla.Thunderbird/.thunderbird", "snap/thunderbird/common/.thunderbird"}
	}
	return []string{".mozilla/firefox", ".var/app/org.mozilla.firefox/.mozilla/firefox", "snap/firefox/common/.mozilla/firefox"}
}

// profiles returns a place for each profile of the program.
func (c Computer) profiles(k Kind) []Place {
	program := map[Kind]string{Thunderbird: "Thunderbird", Firefox: "Firefox"}[k]
	var all []Place
	for _, dir := range c.profileDirs(k) {
		base := filepath.Join(c.Home, filepath.FromSlash(dir))
		for _, p := range listed(base) {
			// A profile without a database was made and never used.
			if _, err := os.Stat(filepath.Join(p, "cert9.db")); err == nil {
				place := c.database(k, p, nil)
				place.note = "restart " + program + " if it runs"
				all = append(all, place)
			}
		}
	}
	return all
}

// firstStart has Thunderbird do what its first start does, without a window: it makes a
// profile for itself, and ends. A profile that is made for it (--CreateProfile) it
// passes over, and makes another.
var firstStart = []string{string(Thunderbird), "--headless", "--silent"}

// firstStartWait bounds how long that takes, on a machine that is busy.
const firstStartWait = 3 * time.Minute

// FirstStart returns what one types for a Thunderbird that was never started to make its
// profile; nothing if it has one, or is not here.
func FirstStart(c Computer) string {
	if c.OS != "linux" || len(c.profiles(Thunderbird)) > 0 {
		return ""
	}
	if _, err := c.LookPath(firstStart[0]); err != nil {
		return ""
	}
	return step{argv: firstStart}.words(c.OS)
}

// StartFirst has it do that. The error wraps ErrFailed.
func StartFirst(ctx context.Context, c Computer) error {
	ctx, cancel := context.WithTimeout(ctx, firstStartWait)
	defer cancel()
	out, err := c.Run(ctx, firstStart)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %s: %w: %s", ErrFailed, firstStart[0], err, out)
	case len(c.profiles(Thunderbird)) == 0:
		return fmt.Errorf("%w: %s ended, and has made no profile", ErrFailed, firstStart[0])
	}
	return nil
}

// listed returns the directories of the profiles that profiles.ini names.
func listed(base string) []string {
	f, err := os.Open(filepath.Join(base, "profiles.ini"))
	if err != nil {
		return nil // the program was never started
	}
	defer f.Close()
	var all []string
	add := func(path string, relative bool) {
		if path = filepath.FromSlash(path); relative {
			path = filepath.Join(base, path)
		}
		if path != "" && !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	path, relative, profile := "", true, false
	flush := func() {
		if profile && path != "" {
			add(path, relative)
		}
		path, relative = "", true
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			flush()
			profile = strings.HasPrefix(line, "[Profile")
			continue
		}
		switch key, value, _ := strings.Cut(line, "="); key {
		case "Path":
			path = value
		case "IsRelative":
			relative = value != "0"
		}
	}
	flush()
	return all
}

// userDatabase is the one that programs share, and whether it is there.
func (c Computer) userDatabase() (Place, bool) {
	dir := filepath.Join(c.Home, ".pki", "nssdb")
	_, err := os.Stat(filepath.Join(dir, "cert9.db"))
	if err == nil {
		return c.database(NSS, dir, nil), true
	}
	return c.database(NSS, dir, func() error { return os.MkdirAll(dir, 0o700) }), false
}

// database is the place of an NSS database in dir. If it has to be made, make makes
// its directory.
func (c Computer) database(k Kind, dir string, make func() error) Place {
	db := "sql:" + dir
	p := Place{Kind: k, Path: dir, on: c, program: certutil, where: certutilWhere}
	p.trusted = func(ctx context.Context, a Authority) (bool, error) {
		if _, err := os.Stat(filepath.Join(dir, "cert9.db")); err != nil {
			return false, nil
		}
		out, err := c.Run(ctx, []string{certutil, "-L", "-d", db})
		if err != nil {
			return false, err
		}
		for line := range strings.Lines(out) {
			// The nickname, then the trust for servers, mail and programs.
			if rest, ok := strings.CutPrefix(line, a.Name); ok && strings.HasPrefix(strings.TrimSpace(rest), "C,") {
				return true, nil
			}
		}
		return false, nil
	}
	p.add = func(a Authority) []step {
		var all []step
		if make != nil {
			all = append(all, step{argv: []string{"mkdir", "-p", dir}, do: make}, step{argv: []string{certutil, "-N", "--empty-password", "-d", db}})
		}
		// Trusted for servers, for nothing else.
		return append(all, step{argv: []string{certutil, "-A", "-d", db, "-n", a.Name, "-t", "C,,", "-i", a.File}})
	}
	p.remove = func(a Authority) []step {
		return []step{{argv: []string{certutil, "-D", "-d", db, "-n", a.Name}}}
	}
	return p
}
