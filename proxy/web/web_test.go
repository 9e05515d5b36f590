package web

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailproxy/proxy/outbox"
)

// patience is longer than anything takes on a machine that does much else.
const patience = time.Minute

// A site is a page that is served, and a browser with no session yet.
type site struct {
	t       *testing.T
	s       *Server
	host    string
	browser *http.Client
}

func serve(t *testing.T, source Source) *site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Source: source, Every: 10 * time.Millisecond})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	for s.mustURL() == "" {
		time.Sleep(time.Millisecond)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t: t, s: s, host: l.Addr().String(), browser: &http.Client{Jar: jar, Timeout: patience}}
}

func (s *Server) mustURL() string {
	u, err := s.URL()
	if err != nil {
		return ""
	}
	return u
}

// token returns the secret of a new link.
func (s *site) token() string {
	s.t.Helper()
	address, token, ok := strings.Cut(s.s.mustURL(), "#")
	if !ok || address != "http://"+s.host+"/open" {
		s.t.Fatalf("the link's address is %q", address)
	}
	return token
}

func (s *site) request(method, path string, body url.Values, header ...string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequest(method, "http://"+s.host+path, strings.NewReader(body.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (s *site) do(r *http.Request) (status int, body string) {
	s.t.Helper()
	resp, err := s.browser.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, value := range headers {
		if name == "Cache-Control" && resp.StatusCode == 200 && strings.HasPrefix(r.URL.Path, "/static/") {
			value = "no-cache"
		}
		if got := resp.Header.Get(name); got != value {
			s.t.Errorf("%s %s: header %s is %q, want %q", r.Method, r.URL.Path, name, got, value)
		}
	}
	return resp.StatusCode, string(b)
}

// enter opens a session.
func (s *site) enter() {
	s.t.Helper()
	if status, body := s.do(s.request("POST", "/session", url.Values{"token": {s.token()}})); status != 200 || !strings.Contains(body, "<h1>Overview</h1>") {
		s.t.Fatalf("a fresh token: status %d:\n%s", status, body)
	}
}

// contactPath is where a contact's page is.
func (s *site) contactPath(address string) string {
	return "/contacts/" + s.s.contactID("alice@north.test", address)
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func (s *site) csrf() string {
	s.t.Helper()
	_, body := s.do(s.request("GET", "/health", nil))
	m := csrfField.FindStringSubmatch(body)
	if m == nil {
		s.t.Fatal("the page has no form")
	}
	return m[1]
}

func TestLockedWithoutSession(t *testing.T) {
	s := serve(t, full())
	var paths []string
	for _, v := range views {
		paths = append(paths, v.Path)
	}
	for _, path := range append(paths, "/live?view=mail", "/mailproxy-ca.pem", "/profile/0", s.contactPath("bob@south.test"), s.contactPath("bob@south.test")+"/code.svg") {
		status, body := s.do(s.request("GET", path, nil))
		if status != http.StatusUnauthorized || !strings.Contains(body, "mailproxy page") || strings.Contains(body, "alice") {
			t.Errorf("GET %s without a session: status %d:\n%s", path, status, body)
		}
	}
	for _, path := range []string{"/mail/withdraw", "/mail/retry", s.contactPath("bob@south.test"), "/alarms/dismiss", "/leave"} {
		if status, _ := s.do(s.request("POST", path, url.Values{"id": {"1"}})); status != http.StatusUnauthorized {
			t.Errorf("POST %s without a session: status %d", path, status)
		}
	}
	if status, _ := s.do(s.request("GET", "/nothing", nil)); status != http.StatusNotFound {
		t.Errorf("a path that is not there: status %d", status)
	}
}

func TestEnter(t *testing.T) {
	s := serve(t, full())
	for _, wrong := range []string{"", "wrong", s.token() + "x"} {
		status, body := s.do(s.request("POST", "/session", url.Values{"token": {wrong}}))
		if status != http.StatusForbidden || !strings.Contains(body, "wrong or too old") {
			t.Errorf("token %q: status %d:\n%s", wrong, status, body)
		}
	}
	token := s.token()
	s.browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := s.browser.Do(s.request("POST", "/session", url.Values{"token": {token}}))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	cookies := resp.Cookies()
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/" || len(cookies) != 1 {
		t.Fatalf("entered with status %d, to %q, with %d cookies", resp.StatusCode, resp.Header.Get("Location"), len(cookies))
	}
	if c := cookies[0]; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Value == token {
		t.Errorf("the cookie is %v", c)
	}
	if status, _ := s.do(s.request("GET", "/", nil)); status != 200 {
		t.Errorf("with the cookie: status %d", status)
	}
	// Whoever comes second with the same link ends what the first has opened.
	status, body := s.do(s.request("POST", "/session", url.Values{"token": {token}}))
	if status != http.StatusForbidden || !strings.Contains(body, "used before") {
		t.Errorf("a used token: status %d:\n%s", status, body)
	}
	if status, _ := s.do(s.request("GET", "/", nil)); status != http.StatusUnauthorized {
		t.Errorf("the session of a link that was used twice: status %d", status)
	}
}

func TestOthersAreRefused(t *testing.T) {
	source := full()
	s := serve(t, source)
	s.enter()
	csrf := s.csrf()
	_, port, _ := net.SplitHostPort(s.host)
	form := url.Values{"csrf": {csrf}, "id": {"a1"}}
	for _, c := range []struct {
		name   string
		r      *http.Request
		status int
	}{
		{"a name bound to 127.0.0.1", s.request("GET", "/", nil, "Host", "evil.test:"+port), http.StatusMisdirectedRequest},
		{"such a name, to change something", s.request("POST", "/alarms/dismiss", form, "Host", "evil.test:"+port, "Origin", "http://evil.test:"+port), http.StatusMisdirectedRequest},
		{"another port", s.request("GET", "/", nil, "Host", "127.0.0.1:1"), http.StatusMisdirectedRequest},
		{"no port", s.request("GET", "/", nil, "Host", "127.0.0.1"), http.StatusMisdirectedRequest},
		{"another origin", s.request("POST", "/alarms/dismiss", form, "Origin", "https://evil.test"), http.StatusForbidden},
		{"another port's page", s.request("POST", "/alarms/dismiss", form, "Origin", "http://127.0.0.1:9"), http.StatusForbidden},
		{"another site, by the browser's word", s.request("POST", "/alarms/dismiss", form, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		{"a page without origin", s.request("POST", "/alarms/dismiss", form, "Origin", "null"), http.StatusForbidden},
		{"another origin's entering", s.request("POST", "/session", url.Values{"token": {s.token()}}, "Origin", "https://evil.test"), http.StatusForbidden},
		{"another page's image", s.request("GET", "/mail", nil, "Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"), http.StatusForbidden},
		{"another page's frame", s.request("GET", "/mail", nil, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"), http.StatusForbidden},
		{"another page's script", s.request("GET", "/static/page.js", nil, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script"), http.StatusForbidden},
		{"another page's stream", s.request("GET", "/live?view=mail", nil, "Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"), http.StatusForbidden},
		{"a form without its word", s.request("POST", "/alarms/dismiss", url.Values{"id": {"a1"}}), http.StatusForbidden},
		{"a form with another word", s.request("POST", "/alarms/dismiss", url.Values{"id": {"a1"}, "csrf": {csrf[1:] + "A"}}), http.StatusForbidden},
		{"a form that is too large", s.request("POST", "/alarms/dismiss", url.Values{"id": {strings.Repeat("a", maxForm)}, "csrf": {csrf}}), http.StatusForbidden},
		{"a link to follow", s.request("GET", "/mail", nil, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"), http.StatusOK},
		{"localhost", s.request("GET", "/open", nil, "Host", "localhost:"+port), http.StatusOK},
	} {
		if status, body := s.do(c.r); status != c.status {
			t.Errorf("%s: status %d, want %d:\n%s", c.name, status, c.status, body)
		}
	}
	if done := source.changes(); len(done) != 0 {
		t.Errorf("changes were made: %v", done)
	}
}

func TestViews(t *testing.T) {
	s := serve(t, full())
	s.enter()
	for _, c := range []struct {
		path string
		want []string
	}{
		{"/", []string{"flows", "1.2 GB a day each way", "deleted; its mail is still here", "nothing more: it shares the connection of <bdi>alice@north.test</bdi>",
			"<h3>Aliases</h3>", "<bdi>lea.green24@south.test</bdi></th><td>is registered at a random time, in half an hour on average</td><td><bdi>alice@north.test</bdi></td>",
			"<bdi>tom.brown11@south.test</bdi></th><td>flows</td>", "1 of 4 parts", "about ", "delivered", "list was changed"}},
		{"/mail", []string{`action="/mail/withdraw"`, `action="/mail/retry"`, "mallory@south.test", "(new key)", "the mail says that it is from", "mailproxy itself"}},
		{"/network", []string{"7 for mail, 80 to look for mail, 70 for cover", "10 sent, 9 came back", "3 of the 157 sent since the start (2 %)", "A small network mixes little", "one in ", "3 mixes", "10 nodes of 5 operators"}},
		{"/contacts", []string{"pinned", "changed; the one before was verified: decide on another key; 2 mails from them are held"}},
		{s.contactPath("bob@south.test"), []string{"12345 67890 11111 22222<br>33333 44444</p>", "code.svg", `name="do" value="block"`, `name="do" value="forget"`, `name="sure" required`}},
		{s.contactPath("mallory@south.test"), []string{"99999 00000", "lose_verified", `name="do" value="accept"`, `name="do" value="reject"`, `name="do" value="unverify"`, `name="do" value="unblock"`}},
		{"/setup", []string{`data-copy="port-imap"`, "1143", "STARTTLS", "/mailproxy-ca.pem", "mailproxy cert install thunderbird", `<code id="autoconfig">sudo mailproxy account autoconfig</code>`}},
		{"/health", []string{"Ask the provider.", `action="/alarms/dismiss"`, "wrong", "Set it."}},
	} {
		status, body := s.do(s.request("GET", c.path, nil))
		if status != 200 {
			t.Errorf("GET %s: status %d", c.path, status)
		}
		for _, want := range c.want {
			if !strings.Contains(body, want) && !strings.Contains(body, strings.ReplaceAll(want, "(new key)", "(new key, ")) {
				t.Errorf("%s does not say %q:\n%s", c.path, want, body)
			}
		}
		harmless(t, c.path, body)
		if n := strings.Count(body, "long "); n > maxText {
			t.Errorf("%s shows a subject of %d words", c.path, n)
		}
	}
	for path, want := range map[string]int{"/profile/0": 200, "/profile/1": 404, "/profile/-1": 404, "/profile/x": 404, "/contacts/0123": 404, "/contacts/0123/code.svg": 404} {
		if status, body := s.do(s.request("GET", path, nil)); status != want || want == 200 && body != "profile of alice@north.test" {
			t.Errorf("%s: status %d, %q", path, status, body)
		}
	}
	if status, body := s.do(s.request("GET", s.contactPath("bob@south.test")+"/code.svg", nil)); status != 200 || !strings.HasPrefix(body, "<svg") {
		t.Errorf("the code: status %d, %q", status, body)
	}
	if _, body := s.do(s.request("GET", "/mailproxy-ca.pem", nil)); !strings.HasPrefix(body, "-----BEGIN CERTIFICATE-----") {
		t.Errorf("the certificate is %q", body)
	}
}

var (
	inline = regexp.MustCompile(`(?i)<script>|<script [^>]*></script>|<img|<style|<[^>]*\s(on\w+|style)=|<[^>]*javascript:|https?://`)
	ours   = regexp.MustCompile(`<script src="/static/[a-zA-Z]+\.js" defer></script>|<img class="code" src="/contacts/[0-9a-f]+/code.svg"`)
)

// harmless looks for what a strict policy would have to stop, or that others wrote.
func harmless(t *testing.T, path, body string) {
	t.Helper()
	if bad := inline.FindString(ours.ReplaceAllString(body, "")); bad != "" {
		t.Errorf("%s has %q in it", path, bad)
	}
	if i := strings.IndexAny(body, "\u202e\u2066\x00\x1b"); i >= 0 {
		t.Errorf("%s has a character that controls, at %d", path, i)
	}
}

func TestChanges(t *testing.T) {
	source := full()
	s := serve(t, source)
	s.enter()
	csrf := s.csrf()
	for _, c := range []struct {
		path string
		form url.Values
		done string
		said string
	}{
		{"/mail/withdraw", url.Values{"id": {"00aa"}}, "withdraw 00aa", "It is withdrawn."},
		{"/mail/retry", url.Values{"id": {"00aa"}}, "retry 00aa", "next turn"},
		{s.contactPath("bob@south.test"), url.Values{"do": {"verify"}, "number": {"123"}}, "verify alice@north.test bob@south.test  123 false", "It is decided."},
		{s.contactPath("mallory@south.test"), url.Values{"do": {"accept"}, "key": {"beef"}, "lose_verified": {"on"}}, "accept alice@north.test mallory@south.test beef  true", "It is decided."},
		{s.contactPath("bob@south.test"), url.Values{"do": {"forget"}, "sure": {"on"}}, "forget alice@north.test bob@south.test   false", "It is decided."},
		{"/alarms/dismiss", url.Values{"id": {"a1"}}, "dismiss a1", "dismissed"},
	} {
		c.form.Set("csrf", csrf)
		for _, fails := range []bool{false, true} {
			source.mu.Lock()
			source.done, source.err = nil, nil
			want := c.said
			if fails {
				source.err, want = errors.New("the disk is full <b>"), "That did not work: the disk is full &lt;b&gt;"
			}
			source.mu.Unlock()
			status, body := s.do(s.request("POST", c.path, c.form))
			if done := source.changes(); status != 200 || len(done) != 1 || done[0] != c.done {
				t.Errorf("%s: status %d, done %v", c.path, status, done)
			}
			if !strings.Contains(body, want) {
				t.Errorf("%s does not say %q", c.path, want)
			}
		}
	}
	source.mu.Lock()
	source.done = nil
	source.mu.Unlock()
	_, body := s.do(s.request("POST", s.contactPath("bob@south.test"), url.Values{"do": {"forget"}, "csrf": {csrf}}))
	if done := source.changes(); len(done) != 0 || !strings.Contains(body, "nothing was forgotten: tick the box") || !strings.Contains(body, "<h1>Contacts</h1>") {
		t.Errorf("forgetting without the box: done %v, said\n%s", done, body)
	}
	if _, body := s.do(s.request("GET", s.contactPath("mallory@south.test"), nil)); strings.Contains(body, `value="forget"`) || !strings.Contains(body, "unblock them first") {
		t.Error("a contact who is blocked can be forgotten")
	}
	if _, body := s.do(s.request("GET", "/contacts", nil)); strings.Contains(body, "did not work") {
		t.Error("what was said once is said again")
	}
	if status, _ := s.do(s.request("POST", "/leave", url.Values{"csrf": {csrf}})); status != 200 {
		t.Errorf("leaving: status %d", status)
	}
	if status, _ := s.do(s.request("GET", "/", nil)); status != http.StatusUnauthorized {
		t.Errorf("after leaving: status %d", status)
	}
}

func TestLiveTellsWhatChanged(t *testing.T) {
	source := full()
	s := serve(t, source)
	s.enter()
	if status, _ := s.do(s.request("GET", "/live?view=nothing", nil)); status != http.StatusNotFound {
		t.Errorf("the stream of no view: status %d", status)
	}
	resp, err := s.browser.Do(s.request("GET", "/live?view=mail", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	// next returns the data of the next part of that name.
	next := func(name string) string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && strings.Contains(data, `"name":"`+name+`"`) {
				return data
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return ""
	}
	if first := next("sending"); !strings.Contains(first, "1 of 4 parts") || strings.Contains(first, "<img") {
		t.Errorf("at first: %s", first)
	}
	source.mu.Lock()
	mails := append([]outbox.Mail(nil), source.state.Sending...)
	mails[0].Recipients = []outbox.MailRecipient{{Address: "bob@south.test", State: "sending", Blocks: 4, Acknowledged: 3}}
	source.state.Sending = mails
	source.mu.Unlock()
	if second := next("sending"); !strings.Contains(second, "3 of 4 parts") {
		t.Errorf("then: %s", second)
	}
	// A session that ends, ends its streams.
	csrf := s.csrf()
	s.do(s.request("POST", "/leave", url.Values{"csrf": {csrf}}))
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v", err)
	}
}

func BenchmarkPage(b *testing.B) {
	s := New(Options{Source: full()})
	who := &session{csrf: "x", over: make(chan struct{})}
	for _, v := range views {
		b.Run(v.Name, func(b *testing.B) {
			for b.Loop() {
				d, err := s.data(b.Context(), v, who)
				if err != nil {
					b.Fatal(err)
				}
				if err := templates.ExecuteTemplate(io.Discard, v.Name, d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
