// Package qrcode draws a short text as a QR code (ISO/IEC 18004): with the half
// blocks of a terminal, and as an SVG.
//
// The code itself is made by github.com/boombuler/barcode; it knows nothing of what
// the text means. cmd/mailproxy and proxy/web import it.
package qrcode

import (
	"fmt"
	"strings"

	"github.com/boombuler/barcode/qr"
)

// quiet is the light border that readers need, in modules (ISO/IEC 18004 section
// 5.3.8).
const quiet = 4

// A Code is a QR code with its border.
type Code struct {
	size int // modules on a side
	dark []bool
}

// New makes the code of a text, with the error correction level M: about a seventh of
// it may be unreadable. A text of capital letters, digits and the signs of a URL takes
// the least room. It fails for one that is too long for any code, of some 2,300 bytes.
func New(text string) (*Code, error) {
	drawn, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return nil, fmt.Errorf("draw QR code: %w", err)
	}
	b := drawn.Bounds()
	c := &Code{size: b.Dx() + 2*quiet}
	c.dark = make([]bool, c.size*c.size)
	for y := range b.Dy() {
		for x := range b.Dx() {
			r, _, _, _ := drawn.At(b.Min.X+x, b.Min.Y+y).RGBA()
			c.dark[(y+quiet)*c.size+x+quiet] = r == 0
		}
	}
	return c, nil
}

// at reports whether a module is dark; what is beyond the code is light.
func (c *Code) at(x, y int) bool { return y < c.size && c.dark[y*c.size+x] }

// Terminal returns the code in characters, two modules to each: light ones are drawn
// and dark ones left out, as it is right on a dark background. With colour, both
// colours are set by escape sequences (ECMA-48 section 8.3.117), so that it is right
// on any. Each line ends with a line feed.
func (c *Code) Terminal(colour bool) string {
	glyphs := map[[2]bool]rune{{false, false}: '█', {false, true}: '▀', {true, false}: '▄', {true, true}: ' '}
	var b strings.Builder
	for y := 0; y < c.size; y += 2 {
		if colour {
			b.WriteString("\x1b[97;40m")
		}
		for x := range c.size {
			b.WriteRune(glyphs[[2]bool{c.at(x, y), c.at(x, y+1)}])
		}
		if colour {
			b.WriteString("\x1b[0m")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// SVG returns the code as an SVG element of its own, black on white, in units of a
// module. It has no style, script or reference, and nothing of the text in it.
func (c *Code) SVG() string {
	var path strings.Builder
	for y := range c.size {
		for x := 0; x < c.size; x++ {
			from := x
			for x < c.size && c.at(x, y) {
				x++
			}
			if n := x - from; n > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", from, y, n, n)
			}
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges">`+
		`<path fill="#fff" d="M0 0h%dv%dH0z"/><path fill="#000" d="%s"/></svg>`, c.size, c.size, c.size, c.size, path.String())
}
