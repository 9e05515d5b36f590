package web

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A tab is one of the browser's, which notes what goes wrong in it.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu  sync.Mutex // guards bad
	bad []string
}

// tab opens a tab. With own it shares no cookie with the others.
func (w *world) tab(t *testing.T, own bool) *tab {
	t.Helper()
	var options []chromedp.ContextOption
	if own {
		options = append(options, chromedp.WithNewBrowserContext())
	}
	ctx, stop := chromedp.NewContext(w.browser, options...)
	tb := &tab{t: t, ctx: ctx}
	t.Cleanup(stop)
	err := chromedp.Listen(ctx, func(e any) {
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			tb.note("exception: " + e.ExceptionDetails.Text)
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.EntryLevelError {
				tb.note("browser: " + e.Entry.Text + " " + e.Entry.URL)
			}
		case *page.EventJavascriptDialogOpening:
			tb.note("a dialog opened: " + e.Message)
		}
	})
	if err == nil {
		_, err = chromedp.Call(ctx, cdplog.Enable, cdp.Empty{})
	}
	if err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return tb
}

func (tb *tab) note(what string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.bad = append(tb.bad, what)
}

// wrong returns what went wrong in the tab since it was asked last.
func (tb *tab) wrong() []string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	list := tb.bad
	tb.bad = nil
	return list
}

func (tb *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	if err := chromedp.Do(tb.ctx, actions...); err != nil {
		tb.t.Fatal(err)
	}
}

// eval returns the value of an expression of the page.
func eval[T any](tb *tab, expression string) T {
	tb.t.Helper()
	v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits until an expression of the page is true, also of the next page while one
// goes and another comes.
func (tb *tab) until(expression string) {
	tb.t.Helper()
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end) && tb.ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		var ok bool
		if ok, last = chromedp.Run(tb.ctx, chromedp.Evaluate[bool]("!!("+expression+")")); ok && last == nil {
			return
		}
	}
	text, err := chromedp.Run(tb.ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
	tb.t.Fatalf("the page never had %s: %v\n%s", expression, errors.Join(last, err), text)
}

// shoot keeps a screenshot where that is wanted.
func (tb *tab) shoot(name string) {
	tb.t.Helper()
	dir := os.Getenv("WEB_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(tb.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		tb.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		tb.t.Error(err)
	}
}

func encoded(s string) string {
	return "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
}

// scheme has the browser prefer light or dark pages.
func (tb *tab) scheme(name string) {
	tb.t.Helper()
	_, err := chromedp.Call(tb.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	})
	if err != nil {
		tb.t.Fatal(err)
	}
}
