// Package web drives the status page with a real browser, headless Chromium: every
// view, light and dark, by keyboard, while mail comes in that means harm, and from
// pages of other origins. It has no code of its own but tests, which are skipped where
// there is no Chromium; contrib/web/run installs it where that is possible, and keeps
// screenshots.
package web

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"mailproxy/internal/demo"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/outbox"
)

const (
	// patience is longer than anything takes on a machine that does much else.
	patience = 5 * time.Minute
	// speed is how much faster than a real one the network is. Much of the machine is the
	// browser's.
	speed = 2
)

// browserPath finds Chromium, or skips the test.
func browserPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("there is no chromium: install the Debian package chromium, or use contrib/web/run")
	return ""
}

// A world is a demo with a browser beside it.
type world struct {
	*demo.World
	t       *testing.T
	base    string // "http://127.0.0.1:port"
	browser context.Context
}

// start starts a world whose two users know each other.
func start(t *testing.T) *world {
	t.Helper()
	path := browserPath(t)
	times := outbox.DefaultTimes()
	times.Receipt = time.Second
	d, err := demo.Start(demo.Config{
		Dir: t.TempDir(), Parameters: directory.DefaultParameters().Scaled(speed), Receipts: true, Times: times,
		Listen: proxy.ListenConfig{SMTP: "127.0.0.1:0", IMAP: "127.0.0.1:0", POP3: "127.0.0.1:0", Web: "127.0.0.1:0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close world: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	if err := d.Register(ctx, func(string, time.Duration) {}); err != nil {
		t.Fatal(err)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("host-resolver-rules", "MAP evil.test 127.0.0.1"), chromedp.WindowSize(1200, 1400))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	browser, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	browser, stop = chromedp.NewContext(browser)
	t.Cleanup(stop)
	if err := chromedp.Do(browser); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	return &world{World: d, t: t, base: "http://" + d.Daemon.Address("web").String(), browser: browser}
}

// enter opens the page with a link that works once.
func (w *world) enter(t *testing.T, tb *tab) (link string) {
	t.Helper()
	link, err := w.Daemon.Page()
	if err != nil {
		t.Fatal(err)
	}
	tb.run(chromedp.Navigate(link))
	tb.until(`document.querySelector('h1')?.textContent === 'Overview'`)
	return link
}

// hostile is what somebody may write into a subject or a name: markup, characters that
// turn the direction of text, and more of it than fits.
var hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202egnp.exe " + strings.Repeat("endless", 200)

// TestPage is one test, since starting a world takes longest; its parts build on each
// other.
func TestPage(t *testing.T) {
	w := start(t)
	tb := w.tab(t, false)
	w.enter(t, tb)
	if !t.Run("opened by link", w.opened(tb)) {
		return
	}
	t.Run("live", w.live(tb))
	t.Run("alias", w.alias(tb))
	t.Run("views", w.views(tb))
	t.Run("keyboard", w.keyboard(tb))
	t.Run("copy", w.copy(tb))
	t.Run("other origins", w.otherOrigins)
	t.Run("forget", w.forget(tb))
	t.Run("links", w.links)
}

// opened checks that nothing of the link stays in sight.
func (w *world) opened(tb *tab) func(*testing.T) {
	return func(t *testing.T) {
		tb.t = t
		if href := eval[string](tb, "location.href"); href != w.base+"/" {
			t.Errorf("the page is at %s", href)
		}
		if cookie := eval[string](tb, "document.cookie"); cookie != "" {
			t.Errorf("scripts can read the cookie: %s", cookie)
		}
		history, err := chromedp.Run(tb.ctx, chromedp.NavigationEntries())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range history.Entries {
			if i := strings.IndexByte(e.URL, '#'); i >= 0 && len(e.URL) > i+20 {
				t.Errorf("the history keeps %s", e.URL)
			}
		}
	}
}

// live sends hostile mail, and sees it go out and come in on a page that is not loaded
// again.
func (w *world) live(tb *tab) func(*testing.T) {
	return func(t *testing.T) {
		tb.t = t
		tb.run(chromedp.Navigate(w.base + "/mail"))
		tb.until(`document.body.dataset.live === 'yes'`)
		eval[bool](tb, "window.stillTheSamePage = true")
		mail := "From: " + demo.Alice + "\r\nTo: " + demo.Bob + "\r\nSubject: " + encoded(hostile) + "\r\n\r\nhello\r\n"
		if err := w.Submit(w.Accounts[0], demo.Bob, []byte(mail)); err != nil {
			t.Fatal(err)
		}
		tb.until(`document.getElementById('part-sent').textContent.includes('<script>alert(1)')`)
		tb.until(`document.getElementById('part-received').textContent.includes('` + demo.Alice + `')`)
		tb.until(`document.getElementById('part-sent').textContent.includes("delivered")`)
		// A name as another program than ours might send it.
		a, err := w.Daemon.Mailbox(demo.Bob)
		if err != nil {
			t.Fatal(err)
		}
		named := "From: " + encoded(hostile) + " <mallory@south.test>\r\nX-Mailproxy-Sender: new; address=mallory@south.test; from=same\r\nSubject: named\r\n\r\nhello\r\n"
		if _, err := a.Import().Add("INBOX", strings.NewReader(named), []string{mailbox.KeywordNew}, time.Now()); err != nil {
			t.Fatal(err)
		}
		tb.until(`document.getElementById('part-received').textContent.includes('by the name of <script>')`)
		// The same field on what a mail program has put there: without the keyword it says nothing.
		forged := strings.NewReplacer("new;", "verified;", "named", "false", "mallory@south.test;", demo.Alice+";").Replace(named)
		if _, err := a.Import().Add("INBOX", strings.NewReader(forged), nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		tb.until(`[...document.querySelectorAll('#part-received tr')].some((r) => r.textContent.includes('false') && r.textContent.includes('put here by a mail program') && !r.textContent.includes('verified'))`)
		if !eval[bool](tb, "window.stillTheSamePage === true") {
			t.Error("the page was loaded again")
		}
		if n := eval[int](tb, "document.querySelectorAll('main img, main script, main [onerror]').length"); n != 0 {
			t.Errorf("%d elements of the mail have become the page's", n)
		}
		if eval[bool](tb, `/[\u202a-\u202e\u2066-\u2069]/.test(document.body.textContent)`) {
			t.Error("a character that turns the direction of text is on the page")
		}
		if wide := eval[int](tb, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
			t.Errorf("the long subject makes the page %d pixels too wide", wide)
		}
		if bad := tb.wrong(); len(bad) > 0 {
			t.Errorf("on the way: %v", bad)
		}
	}
}

// alias makes one, which is shown apart from the accounts, and changes nothing about how
// things are.
func (w *world) alias(tb *tab) func(*testing.T) {
	return func(t *testing.T) {
		tb.t = t
		tb.run(chromedp.Navigate(w.base + "/"))
		tb.until(`document.body.dataset.live === 'yes'`)
		made, err := w.Daemon.AddAlias(t.Context(), proxy.NewAlias{Account: demo.Alice, Address: "south.test"})
		if err != nil {
			t.Fatal(err)
		}
		tb.until(`document.querySelector('#part-accounts h3')?.textContent === 'Aliases'`)
		row := eval[string](tb, `[...document.querySelectorAll('#part-accounts h3 ~ table tbody tr')].map((r) => [...r.children].map((c) => c.textContent).join('|')).join('\n')`)
		if want := made.Address + "|is registered at a random time, in half an hour on average|" + demo.Alice; row != want {
			t.Errorf("its row is %q, want %q", row, want)
		}
		if line := eval[string](tb, `document.querySelector('#part-headline strong').textContent`); line != "All is well: mail flows." {
			t.Errorf("with an alias that waits the page says %q", line)
		}
		if bad := tb.wrong(); len(bad) > 0 {
			t.Errorf("on the way: %v", bad)
		}
	}
}

// forget has a contact forgotten that was blocked before.
func (w *world) forget(tb *tab) func(*testing.T) {
	return func(t *testing.T) {
		tb.t = t
		press := func(what, begins string) {
			t.Helper()
			if !eval[bool](tb, `(() => { const e = [...document.querySelectorAll('main `+what+`')].find((e) => e.textContent.startsWith('`+begins+`')); e?.click(); return !!e })()`) {
				t.Fatalf("there is no %s %q", what, begins)
			}
		}
		tb.run(chromedp.Navigate(w.base + "/contacts"))
		press("a", demo.Alice)
		tb.until(`document.querySelector('h1')?.textContent === '` + demo.Alice + `'`)
		if eval[bool](tb, `document.querySelector('[name=sure]') !== null`) {
			t.Error("who is blocked can be forgotten")
		}
		press("button", "Unblock")
		tb.until(`document.querySelector('.note')?.textContent.includes('not blocked any more')`)
		if !eval[bool](tb, `document.querySelector('[name=sure]').matches(':invalid')`) {
			t.Error("they can be forgotten without a tick")
		}
		// By a script, as the buttons: the browser's handle on a page's parts may be older
		// than the page when that has only just come.
		if !eval[bool](tb, `(() => { const e = document.querySelector('[name=sure]'); e.click(); return e.checked })()`) {
			t.Error("the box cannot be ticked")
		}
		press("button", "Forget")
		tb.until(`document.querySelector('h1')?.textContent === 'Contacts' && document.querySelector('.note')?.textContent.includes('is forgotten')`)
		if list, err := w.Daemon.Contacts(demo.Bob); err != nil || len(list) != 0 {
			t.Errorf("bob knows %+v, %v", list, err)
		}
		if bad := tb.wrong(); len(bad) > 0 {
			t.Errorf("on the way: %v", bad)
		}
	}
}

// views looks at each, in both colour schemes.
func (w *world) views(tb *tab) func(*testing.T) {
	return func(t *testing.T) {
		for _, v := range []struct{ name, path, title, has string }{
			{"overview", "/", "Overview", `document.getElementById('part-accounts').textContent.includes('flows')`},
			{"mail", "/mail", "Mail", `document.getElementById('part-received').querySelector('tbody tr')`},
			{"network", "/network", "Network", `document.querySelector('#plot-slots canvas') && document.querySelector('#plot-delays canvas') && document.getElementById('slots-now').textContent.includes('for mail')`},
			{"contacts", "/contacts", "Contacts", `document.querySelector('main table')?.textContent.includes('` + demo.Alice + `')`},
			{"setup", "/setup", "Set up mail programs", `document.getElementById('port-imap').textContent.length > 2`},
			{"health", "/health", "Health", `document.getElementById('part-checks').textContent.includes('gateway is reached')`},
		} {
			for _, scheme := range []string{"light", "dark"} {
				t.Run(v.name+" "+scheme, func(t *testing.T) {
					tb.t = t
					tb.scheme(scheme)
					tb.run(chromedp.Navigate(w.base + v.path))
					tb.until(v.has)
					tb.until(`document.body.dataset.live === 'yes'`)
					if h := eval[string](tb, "document.querySelector('h1').textContent"); h != v.title {
						t.Errorf("its title is %q", h)
					}
					if here := eval[string](tb, "document.querySelector('[aria-current=page]').textContent"); here != v.title {
						t.Errorf("the navigation says that this is %q", here)
					}
					dark := eval[float64](tb, luminance("getComputedStyle(document.body).backgroundColor")) < 0.2
					if dark != (scheme == "dark") {
						t.Errorf("its background is dark: %v", dark)
					}
					for _, of := range []string{"body", "thead th", ".box strong", "a:not(.skip)", "button", "footer p"} {
						contrast(t, tb, of)
					}
					named(t, tb)
					tb.shoot(v.name + "-" + scheme)
					if bad := tb.wrong(); len(bad) > 0 {
						t.Errorf("on the way: %v", bad)
					}
				})
			}
		}
		tb.t = t
		tb.scheme("light")
	}
}

// keyboard goes through the page without a mouse.
func (w *world) keyboard(tb *tab) func(*testing.T) {
	return func(t *testing.T) {
		tb.t = t
		focused := func() string {
			return eval[string](tb, "document.activeElement.textContent.trim().slice(0, 40)")
		}
		tb.run(chromedp.Navigate(w.base+"/"), chromedp.KeyEvent(kb.Tab))
		if f := focused(); f != "Skip to the content" {
			t.Errorf("first in line is %q", f)
		}
		tb.run(chromedp.KeyEvent(kb.Enter))
		tb.until(`document.activeElement.id === 'main'`)
		tb.run(chromedp.Navigate(w.base + "/"))
		for range 20 {
			tb.run(chromedp.KeyEvent(kb.Tab))
			if outline := eval[string](tb, "getComputedStyle(document.activeElement).outlineStyle"); outline == "none" {
				t.Errorf("it cannot be seen that %q has the focus", focused())
			}
			if focused() == "Contacts" {
				break
			}
		}
		tb.run(chromedp.KeyEvent(kb.Enter))
		tb.until(`document.querySelector('h1')?.textContent === 'Contacts'`)
		tabTo := func(text string) {
			t.Helper()
			for range 40 {
				tb.run(chromedp.KeyEvent(kb.Tab))
				if strings.HasPrefix(focused(), text) {
					return
				}
			}
			t.Fatalf("%q is not to be reached by the tab key", text)
		}
		tabTo(demo.Alice)
		tb.run(chromedp.KeyEvent(kb.Enter))
		tb.until(`document.querySelector('h1')?.textContent === '` + demo.Alice + `' && document.querySelector('.code').complete`)
		if n := eval[int](tb, "document.querySelector('.code').naturalWidth"); n == 0 {
			t.Error("the safety number's code is not shown")
		}
		if number := eval[string](tb, "document.querySelector('.number').textContent"); len(strings.ReplaceAll(number, " ", "")) != 60 {
			t.Errorf("the safety number is %q", number)
		}
		tabTo("For them to compare")
		tb.run(chromedp.KeyEvent(kb.Enter))
		tb.until(`document.getElementById('own').open`)
		tb.shoot("contact-light")
		tabTo("Block")
		tb.run(chromedp.KeyEvent(kb.Enter))
		tb.until(`document.querySelector('.note')?.textContent.includes('is blocked')`)
		if role := eval[string](tb, "document.querySelector('.note').getAttribute('role')"); role != "status" {
			t.Errorf("what was done is told with the role %q", role)
		}
		if bad := tb.wrong(); len(bad) > 0 {
			t.Errorf("on the way: %v", bad)
		}
	}
}

// copy presses a button that copies.
func (w *world) copy(tb *tab) func(*testing.T) {
	return func(t *testing.T) {
		tb.t = t
		tb.run(chromedp.Navigate(w.base+"/setup"), chromedp.Click(`[data-copy="port-imap"]`))
		tb.until(`document.querySelector('[data-copy="port-imap"]').textContent.startsWith('Copied') || getSelection().toString() === document.getElementById('port-imap').textContent`)
		if bad := tb.wrong(); len(bad) > 0 {
			t.Errorf("on the way: %v", bad)
		}
	}
}
