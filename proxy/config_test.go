package proxy

import (
	"strings"
	"testing"
)

// TestConfigIsRefused: whoever has a file that cannot be used is told what to do about it.
func TestConfigIsRefused(t *testing.T) {
	const network = "\n[network]\ndocument = 'network.note'\n"
	for _, test := range []struct{ name, text, want string }{
		{"a newer one", "version = 9" + network, "version 9, and this program reads 1: it was written by a newer mailproxy, so install that"},
		{"none that there was", "version = -1" + network, "version -1, which there never was: it should begin with version = 1"},
		{"no version", network, "names no version: it should begin with version = 1"},
		{"an unknown setting", "version = 1\ncolour = 'red'" + network, "Correct these lines, or take them out; there are dir, network.document, "},
		{"a slip", "version = = 1" + network, "line 1, column "},
		{"what to do about a slip", "version = = 1" + network, "; correct that line, or take it out"},
		{"a value of another kind", "version = 'one'" + network, "; correct that line, or take it out"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseConfig("mailproxy.toml", []byte(test.text))
			if err == nil || !strings.HasPrefix(err.Error(), "configuration mailproxy.toml") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
		})
	}
}
