package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mailproxy/internal/pause"
)

// dovecotConfig is for an ordinary user's own Dovecot: nothing is changed but what
// running without root asks for, where things are, and that writes are synced.
const dovecotConfig = `
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols = imap
ssl = no
disable_plaintext_auth = no
default_internal_user = %[2]s
default_internal_group = %[3]s
default_login_user = %[2]s
mail_location = %[4]s:%[1]s/mail
mail_fsync = always
first_valid_uid = 1
passdb {
  driver = static
  args = password=%[5]s
}
userdb {
  driver = static
  args = uid=%[2]s gid=%[3]s home=%[1]s/home
}
service imap-login {
  chroot =
  inet_listener imap {
    address = 127.0.0.1
    port = %[6]d
  }
  inet_listener imaps {
    port = 0
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
`

// startDovecot starts Dovecot with all it writes below dir.
func startDovecot(ctx context.Context, dir string, o options) (*server, error) {
	if o.format != "maildir" && o.format != "mdbox" {
		return nil, fmt.Errorf("format %s: Dovecot is measured with maildir or mdbox", o.format)
	}
	out, err := exec.CommandContext(ctx, o.dovecot, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("ask Dovecot for its version: %w (it comes with: apt-get install dovecot-imapd; -dovecot '' goes without)", err)
	}
	// The home of a user who is not root; Dovecot serves no mail of root's.
	who, err := osuser.Current()
	if err == nil && who.Uid == "0" {
		who, err = osuser.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("find a user for Dovecot: %w", err)
	}
	group, err := osuser.LookupGroupId(who.Gid)
	if err != nil {
		return nil, fmt.Errorf("find a group for Dovecot: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "dovecot")
	for _, d := range []string{home, filepath.Join(home, "home"), filepath.Join(home, "mail")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	file := filepath.Join(home, "dovecot.conf")
	conf := fmt.Sprintf(dovecotConfig, home, who.Username, group.Name, o.format, password, port)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(o.dovecot, "-F", "-c", file)
	if os.Getuid() == 0 {
		uid, err := strconv.ParseUint(who.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("find a user for Dovecot: %w", err)
		}
		gid, err := strconv.ParseUint(who.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("find a group for Dovecot: %w", err)
		}
		if err := giveAway(dir, home, int(uid), int(gid)); err != nil {
			return nil, err
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	cmd.Dir, cmd.Stderr = home, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start Dovecot: %w", err)
	}
	v := &server{name: "dovecot", address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), version: strings.TrimSpace(string(out))}
	v.stop = func() error {
		err := cmd.Process.Signal(os.Interrupt)
		return errors.Join(err, cmd.Wait())
	}
	if err := answers(ctx, v.address); err != nil {
		log, readErr := os.ReadFile(filepath.Join(home, "log"))
		return nil, errors.Join(fmt.Errorf("start Dovecot: %w; its log: %s", err, log), readErr, v.stop())
	}
	return v, nil
}

// giveAway makes home a user's own, and lets him through dir.
func giveAway(dir, home string, uid, gid int) error {
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	return filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, gid)
	})
}

// freePort returns a port that nothing listens on now.
func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return ln.Addr().(*net.TCPAddr).Port, ln.Close()
}

// answers waits until one can log in.
func answers(ctx context.Context, address string) error {
	for began := time.Now(); ; {
		c, err := dial(address, nil)
		if err == nil {
			return c.Logout().Wait()
		}
		if time.Since(began) > 20*time.Second {
			return err
		}
		if err := pause.For(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
