package web

import (
	"context"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"
	"unicode"

	"mailproxy/mixclient"
)

// A view is one of the pages.
type view struct {
	Name  string // its template
	Path  string
	Title string
	live  []string // the templates of what is kept current while it is open
	plots bool
}

var views = []view{
	{Name: "overview", Path: "/", Title: "Overview", live: []string{"headline", "accounts", "sending", "arriving", "recent"}},
	{Name: "mail", Path: "/mail", Title: "Mail", live: []string{"headline", "sending", "arriving", "received", "sent"}},
	{Name: "network", Path: "/network", Title: "Network", live: []string{"headline", "figures"}, plots: true},
	{Name: "contacts", Path: "/contacts", Title: "Contacts", live: []string{"headline"}},
	{Name: "setup", Path: "/setup", Title: "Set up mail programs", live: []string{"headline"}},
	{Name: "health", Path: "/health", Title: "Health", live: []string{"headline", "alarms", "checks"}},
}

// viewNamed returns the view of that name.
func viewNamed(name string) (view, bool) {
	for _, v := range views {
		if v.Name == name {
			return v, true
		}
	}
	return view{}, false
}

// data is what the templates are given.
type data struct {
	View  view
	Views []view
	CSRF  string
	Notes []string

	State    State
	Headline Headline
	Sending  []moving
	Received []Letter
	Sent     []Letter
	Contacts []Contact
	Settings Settings
	Checks   []Check
	Crowds   []crowd

	ids func(account, address string) string
}

// ID names a contact in the address of a page.
func (d data) ID(c Contact) string { return d.ids(c.Account, c.Address) }

// How many mails the pages show.
const (
	fewLetters  = 5
	manyLetters = 25
)

// data collects what a view shows.
func (s *Server) data(ctx context.Context, v view, who *session) (d data, err error) {
	d = data{View: v, Views: views, CSRF: who.csrf, State: s.source.State(), ids: s.contactID}
	d.Headline = HeadlineOf(d.State)
	switch v.Name {
	case "overview", "mail":
		n := manyLetters
		if v.Name == "overview" {
			n = fewLetters
		}
		d.Sending = movingOf(d.State, s.now())
		list, err := s.source.Recent(n)
		if err != nil {
			return d, err
		}
		for _, l := range list {
			if l.Sent {
				d.Sent = append(d.Sent, l)
			} else {
				d.Received = append(d.Received, l)
			}
		}
	case "network":
		if len(d.State.Networks) > 0 {
			d.Crowds = crowds(d.State.Networks[0].Status)
		}
	case "contacts":
		d.Contacts, err = s.source.Contacts()
	case "setup":
		d.Settings, err = s.source.Settings()
	case "health":
		d.Checks = s.source.Checks(ctx)
	}
	return d, err
}

// A Headline answers the first question in a sentence, with what else there is to say.
type Headline struct {
	Level Level    `json:"level"`
	Text  string   `json:"text"`
	More  []string `json:"more,omitempty"`
}

// HeadlineOf says whether mail flows, and if not, why.
func HeadlineOf(s State) Headline {
	h := Headline{Level: Good, Text: "All is well: mail flows."}
	worse := func(l Level, text string) {
		if h.Level == Good || h.Level == Notice && l == Trouble {
			h.Level, h.Text = l, text
		} else {
			h.More = append(h.More, text)
		}
	}
	active := 0
	offline := func(a Account) bool { return a.Network >= 0 && !s.Networks[a.Network].Connected }
	told := map[int]bool{}
	for _, a := range s.Accounts {
		if a.Ending == "deleted" {
			continue
		}
		active++
		if a.Network >= 0 && !told[a.Network] {
			told[a.Network] = true
			switch n := s.Networks[a.Network]; {
			case !n.Connected:
				worse(Trouble, "Offline: "+clean(n.Reason)+". Mail that you send is kept, and leaves when the connection is back.")
			case n.LoopAlarm:
				worse(Trouble, fmt.Sprintf("%.0f %% of the packets that measure the network were lost: mail takes longer.", 100*n.LoopsLost))
			}
		}
		switch {
		case a.Problem != "":
			worse(Trouble, a.Address+": "+clean(a.Problem))
		case !a.Registered && a.AliasOf == "" && offline(a):
			worse(Notice, a.Address+" is not registered yet: that is done by itself once there is a connection.")
		case !a.Registered && a.AliasOf == "": // an alias is at a random time, and nothing is the matter
			worse(Notice, a.Address+" is being registered at its provider. That takes some seconds.")
		}
		if a.Held > 0 {
			worse(Notice, fmt.Sprintf("%s to %s %s held until you decide about their sender's key.", mails(a.Held), a.Address, are(a.Held)))
		}
	}
	if active == 0 {
		return Headline{Level: Notice, Text: "There is no account yet. With an invitation from a provider, run: mailproxy join INVITATION"}
	}
	for _, a := range s.Alarms {
		worse(Trouble, clean(a.Subject)+".")
	}
	return h
}

var functions = template.FuncMap{
	"clean": clean,
	"when":  when,
	"stamp": func(t time.Time) string { return t.Format(time.RFC3339) },
	"size":  sizeWords,
	"gb":    func(n int64) string { return fmt.Sprintf("%.1f GB", float64(n)/1e9) },
	"sec":   func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) },
	"share": func(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) },
	"rate":  func(x float64) string { return fmt.Sprintf("%.1f", x) },
	"sum":   func(s mixclient.Status) float64 { return s.QueryRate + s.ReadRate + s.LoopRate },
	"cover": func(s mixclient.Status) uint64 { return s.Loops + s.LoopsSent },
	"fate":  fate,
	"dict":  dict,
	"rows":  rows,
	"mails": mails,
	"are":   are,

	"accounts": func(list []Account) []Account { return ofKind(list, false) },
	"aliases":  func(list []Account) []Account { return ofKind(list, true) },
	"all":      func(s mixclient.Status) uint64 { return s.Queries + s.Reads + s.Loops + s.LoopsSent },
	"lost": func(s mixclient.Status) string {
		sent := s.Queries + s.Reads + s.Loops + s.LoopsSent
		if sent == 0 {
			return ""
		}
		return fmt.Sprintf(" (%.0f %%)", 100*float64(s.Lost)/float64(sent))
	},
}

// mails counts them in words, and are has the verb for it.
func mails(n int) string {
	if n == 1 {
		return "1 mail"
	}
	return fmt.Sprintf("%d mails", n)
}

func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// ofKind returns the accounts of a list, or the aliases.
func ofKind(list []Account, aliases bool) (some []Account) {
	for _, a := range list {
		if (a.AliasOf != "") == aliases {
			some = append(some, a)
		}
	}
	return some
}

// perRow is how many groups of a safety number stand in a line, as on the command line.
const perRow = 4

// rows cuts a safety number, in groups, into lines that can be read out.
func rows(number string) (lines []string) {
	for some := range slices.Chunk(strings.Fields(number), perRow) {
		lines = append(lines, strings.Join(some, " "))
	}
	return lines
}

// dict gives a template named values.
func dict(pairs ...any) (map[string]any, error) {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is no name", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// maxText bounds what is shown of a text from outside, in characters.
const maxText = 200

// clean makes a text from outside harmless to look at: characters that control, or
// that turn the direction of what follows (UAX #9), or have no width, are shown as
// what they are, something that is not to be seen. HTML is the template's to escape.
func clean(s string) string {
	var b strings.Builder
	n := 0
	for _, c := range strings.ToValidUTF8(s, "\ufffd") {
		if n++; n > maxText {
			b.WriteString("…")
			break
		}
		switch {
		case c == '\t' || c == '\n' || c == '\r':
			b.WriteByte(' ')
		case unicode.Is(unicode.Cc, c), unicode.Is(unicode.Cf, c), unicode.Is(unicode.Zl, c), unicode.Is(unicode.Zp, c):
			b.WriteRune('\ufffd')
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// when writes a time as a person says it, in this computer's zone.
func when(t time.Time) string { return t.Local().Format("2 Jan 15:04") }

func sizeWords(bytes int64) string {
	if bytes < 100<<10 {
		return fmt.Sprintf("%d KiB", (bytes+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
