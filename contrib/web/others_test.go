package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"mailproxy/internal/demo"
)

// otherOrigins has pages of others try to read and change what is not theirs, in the
// same browser, with the session's cookie in it.
func (w *world) otherOrigins(t *testing.T) {
	// They know where to aim, which nobody could tell them.
	own := w.tab(t, false)
	own.run(chromedp.Navigate(w.base + "/contacts"))
	contact := eval[string](own, "document.querySelector('main td a, main th a').href")
	other := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = rw.Write([]byte("<!doctype html><title>other</title><h1>other</h1>")) // the test sees what is missing
	}))
	t.Cleanup(other.Close)
	tb := w.tab(t, false)
	tb.run(chromedp.Navigate(other.URL))
	// Another port of the same computer: another origin, but the same site, so that
	// the cookie does go with it.
	if got := eval[string](tb, `fetch('`+w.base+`/mail', {credentials: 'include'}).then(() => 'read', () => 'refused')`); got != "refused" {
		t.Errorf("another origin's page could read: %s", got)
	}
	before, err := w.Daemon.Contacts(demo.Bob)
	if err != nil {
		t.Fatal(err)
	}
	for _, attempt := range []string{
		`fetch('` + contact + `', {method: 'POST', mode: 'no-cors', credentials: 'include', body: new URLSearchParams({do: 'unblock'})}).then((r) => r.type, () => 'refused')`,
		`new Promise((done) => { const i = new Image(); i.onload = () => done('loaded'); i.onerror = () => done('refused'); i.src = '` + w.base + `/static/icon.svg' })`,
		`new Promise((done) => { const s = document.createElement('script'); s.onload = () => done('loaded'); s.onerror = () => done('refused'); s.src = '` + w.base + `/static/page.js'; document.head.append(s) })`,
		`new Promise((done) => { const s = new EventSource('` + w.base + `/live?view=mail', {withCredentials: true}); s.onopen = () => done('open'); s.onerror = () => { s.close(); done('refused') } })`,
	} {
		if got := eval[string](tb, attempt); got != "refused" && got != "opaque" {
			t.Errorf("%s\nwas %s", attempt, got)
		}
	}
	// A frame shows the browser's own error, which is of no origin that can be read.
	eval[string](tb, `new Promise((done) => { const f = document.createElement('iframe'); f.onload = () => done('loaded'); f.src = '`+w.base+`/mail'; document.body.append(f) })`)
	if n := eval[int](tb, "frames.length"); n != 1 || eval[bool](tb, "(() => { try { return !!frames[0].document } catch { return false } })()") {
		t.Error("the page can be put into a frame")
	}
	tb.run(chromedp.Navigate(other.URL))
	eval[bool](tb, `(() => {
		const f = document.createElement('form');
		f.method = 'post'; f.action = '`+contact+`';
		for (const [k, v] of [['do', 'unblock']]) {
			const i = document.createElement('input'); i.name = k; i.value = v; f.append(i);
		}
		document.body.append(f); f.submit(); return true })()`)
	tb.until(`document.body.innerText.includes('came from another page')`)
	after, err := w.Daemon.Contacts(demo.Bob)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("another origin's page changed %v to %v", before, after)
	}
	// A name of somebody else that was bound to 127.0.0.1.
	tb.run(chromedp.Navigate(strings.Replace(w.base, "127.0.0.1", "evil.test", 1) + "/mail"))
	tb.until(`document.body.innerText.includes('at another address than the one that was asked for')`)
}

// links tries links that do not open, each in a browser that has no cookie.
func (w *world) links(t *testing.T) {
	one := w.tab(t, true)
	one.run(chromedp.Navigate(w.base + "/mail"))
	one.until(`document.body.innerText.includes('mailproxy page')`)
	one.shoot("locked-light")
	one.run(chromedp.Navigate(w.base + "/open#wrong"))
	one.until(`document.getElementById('said').textContent.includes('wrong or too old')`)
	one.shoot("wrong-link-light")
	link := w.enter(t, one)
	two := w.tab(t, true)
	two.run(chromedp.Navigate(link))
	two.until(`document.getElementById('said').textContent.includes('used before')`)
	two.shoot("used-link-light")
	// What the link had opened is closed, and its page says so.
	one.until(`!document.getElementById('stale').hidden`)
	one.run(chromedp.Navigate(w.base + "/mail"))
	one.until(`document.body.innerText.includes('mailproxy page')`)
	// By hand: the whole link in the field.
	byHand, err := w.Daemon.Page()
	if err != nil {
		t.Fatal(err)
	}
	one.run(chromedp.SendKeys("#token", byHand), chromedp.KeyEvent(kb.Enter))
	one.until(`document.querySelector('h1')?.textContent === 'Overview'`)
}
