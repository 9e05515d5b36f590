package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"mailproxy/internal/durable"
)

// ConfigVersion is the version of the configuration file that this program reads.
const ConfigVersion = 1

// GCPercent is for debug.SetGCPercent in a process that is a user's daemon and little
// else. It stays small for most of the day, beside the indexes of large folders, and
// what a moment's work leaves behind is not to count as the daemon's for hours.
const GCPercent = 50

// A Config is the file given to "mailproxy run --config".
type Config struct {
	Version int    `toml:"version"`
	Dir     string `toml:"dir" comment:"where mail and keys are kept; relative to this file"`
	// Network says which network to use and whom to believe about it.
	Network NetworkConfig `toml:"network"`
	Listen  ListenConfig  `toml:"listen"`
	Mail    MailConfig    `toml:"mail"`
}

// NetworkConfig names the network document.
type NetworkConfig struct {
	Document  string   `toml:"document" comment:"file with the signed network document; relative to this file"`
	URL       string   `toml:"url,omitempty" comment:"https address at which a newer document is looked for, about once a day; without it, never"`
	Gateway   string   `toml:"gateway,omitempty" comment:"name of the gateway to use; without it one is chosen and kept"`
	Keys      []string `toml:"keys" comment:"the keys that may have signed the document"`
	Threshold int      `toml:"threshold" comment:"how many of them must have"`
	SOCKS5    string   `toml:"socks5,omitempty" comment:"address of a SOCKS5 proxy by which the gateway is reached, for Tor usually 127.0.0.1:9050"`
}

// ListenConfig says where mail clients connect. The ports of the first three begin in
// plain text and want STARTTLS (STLS in POP3), the others begin with TLS (RFC 8314
// section 3); one of these that is empty is not offered, nor is
// the status page.
type ListenConfig struct {
	SMTP           string `toml:"smtp"`
	IMAP           string `toml:"imap"`
	POP3           string `toml:"pop3"`
	SMTPS          string `toml:"smtps" comment:"the next three begin with TLS; an empty one is not offered"`
	IMAPS          string `toml:"imaps"`
	POP3S          string `toml:"pop3s"`
	Web            string `toml:"web" comment:"the status page, for this computer's browsers; see \"mailproxy page\"; empty: none"`
	AllowPlaintext bool   `toml:"allow_plaintext" comment:"let mail clients log in without TLS"`
}

// MailConfig says how mail is treated.
type MailConfig struct {
	Receipts  bool `toml:"receipts" comment:"tell senders, some minutes later, that their mail arrived"`
	Autocrypt bool `toml:"autocrypt" comment:"leave the Autocrypt and OpenPGP fields in mail, by which mail programs pass on OpenPGP keys; never in mail from an alias"`
}

// DefaultConfig returns the configuration with all defaults.
func DefaultConfig() Config {
	return Config{
		Version: ConfigVersion, Dir: "data",
		Listen: ListenConfig{
			SMTP: "127.0.0.1:1025", IMAP: "127.0.0.1:1143", POP3: "127.0.0.1:1110",
			SMTPS: "127.0.0.1:1465", IMAPS: "127.0.0.1:1993", POP3S: "127.0.0.1:1995",
			Web: "127.0.0.1:1180",
		},
		Mail: MailConfig{Receipts: true},
	}
}

// DefaultConfigFile returns where the configuration is if nobody says otherwise.
func DefaultConfigFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the configuration: %w; name it with --config", err)
	}
	return filepath.Join(dir, "mailproxy", "mailproxy.toml"), nil
}

// DefaultDataDir returns where mail and keys are if nobody says otherwise, beside
// nothing that other computers of the user get copies of.
func DefaultDataDir() (string, error) {
	var dir string
	var err error
	switch runtime.GOOS {
	case "windows":
		dir, err = os.UserCacheDir() // %LocalAppData%, where UserConfigDir is the roaming one
	case "darwin":
		dir, err = os.UserConfigDir()
	default:
		if dir = os.Getenv("XDG_DATA_HOME"); !filepath.IsAbs(dir) { // else it is to be ignored
			dir, err = os.UserHomeDir()
			dir = filepath.Join(dir, ".local", "share")
		}
	}
	if err != nil {
		return "", fmt.Errorf("find where to keep mail: %w", err)
	}
	return filepath.Join(dir, "mailproxy", "data"), nil
}

// A NoConfigError is the answer where there is no configuration file. It is a sentence
// for who has not joined any network yet, and is fs.ErrNotExist.
type NoConfigError struct {
	File string
}

// Error returns the sentence, with what to do.
func (e *NoConfigError) Error() string { return e.Text() + "; " + e.Hint() }

// Text says what is the matter.
func (e *NoConfigError) Text() string {
	return "not set up here yet: there is no " + e.File
}

// Hint says what to do.
func (e *NoConfigError) Hint() string {
	return `to join a network, type "mailproxy join INVITATION", and to try it out, "mailproxy demo"; if the file is elsewhere, name it with --config`
}

// Unwrap returns fs.ErrNotExist.
func (e *NoConfigError) Unwrap() error { return fs.ErrNotExist }

// LoadConfig reads a configuration file. Relative paths in it are made relative
// to the file.
func LoadConfig(file string) (Config, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return DefaultConfig(), &NoConfigError{File: file}
	}
	if errors.Is(err, fs.ErrPermission) {
		return DefaultConfig(), fmt.Errorf("read configuration: %w; run this as the user whose it is, or name another file with --config", err)
	}
	if err != nil {
		return DefaultConfig(), fmt.Errorf("read configuration: %w", err)
	}
	return ParseConfig(file, raw)
}

// ParseConfig is LoadConfig for a file that holds raw.
func ParseConfig(file string, raw []byte) (Config, error) {
	c := DefaultConfig()
	c.Version = 0 // the file must say it
	// So must it these: one from before there were any opens no further ports.
	c.Listen.SMTPS, c.Listen.IMAPS, c.Listen.POP3S, c.Listen.Web = "", "", "", ""
	if err := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields().Decode(&c); err != nil {
		var syntax *toml.DecodeError
		var unknown *toml.StrictMissingError
		switch {
		case errors.As(err, &unknown):
			return c, fmt.Errorf("configuration %s has settings that this program does not know:\n%s\nCorrect these lines, or take them out; there are %s", file, unknown.String(), strings.Join(settingNames(), ", "))
		case errors.As(err, &syntax):
			row, col := syntax.Position()
			return c, fmt.Errorf("configuration %s, line %d, column %d: %w; correct that line, or take it out", file, row, col, err)
		}
		return c, fmt.Errorf("configuration %s: %w", file, err)
	}
	switch {
	case c.Version == 0:
		return c, fmt.Errorf("configuration %s names no version: it should begin with version = %d", file, ConfigVersion)
	case c.Version > ConfigVersion:
		return c, fmt.Errorf("configuration %s has version %d, and this program reads %d: it was written by a newer mailproxy, so install that", file, c.Version, ConfigVersion)
	case c.Version < ConfigVersion:
		return c, fmt.Errorf("configuration %s has version %d, which there never was: it should begin with version = %d", file, c.Version, ConfigVersion)
	case c.Network.Document == "":
		return c, fmt.Errorf("configuration %s names no network document: set network.document", file)
	case c.Dir == "":
		return c, fmt.Errorf("configuration %s names no directory: set dir", file)
	}
	if _, err := c.Network.Dialer(); err != nil {
		return c, fmt.Errorf("configuration %s: socks5 = %w", file, err)
	}
	base := filepath.Dir(file)
	for _, p := range []*string{&c.Dir, &c.Network.Document} {
		if !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	return c, nil
}

// Write writes c as a file that only its owner reads, synced.
func (c Config) Write(file string) error {
	b, err := toml.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	if err := durable.WriteFile(file, b, 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
