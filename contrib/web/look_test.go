package web

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
)

// luminance is of a colour, by WCAG 2.2.
func luminance(colour string) string {
	return `(() => { const c = ` + colour + `.match(/[\d.]+/g).slice(0, 3).map((x) => { x /= 255; return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4 }); return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2] })()`
}

// contrast checks that text can be read: 4.5 to 1 (WCAG 2.2, 1.4.3).
func contrast(t *testing.T, tb *tab, selector string) {
	t.Helper()
	ratio := eval[float64](tb, fmt.Sprintf(`(() => {
		const e = document.querySelector(%q);
		if (!e) return 99;
		let behind = e;
		while (behind && getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
		const front = %s, back = %s;
		return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
	})()`, selector, luminance("getComputedStyle(e).color"), luminance("getComputedStyle(behind || document.body).backgroundColor")))
	if ratio < 4.5 {
		t.Errorf("%s has a contrast of %.1f", selector, ratio)
	}
}

// named checks what a screen reader is told: landmarks, and a name for all that can be
// used.
func named(t *testing.T, tb *tab) {
	t.Helper()
	tree, err := chromedp.Call(tb.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	text := func(v *accessibility.Value) string {
		if v == nil {
			return ""
		}
		return strings.Trim(string(v.Value), `"`)
	}
	for _, n := range tree.Nodes {
		if n.Ignored {
			continue
		}
		role, name := text(n.Role), strings.TrimSpace(text(n.Name))
		count[role]++
		switch role {
		case "button", "link", "textbox", "navigation", "image", "img":
			if name == "" {
				t.Errorf("a %s has no name", role)
			}
		}
	}
	for _, role := range []string{"banner", "navigation", "main", "contentinfo"} {
		if count[role] != 1 {
			t.Errorf("there are %d landmarks of the role %s", count[role], role)
		}
	}
}
