package qrcode

import (
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

var texts = map[string]string{
	"safety": "MAILPROXY:1:" + strings.Repeat("ABCDEFG234567HIJ", 3) + "ABCD:" + strings.Repeat("Q7ZXAB", 8) + "ZZZZ",
	"url":    "https://127.0.0.1:1180/?token=abcDEF-_123",
	"umlaut": "Grüße, 日本",
	"one":    "1",
}

// scan reads a picture of a code as a camera's program does.
func scan(t *testing.T, img image.Image) string {
	t.Helper()
	bits, err := gozxing.NewBinaryBitmapFromImage(img)
	if err != nil {
		t.Fatal(err)
	}
	r, err := qrcode.NewQRCodeReader().Decode(bits, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_CHARACTER_SET: "UTF-8"})
	if err != nil {
		t.Fatalf("it cannot be read: %v", err)
	}
	return r.GetText()
}

func TestOthersCanReadIt(t *testing.T) {
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			c, err := New(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, colour := range []bool{false, true} {
				if got := scan(t, screen(t, c.Terminal(colour))); got != text {
					t.Errorf("the terminal says %q, want %q", got, text)
				}
			}
			if err := wellFormed(c.SVG()); err != nil {
				t.Errorf("the SVG: %v", err)
			}
			if got := scan(t, drawn(t, c)); got != text {
				t.Errorf("the SVG says %q, want %q", got, text)
			}
		})
	}
}

// screen takes a picture of a dark terminal.
func screen(t *testing.T, out string) image.Image {
	t.Helper()
	const scale = 6
	out = strings.NewReplacer("\x1b[97;40m", "", "\x1b[0m", "").Replace(out)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	width := len([]rune(lines[0]))
	img := image.NewGray(image.Rect(0, 0, width*scale, 2*len(lines)*scale))
	for y, line := range lines {
		if n := len([]rune(line)); n != width {
			t.Fatalf("line %d has %d characters, the first %d", y, n, width)
		}
		for x, r := range []rune(line) {
			upper, lower := r == '█' || r == '▀', r == '█' || r == '▄'
			for i := range scale * scale {
				px, py := x*scale+i%scale, 2*y*scale+i/scale
				if upper {
					img.SetGray(px, py, color.Gray{Y: 255})
				}
				if lower {
					img.SetGray(px, py+scale, color.Gray{Y: 255})
				}
			}
		}
	}
	return img
}

// drawn paints the bars of an SVG.
func drawn(t *testing.T, c *Code) image.Image {
	t.Helper()
	const scale = 5
	img := image.NewGray(image.Rect(0, 0, c.size*scale, c.size*scale))
	for i := range img.Pix {
		img.Pix[i] = 255
	}
	_, bars, _ := strings.Cut(c.SVG(), `fill="#000" d="`)
	bars, _, _ = strings.Cut(bars, `"`)
	for bar := range strings.SplitSeq(strings.TrimSuffix(bars, "z"), "z") {
		var x, y, n int
		if _, err := fmt.Sscanf(bar, "M%d %dh%dv1", &x, &y, &n); err != nil {
			t.Fatalf("bar %q: %v", bar, err)
		}
		for i := range n * scale * scale {
			img.SetGray(x*scale+i%(n*scale), y*scale+i/(n*scale), color.Gray{})
		}
	}
	return img
}

func wellFormed(svg string) error {
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestBounds(t *testing.T) {
	if _, err := New(strings.Repeat("x", 3000)); err == nil {
		t.Error("a code of 3000 bytes was drawn")
	}
	// What contacts show fits a terminal of 80 columns and 24 lines.
	if c, err := New(texts["safety"]); err != nil || c.size > 48 {
		t.Errorf("a safety number's code has %d modules on a side, %v", c.size, err)
	}
}
