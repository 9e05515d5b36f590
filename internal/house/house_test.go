package house

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the module's directory, as seen from here; module is its path.
const (
	root   = "../.."
	module = "mailproxy/"
)

// A pkg is one package of the module, as all systems and build tags together have it.
type pkg struct {
	name    string
	doc     []string // package comments, without line breaks
	imports []string // of ours, by their path in the module; tests' are not among them
}

// packages reads all of the module, by their path in it.
func packages(t *testing.T) map[string]*pkg {
	t.Helper()
	found := map[string]*pkg{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if file == root {
				return nil
			}
			_, other := os.Stat(filepath.Join(file, "go.mod"))
			if other == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		p := found[filepath.ToSlash(dir)]
		if p == nil {
			p = &pkg{name: f.Name.Name}
			found[filepath.ToSlash(dir)] = p
		}
		if f.Doc != nil {
			p.doc = append(p.doc, strings.Join(strings.Fields(f.Doc.Text()), " "))
		}
		for _, i := range f.Imports {
			full, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if ours, ok := strings.CutPrefix(full, module); ok && !slices.Contains(p.imports, ours) {
				p.imports = append(p.imports, ours)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found["proxy"] == nil || found["cmd/mailproxy"] == nil {
		t.Fatalf("%d packages, and not those of the module", len(found))
	}
	return found
}

// Each package has one comment that says what it is, and a library's also who imports
// it: all that do, or a folder above them, unless any may. Two need not be named: the
// programs beneath contrib look at whatever they measure, and internal/demo is all in one.
func TestDocs(t *testing.T) {
	all := packages(t)
	imported := map[string][]string{}
	for at, p := range all {
		for _, i := range p.imports {
			imported[i] = append(imported[i], at)
		}
	}
	open := regexp.MustCompile(`\bleaf\b|any package may import it`)
	says := regexp.MustCompile(`\bimport`)
	for at, p := range all {
		if len(p.doc) != 1 {
			t.Errorf("%s: %d package comments, want one", at, len(p.doc))
			continue
		}
		doc := p.doc[0]
		if p.name == "main" {
			if want := path.Base(at) + " "; !strings.HasPrefix(strings.ToLower(strings.TrimPrefix(doc, "Command ")), want) {
				t.Errorf("%s: the comment begins with %.20q, not with the program's name", at, doc)
			}
			continue
		}
		if want := "Package " + p.name + " "; !strings.HasPrefix(doc, want) {
			t.Errorf("%s: the comment begins with %.20q, want %q", at, doc, want)
		}
		if open.MatchString(doc) {
			continue
		}
		if !says.MatchString(doc) {
			t.Errorf("%s: the comment does not say who imports it", at)
		}
		for _, who := range imported[at] {
			if !strings.HasPrefix(who, "contrib/") && who != "internal/demo" && !names(doc, at, who) {
				t.Errorf("%s: the comment does not name %s, which imports it", at, who)
			}
		}
	}
}

// names tells whether the comment of a package names another, or a folder above that.
// One beneath the same folder may go by the rest of its path.
func names(doc, at, who string) bool {
	if short, ok := strings.CutPrefix(who, path.Dir(at)+"/"); ok && word(doc, short) {
		return true
	}
	for ; who != "."; who = path.Dir(who) {
		if word(doc, who) {
			return true
		}
	}
	return false
}

func word(doc, name string) bool {
	return regexp.MustCompile(`(^|[\s(])` + regexp.QuoteMeta(name) + `([\s,.;:)']|$)`).MatchString(doc)
}

// A rule is what packages may import.
type rule struct {
	at  string
	may []string
}

// rules say what a package may import of ours: itself and what is beneath it always,
// and else what stands here. A rule is for a package, or with "/..." for those beneath it too;
// the first one that fits counts.
var rules = []rule{
	// Leaves: what all share, and what knows nothing of us.
	{"internal/accept", nil}, {"internal/address", nil}, {"internal/child", nil}, {"internal/codec", nil},
	{"internal/durable", nil}, {"internal/pause", nil}, {"internal/qrcode", nil}, {"internal/socks/...", nil},
	{"internal/house", nil}, {"internal/tlstest", nil}, {"internal/metrics", nil}, {"internal/command/...", nil}, {"internal/control", nil},
	{"internal/store", nil},
	{"internal/invitation", []string{"internal/address", "internal/codec"}},
	{"internal/mailclient", []string{"internal/address"}},
	{"internal/netdoc", []string{"internal/durable", "mixnet/directory"}},
	{"internal/nodedir", []string{"internal/durable", "internal/metrics", "internal/netdoc", "mixnet/directory"}},
	// The whole in one process.
	{"internal/demo", []string{"mixclient/...", "mixnet/...", "proxy/...", "spool/...", "internal/..."}},

	// The built-in network knows nothing of mail, spools or users.
	{"mixnet/...", []string{"mixnet/...", "internal/accept", "internal/codec", "internal/durable", "internal/metrics", "internal/pause"}},
	// The boundary to any network, and beneath it what is one.
	{"mixclient", nil},
	{"mixclient/builtin", []string{"mixclient", "mixnet/...", "internal/codec"}},
	{"mixclient/memory", []string{"mixclient"}},
	{"mixclient/conformance", []string{"mixclient"}},

	// The spool: its client reaches the service through any network.
	{"spool/client", []string{"spool", "spool/keylog", "mixclient", "internal/address"}},
	{"spool/...", []string{"spool/...", "internal/address", "internal/codec", "internal/metrics", "internal/store"}},

	// Front ends know the mailbox and the outbox, and no network.
	{"smtp", []string{"proxy/mailbox", "proxy/outbox", "proxy/refusal", "internal/accept"}},
	{"imap", []string{"proxy/mailbox", "internal/accept", "internal/pause", "internal/store"}},
	{"pop3", []string{"proxy/mailbox", "internal/accept", "internal/pause"}},

	// What the daemon is made of does not know the daemon; the doctor looks at it from outside.
	{"proxy", []string{"proxy/...", "smtp", "imap", "pop3", "mixclient", "spool", "spool/client", "internal/..."}},
	{"proxy/doctor", []string{"proxy", "proxy/cert/...", "proxy/ports", "proxy/storekey", "internal/store"}},
	{"proxy/...", []string{"proxy/...", "mixclient", "spool", "spool/client", "spool/keylog", "spool/work", "internal/..."}},

	// Programs put all together; nobody imports them.
	{"cmd/...", []string{"proxy/...", "mixclient/...", "mixnet/...", "spool/...", "internal/..."}},
	{"contrib/...", []string{"contrib/...", "imap", "proxy/...", "mixclient/...", "mixnet/...", "spool/...", "internal/..."}},
}

// importers are the only packages that may import these, whatever the rules say.
var importers = map[string][]string{
	"internal/demo":       {"cmd/mailproxy", "contrib/..."},
	"internal/house":      nil,
	"proxy":               {"cmd/mailproxy", "contrib/...", "internal/demo", "proxy/doctor"},
	"proxy/doctor":        {"cmd/mailproxy"},
	"mixclient/builtin":   {"cmd/...", "contrib/...", "internal/demo"},
	"mixclient/memory":    {"contrib/..."},
	"spool/badgerstore":   {"cmd/mailspool", "contrib/...", "internal/demo"},
	"spool/server":        {"cmd/mailspool", "contrib/...", "internal/demo", "spool/badgerstore", "spool/server/..."},
	"internal/command":    {"cmd/..."},
	"internal/control":    {"cmd/...", "proxy"},
	"internal/nodedir":    {"cmd/mailspool", "cmd/mixnode"},
	"internal/child":      {"contrib/..."},
	"cmd/mailproxy":       nil,
	"cmd/mailspool":       nil,
	"cmd/mixnode":         nil,
	"internal/invitation": {"cmd/..."},
}

// Imports go one way.
func TestImports(t *testing.T) {
	used := map[string]bool{}
	for at, p := range packages(t) {
		i := slices.IndexFunc(rules, func(r rule) bool { return fits(r.at, at) })
		if i < 0 {
			t.Errorf("%s: no rule says what it may import", at)
			continue
		}
		used[rules[i].at] = true
		for _, other := range p.imports {
			own := strings.HasPrefix(other, at+"/")
			if !own && !slices.ContainsFunc(rules[i].may, func(may string) bool { return fits(may, other) }) {
				t.Errorf("%s may not import %s", at, other)
			}
			if only, ok := importers[other]; ok && !slices.ContainsFunc(only, func(who string) bool { return fits(who, at) }) {
				t.Errorf("%s may not import %s: only %v may", at, other, only)
			}
		}
	}
	for _, r := range rules {
		if !used[r.at] {
			t.Errorf("there is a rule for %s, and no package", r.at)
		}
	}
}

// fits tells whether a package is the one of a rule, or beneath it.
func fits(rule, at string) bool {
	above, tree := strings.CutSuffix(rule, "/...")
	return at == above || tree && strings.HasPrefix(at, above+"/")
}
