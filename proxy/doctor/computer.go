package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mailproxy/internal/store"
	"mailproxy/proxy"
	"mailproxy/proxy/ports"
	"mailproxy/proxy/storekey"
)

// diskNotice is how much free space is little, in bytes.
const diskNotice = 1 << 30

// writable are the bits of a mode by which others may change a file, and private those
// that a directory of one's own does not have.
const (
	writable = 0o022
	private  = 0o077
)

// configuration looks at the file itself and at its values.
func (p *Patient) configuration(context.Context) (all []Result) {
	var none *proxy.NoConfigError
	if errors.As(p.ConfigErr, &none) {
		return one(Problem, none.Hint(), "%s", none.Text())
	}
	if p.ConfigErr != nil {
		return one(Problem, "", "%v", p.ConfigErr)
	}
	if err := p.Config.Check(); err != nil {
		for text := range strings.SplitSeq(err.Error(), "\n") {
			all = append(all, one(Problem, "mailproxy config set changes a setting", "%s", text)...)
		}
	}
	if info, err := os.Stat(p.File); err == nil && !p.Windows && info.Mode().Perm()&writable != 0 {
		all = append(all, one(Warning, "chmod go-w "+p.File, "others on this computer can change %s", p.File)...)
	}
	if p.Config.Listen.AllowPlaintext {
		all = append(all, one(Warning, "mailproxy config set listen.allow_plaintext no, and choose STARTTLS or SSL/TLS in the mail program",
			"mail programs may send your password without TLS; it stays on this computer, where other programs may see it")...)
	}
	if len(all) == 0 {
		all = one(OK, "", "%s", p.File)
	}
	return all
}

// directory looks at who may use the data directory.
func (p *Patient) directory(context.Context) []Result {
	dir := p.Config.Dir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return one(OK, "", "%s will be made when the daemon is first started", dir)
	case errors.Is(err, fs.ErrPermission):
		return one(Problem, "run this as the user whose daemon it is", "%s is another user's", dir)
	case err != nil:
		return one(Problem, "", "%v", err)
	case !info.IsDir():
		return one(Problem, "move it away, or set dir to another place: mailproxy config set dir DIR", "%s is a file, and should be a directory", dir)
	case !p.Windows && info.Mode().Perm()&private != 0:
		return one(Problem, "chmod 700 "+dir, "others on this computer can look into %s", dir)
	}
	return one(OK, "", "%s, which only you can open", dir)
}

// disk looks for room for mail.
func (p *Patient) disk(context.Context) []Result {
	// Of a directory that is still to be made, the one that it will be in.
	dir := p.Config.Dir
	for {
		if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	free, err := p.Free(dir)
	hint := "make room on the disk where " + dir + " is"
	switch {
	case errors.Is(err, store.ErrFreeUnknown):
		return nil
	case err != nil:
		return one(Warning, "", "%v", err)
	case free < proxy.DiskReserve:
		return one(Problem, hint, "the disk is full: %d MiB are left, and no mail can be taken", free>>20)
	case free < diskNotice:
		return one(Warning, hint, "%d MiB are left; below %d no mail is taken", free>>20, proxy.DiskReserve>>20)
	}
	return one(OK, "", "%.1f GiB are free", float64(free)/(1<<30))
}

// storeKey says how the key that encrypts everything here is kept, and whether it is to
// be had at the next start.
func (p *Patient) storeKey(context.Context) []Result {
	if _, err := os.Stat(p.Config.Dir); err != nil {
		return nil // Inspect would make it
	}
	i, err := storekey.Inspect(p.Config.Dir)
	if err != nil {
		return one(Problem, "", "%v", err)
	}
	switch i.Way {
	case storekey.Passphrase:
		return one(OK, "", "sealed by a passphrase, which is asked for at each start")
	case storekey.Keychain:
		return one(OK, "", "sealed by a key in the system's keychain, which must be open at each start")
	case storekey.KeyFile:
		file := i.KeyFile
		if named := os.Getenv(storekey.KeyFileEnv); named != "" {
			file = named
		}
		if _, err := os.Stat(file); err == nil {
			return one(OK, "", "sealed by the key file %s", file)
		}
		level, words := Problem, "the daemon cannot be started"
		if p.Status != nil {
			level, words = Warning, "the daemon cannot be started again"
		}
		return one(level, "bring it back, or name where it is now by "+storekey.KeyFileEnv, "the key file %s is not there, and without it %s", file, words)
	}
	if !i.Exists {
		return nil
	}
	return one(Warning, "mailproxy store key --passphrase (or --keychain, or --key-file FILE)",
		"it lies unprotected beside the mail: whoever has this disk reads the mail")
}

// ports looks who has the ports of the mail program: the daemon that runs, nobody, or
// somebody else.
func (p *Patient) ports(context.Context) (all []Result) {
	want := p.Config.Listen.Ports()
	if p.Status != nil {
		var differ []string
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if at := want[name]; at != p.Status.Listen[name] && !strings.HasSuffix(at, ":0") {
				differ = append(differ, fmt.Sprintf("%s %s", name, at))
			}
		}
		if len(differ) > 0 {
			return one(Warning, "restart the daemon", "the daemon does not listen where the configuration says: %s; it was started before that was changed", strings.Join(differ, ", "))
		}
		return one(OK, "", "the daemon has all of its ports")
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		l, err := ports.Listen(want[name])
		if err == nil {
			err = l.Close()
		}
		var taken *ports.TakenError
		switch {
		case errors.As(err, &taken):
			all = append(all, one(Problem, "stop that program, or choose another port: mailproxy config set listen."+name+" ADDRESS:PORT",
				"%s, for %s, is taken by %s", want[name], name, taken.By())...)
		case err != nil && ports.Check(want[name]) == nil: // else configuration has said it
			all = append(all, one(Problem, "choose another port: mailproxy config set listen."+name+" ADDRESS:PORT", "%s: %v", name, err)...)
		}
	}
	if len(all) == 0 {
		return one(OK, "", "all that the daemon needs are free")
	}
	return all
}
