package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"mailproxy/internal/durable"
	"mailproxy/proxy/ports"
)

// Check returns what is wrong with the values of c, all of it; LoadConfig sees only to
// their form. It opens no file and no port.
func (c Config) Check() error { return errors.Join(c.problems()...) }

func (c Config) problems() (all []error) {
	bad := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	listeners := c.Listen.Ports()
	for _, name := range []string{"smtp", "imap", "pop3"} {
		if listeners[name] == "" {
			bad("listen.%s is empty: give it an address such as 127.0.0.1:1143", name)
		}
	}
	taken := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(listeners)) {
		at := listeners[name]
		if err := ports.Check(at); err != nil {
			bad("listen.%s: %w", name, err)
			continue
		}
		if other, ok := taken[at]; ok && !strings.HasSuffix(at, ":0") {
			bad("listen.%s and listen.%s are both %s: each needs a port of its own", other, name, at)
		}
		taken[at] = name
	}
	n := len(c.Network.Keys)
	if n == 0 {
		bad("network.keys names no key: without one nothing says which network is yours; your provider tells them")
	}
	switch {
	case c.Network.Threshold < 1:
		bad("network.threshold is %d: at least one of the keys must have signed", c.Network.Threshold)
	case n > 0 && c.Network.Threshold > n:
		have := fmt.Sprintf("are %d keys", n)
		if n == 1 {
			have = "is 1 key"
		}
		bad("network.threshold is %d, and there %s in network.keys", c.Network.Threshold, have)
	}
	return all
}

// Ports returns where a daemon listens, by name, as Status.Listen has it: for mail
// programs, and for the status page.
func (l ListenConfig) Ports() map[string]string {
	all := l.Listeners()
	if l.Web != "" {
		all["web"] = l.Web
	}
	return all
}

// A Setting is one line of a configuration file.
type Setting struct {
	Key   string // "listen.smtp"
	About string // empty where the key says it
	// Reload says that a daemon takes up a change on SIGHUP; all others it takes up when
	// it is started.
	Reload bool

	path []int // of the field in Config
}

// Settings are all that a configuration file can have, but for its version.
func Settings() []Setting {
	var all []Setting
	var walk func(t reflect.Type, prefix string, path []int)
	walk = func(t reflect.Type, prefix string, path []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
			at := append(slices.Clone(path), i)
			switch {
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, prefix+name+".", at)
			case name != "version":
				s := Setting{Key: prefix + name, About: f.Tag.Get("comment"), path: at}
				s.Reload = slices.Contains([]string{"network.document", "network.keys", "network.threshold"}, s.Key)
				all = append(all, s)
			}
		}
	}
	walk(reflect.TypeFor[Config](), "", nil)
	return all
}

// FindSetting returns the setting with that key.
func FindSetting(key string) (Setting, error) {
	for _, s := range Settings() {
		if s.Key == key {
			return s, nil
		}
	}
	return Setting{}, fmt.Errorf("there is no setting %q; there are %s", key, strings.Join(settingNames(), ", "))
}

func settingNames() (names []string) {
	for _, s := range Settings() {
		names = append(names, s.Key)
	}
	return names
}

// value returns the values as Config has them for the setting. A list takes any number.
func (s Setting) value(values []string) (any, error) {
	field := reflect.TypeFor[Config]().FieldByIndex(s.path).Type
	if field.Kind() == reflect.Slice {
		return values, nil
	}
	if len(values) != 1 {
		return nil, fmt.Errorf("%s takes one value, and there are %d", s.Key, len(values))
	}
	v := values[0]
	switch field.Kind() {
	case reflect.String:
		return v, nil
	case reflect.Bool:
		switch strings.ToLower(v) {
		case "true", "yes", "on":
			return true, nil
		case "false", "no", "off":
			return false, nil
		}
		return nil, fmt.Errorf("%s is true or false, not %q", s.Key, v)
	case reflect.Int:
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, fmt.Errorf("%s is a whole number, not %q", s.Key, v)
		}
		return n, nil
	}
	return nil, fmt.Errorf("%s cannot be set by a command", s.Key)
}

// SetConfig changes one setting in a configuration file, and leaves its other lines and
// comments as they are. It writes nothing where the value cannot be used. It
// returns the configuration before and after.
func SetConfig(file string, s Setting, values []string) (before, after Config, err error) {
	fail := func(err error) (Config, Config, error) {
		if strings.HasPrefix(err.Error(), s.Key) { // which says what is set
			return before, after, fmt.Errorf("%w; nothing was changed", err)
		}
		return before, after, fmt.Errorf("set %s: %w; nothing was changed", s.Key, err)
	}
	named := file
	// A link stays one, and what it names is changed.
	if file, err = filepath.EvalSymlinks(file); errors.Is(err, fs.ErrNotExist) {
		return before, after, &NoConfigError{File: named}
	} else if err != nil {
		return before, after, fmt.Errorf("read configuration: %w", err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return before, after, fmt.Errorf("read configuration: %w", err)
	}
	if before, err = ParseConfig(file, raw); err != nil {
		return before, after, err
	}
	v, err := s.value(values)
	if err != nil {
		return fail(err)
	}
	text, err := toml.Marshal(map[string]any{"v": v})
	if err != nil {
		return fail(err)
	}
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("v = ")))
	edited, err := editTOML(raw, s.Key, text)
	if err != nil {
		return fail(err)
	}
	if after, err = ParseConfig(file, edited); err != nil {
		return fail(err)
	}
	// Whatever the file is like, this one line changed and no other.
	want := before
	field := reflect.ValueOf(&want).Elem().FieldByIndex(s.path)
	field.Set(reflect.ValueOf(&after).Elem().FieldByIndex(s.path))
	if !reflect.DeepEqual(want, after) {
		return fail(errHand)
	}
	// What was wrong before may take several commands to mend.
	var known []string
	for _, p := range before.problems() {
		known = append(known, p.Error())
	}
	for _, p := range after.problems() {
		if !slices.Contains(known, p.Error()) {
			return fail(p)
		}
	}
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(file); err == nil {
		mode = info.Mode().Perm()
	}
	if err := durable.WriteFile(file, edited, mode); err != nil {
		return before, after, fmt.Errorf("write configuration: %w", err)
	}
	return before, after, nil
}

// errHand is for a file that is written in another way than ours.
var errHand = errors.New("the file is written in a way that this command cannot edit; change it in a text editor")

// editTOML returns the document with the value of a dotted key replaced, or added to
// its table.
func editTOML(doc []byte, key string, value []byte) ([]byte, error) {
	table, last := "", key
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		table, last = key[:i], key[i+1:]
	}
	var p unstable.Parser
	p.Reset(doc)
	in := ""     // the table that lines are in
	insert := -1 // where a new line of our table goes
	if table == "" {
		insert = 0
	}
	for p.NextExpression() {
		e := p.Expression()
		at, end := keyOf(e)
		switch e.Kind {
		case unstable.Table:
			in = at
			if in == table {
				insert = lineEnd(doc, end)
			}
		case unstable.KeyValue:
			full := at
			if in != "" {
				full = in + "." + at
			}
			if full == key {
				from, to, ok := valueRange(doc, end, e.Value())
				if !ok {
					return nil, errHand
				}
				return slices.Concat(doc[:from], value, doc[to:]), nil
			}
			if in == table {
				_, to, ok := valueRange(doc, end, e.Value())
				if !ok {
					return nil, errHand
				}
				insert = lineEnd(doc, to)
			}
		}
	}
	if err := p.Error(); err != nil {
		return nil, err
	}
	line := slices.Concat([]byte(last+" = "), value, []byte("\n"))
	if insert < 0 {
		insert = len(doc)
		line = append([]byte("\n["+table+"]\n"), line...)
	}
	if insert > 0 && doc[insert-1] != '\n' {
		line = append([]byte("\n"), line...)
	}
	return slices.Concat(doc[:insert], line, doc[insert:]), nil
}

// keyOf returns the dotted key of a table's head or of a line, and where it ends.
func keyOf(e *unstable.Node) (key string, end int) {
	var parts []string
	if e.Kind != unstable.Table && e.Kind != unstable.KeyValue {
		return "", 0
	}
	for it := e.Key(); it.Next(); {
		n := it.Node()
		parts = append(parts, string(n.Data))
		end = int(n.Raw.Offset + n.Raw.Length)
	}
	return strings.Join(parts, "."), end
}

// lineEnd returns where the line after at begins.
func lineEnd(doc []byte, at int) int {
	if i := bytes.IndexByte(doc[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(doc)
}

// valueRange returns where a value stands, whose key ends at keyEnd.
func valueRange(doc []byte, keyEnd int, v *unstable.Node) (from, to int, ok bool) {
	eq := bytes.IndexByte(doc[keyEnd:], '=')
	if eq < 0 {
		return 0, 0, false
	}
	from = keyEnd + eq + 1
	for from < len(doc) && (doc[from] == ' ' || doc[from] == '\t') {
		from++
	}
	switch v.Kind {
	case unstable.Array:
		to = from + 1
		for it := v.Children(); it.Next(); {
			n := it.Node()
			if n.Kind == unstable.Comment {
				continue
			}
			if n.Raw.Length == 0 { // a list of lists, which no setting is
				return 0, 0, false
			}
			to = int(n.Raw.Offset + n.Raw.Length)
		}
		to, ok = closing(doc, to)
		return from, to, ok
	case unstable.InlineTable:
		return 0, 0, false
	case unstable.String:
		return from, int(v.Raw.Offset + v.Raw.Length), v.Raw.Length > 0
	}
	// Numbers and the like have no blanks within.
	for to = from; to < len(doc) && !strings.ContainsRune(" \t\r\n#", rune(doc[to])); to++ {
	}
	return from, to, true
}

// closing returns where a list ends, after the last of what is in it.
func closing(doc []byte, at int) (int, bool) {
	for ; at < len(doc); at++ {
		switch doc[at] {
		case ']':
			return at + 1, true
		case '#':
			at = lineEnd(doc, at) - 1
		case ' ', '\t', '\r', '\n', ',':
		default:
			return 0, false
		}
	}
	return 0, false
}
