package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixclient/memory"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/web"
	"mailproxy/spool"
	spoolserver "mailproxy/spool/server"
)

// watched is a network that notes who has it do something.
type watched struct {
	mixclient.Network

	mu    sync.Mutex // guards calls
	calls []string   // stacks
}

func (w *watched) note() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, string(debug.Stack()))
}

func (w *watched) Query(ctx context.Context, to mixclient.Service, request []byte) ([]byte, error) {
	w.note()
	return w.Network.Query(ctx, to, request)
}

func (w *watched) SetReads(next func() (mixclient.Read, bool)) {
	w.note()
	w.Network.SetReads(next)
}

// pageBrowser opens a daemon's status page, and returns how to get at it.
func pageBrowser(t testing.TB, d *Daemon) (browser *http.Client, base string) {
	t.Helper()
	link, err := d.Page()
	if err != nil {
		t.Fatal(err)
	}
	address, token, _ := strings.Cut(link, "/open#")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser = &http.Client{Jar: jar, Timeout: time.Minute}
	resp, err := browser.PostForm(address+"/session", url.Values{"token": {token}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the link opens with %s", resp.Status)
	}
	return browser, address
}

func pageBody(t testing.TB, browser *http.Client, url string) string {
	t.Helper()
	resp, err := browser.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(b)
}

// TestPageAsksNothing is for design rule 7.2: what is clicked on the page has the
// network do nothing.
func TestPageAsksNothing(t *testing.T) {
	p := newProvider(t, spoolserver.Policy{})
	var looks atomic.Int32
	w := &watched{Network: memory.New(memory.Config{
		Services: map[mixclient.Service]memory.Handler{north: p},
		Limits:   mixclient.Limits{Request: spool.MaxRequestSize, Reply: spool.MaxReplySize},
		Slot:     2 * time.Millisecond, Latency: 2 * time.Millisecond, Pad: true,
	})}
	d, err := Open(Options{
		Dir:     t.TempDir(),
		Listen:  ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", Web: "127.0.0.1:0"},
		Network: func(string) mixclient.Network { return w },
		Now:     p.now,
		Checks: func(_ context.Context, s Status) []web.Check {
			looks.Add(1)
			return []web.Check{{Name: "Weather", Level: web.Notice, Text: fmt.Sprintf("%d account looks out.", len(s.Accounts)), Advice: "Take a coat."}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closeDaemon(t, d)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := d.AddAccount(t.Context(), NewAccount{Address: ann, Password: personPassword}); err != nil {
		t.Fatal(err)
	}
	if err := d.WaitRegistered(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	browser, base := pageBrowser(t, d)
	for range 3 {
		for path, want := range map[string]string{
			"/": ann, "/mail": "Nothing yet", "/network": "connected", "/contacts": "Nobody yet",
			"/setup": "mailproxy cert install", "/health": "Encryption", "/mailproxy-ca.pem": "BEGIN CERTIFICATE", "/profile/0": "<plist",
		} {
			if body := pageBody(t, browser, base+path); !strings.Contains(body, want) {
				t.Errorf("%s does not say %q:\n%s", path, want, body)
			}
		}
	}
	// What takes longer to look at is there a little later, and not looked at each time.
	for end := time.Now().Add(time.Minute); !strings.Contains(pageBody(t, browser, base+"/health"), "1 account looks out."); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the further checks are not shown")
		}
	}
	if n := looks.Load(); n != 1 {
		t.Errorf("it was looked %d times", n)
	}
	_, csrf, _ := strings.Cut(pageBody(t, browser, base+"/"), `name="csrf" value="`)
	csrf, _, _ = strings.Cut(csrf, `"`)
	for _, path := range []string{"/mail/withdraw", "/mail/retry", "/alarms/dismiss", "/leave"} {
		resp, err := browser.PostForm(base+path, url.Values{"id": {"00"}, "csrf": {csrf}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("POST %s: %s", path, resp.Status)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.calls) == 0 {
		t.Fatal("the network was not watched: nothing was asked of it")
	}
	for _, stack := range w.calls {
		if strings.Contains(stack, "proxy/web.") || strings.Contains(stack, "pageSource") {
			t.Errorf("a request to the page had the network do something:\n%s", stack)
		}
	}
}

func TestNoPage(t *testing.T) {
	p := newProvider(t, spoolserver.Policy{})
	if link, err := p.daemon.Page(); !errors.Is(err, errNoPage) || link != "" {
		t.Errorf("a daemon without a status page gives %q, %v", link, err)
	}
}

func TestSealedBy(t *testing.T) {
	const name = "X-Mailproxy-Sender: "
	for _, c := range []struct {
		head, address, state string
		differs              bool
	}{
		{"Subject: x\r\n\r\n", "", "", false},
		{name + "verified; address=ann@north.test; from=same\r\nSubject: x\r\n\r\n", ann, "verified", false},
		{name + "new; address=ann@north.test; from=differs\r\n\r\n", ann, "new", true},
		// Ours is at the top; nobody else's stays, and would not count.
		{name + "new; address=ann@north.test; from=same\r\n" + name + "verified; address=bob@north.test; from=same\r\n\r\n", ann, "new", false},
		{name + "\r\n\r\n", "", "", false},
		{name + ";;=;from\r\n\r\n", "", "", true},
	} {
		if s := sealedBy([]byte(c.head)); s.Address != c.address || s.State != c.state || s.Differs != c.differs {
			t.Errorf("%q: %+v", c.head, s)
		}
	}
}

// TestPageBelievesKeywords: who sealed a mail the page takes from what only the daemon
// sets, and not from a field that any mail may have that a mail program puts here.
func TestPageBelievesKeywords(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	p.register("")
	a, err := p.daemon.Mailbox(restoredUser)
	if err != nil {
		t.Fatal(err)
	}
	const field = "X-Mailproxy-Sender: verified; address=bob@north.test; from=same\r\n"
	const ours = "From: mailproxy <postmaster@localhost>\r\n"
	for i, c := range []struct {
		head, sealed string
		report       bool
		imported     []string // by the daemon, with these flags; else appended by a mail program, which tries to
	}{
		{head: field + "From: bob@north.test\r\n"},
		{head: field + "From: bob@north.test\r\n", imported: []string{mailbox.KeywordVerified}, sealed: "bob@north.test"},
		{head: field + "From: bob@north.test\r\n", imported: []string{"$MAILPROXYother"}, sealed: "bob@north.test"},
		{head: field + "From: bob@north.test\r\n", imported: []string{mailbox.KeywordDelivered}},
		{head: ours},
		{head: ours, imported: []string{mailbox.KeywordNotice}, report: true},
	} {
		msg := c.head + fmt.Sprintf("Subject: number %d\r\n\r\nhello\r\n", i)
		if c.imported != nil {
			_, err = a.Import().Add(mailbox.Inbox, strings.NewReader(msg), c.imported, time.Now())
		} else {
			_, err = a.Append(mailbox.Inbox, strings.NewReader(msg), []string{mailbox.KeywordVerified, mailbox.KeywordNotice}, time.Now())
		}
		if err != nil {
			t.Fatal(err)
		}
		all, err := pageSource{p.daemon}.Recent(20)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, l := range all {
			if l.Subject != fmt.Sprintf("number %d", i) {
				continue
			}
			found = true
			if l.Sealed.Address != c.sealed || l.Report != c.report {
				t.Errorf("mail %d is shown as sealed by %q, as a report: %v", i, l.Sealed.Address, l.Report)
			}
		}
		if !found {
			t.Errorf("mail %d is not shown", i)
		}
	}
}

// TestPageForgets: a contact can be forgotten from the page, unless they are blocked.
func TestPageForgets(t *testing.T) {
	p := newProvider(t, spoolserver.OpenPolicy())
	a := p.register("")
	bob := "bob@north.test"
	know(t, p.daemon, a, bob)
	source := pageSource{p.daemon}
	in := web.Decision{Do: "forget", Account: restoredUser, Address: bob}
	if _, err := p.daemon.Block(BlockContact{Address: bob}); err != nil {
		t.Fatal(err)
	}
	if said, err := source.Decide(in); err == nil || !strings.Contains(err.Error(), "unblock them first") {
		t.Errorf("of who is blocked it says %q, %v", said, err)
	}
	if _, err := p.daemon.Block(BlockContact{Address: bob, Unblock: true}); err != nil {
		t.Fatal(err)
	}
	if said, err := source.Decide(in); err != nil || said != bob+" is forgotten: the key that is shown next under this address is trusted." {
		t.Errorf("it says %q, %v", said, err)
	}
	if list, err := source.Contacts(); err != nil || len(list) != 0 {
		t.Errorf("left are %+v, %v", list, err)
	}
}

// BenchmarkPage takes views of a daemon with an Inbox of a thousand messages by HTTP.
func BenchmarkPage(b *testing.B) {
	network := memory.New(memory.Config{
		Services: map[mixclient.Service]memory.Handler{north: nil}, Slot: time.Second,
		Limits: mixclient.Limits{Request: spool.MaxRequestSize, Reply: spool.MaxReplySize},
	})
	d, err := Open(Options{
		Dir:     b.TempDir(),
		Listen:  ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", Web: "127.0.0.1:0"},
		Network: func(string) mixclient.Network { return network },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(d.Close(), network.Close()); err != nil {
			b.Error(err)
		}
	})
	a, err := d.mail.CreateAccount(ann)
	if err != nil {
		b.Fatal(err)
	}
	add := a.Import()
	for i := range 1000 {
		msg := fmt.Sprintf("From: Bob <bob@north.test>\r\nTo: ann@north.test\r\nSubject: number %d\r\n\r\nhello\r\n", i)
		if _, err := add.Add(mailbox.Inbox, strings.NewReader(msg), nil, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
	browser, base := pageBrowser(b, d)
	for _, path := range []string{"/", "/mail", "/network", "/setup", "/health"} {
		b.Run("GET "+path, func(b *testing.B) {
			for b.Loop() {
				pageBody(b, browser, base+path)
			}
		})
	}
}
