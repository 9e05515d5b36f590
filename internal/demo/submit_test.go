package demo

import "testing"

func TestWithFrom(t *testing.T) {
	const from = "From: " + Alice + "\r\n"
	for name, c := range map[string][2]string{
		"none":             {"To: b\r\n\r\nFrom: x\r\n", from + "To: b\r\n\r\nFrom: x\r\n"},
		"one":              {"To: b\r\nFrom: x\r\nCc: c\r\n\r\n", from + "To: b\r\nCc: c\r\n\r\n"},
		"two, folded":      {"FROM : x,\n y\nTo: b\nfrom:\n\tz\nCc: c\n\nbody", from + "To: b\nCc: c\n\nbody"},
		"header only":      {"From: x\nTo: b", from + "To: b"},
		"nothing":          {"", from},
		"body only":        {"\r\nFrom: x", from + "\r\nFrom: x"},
		"mbox":             {"From MAILER-DAEMON Fri Apr 06 16:46:09 2001\nFrom: x\nTo: b\n\n", "From MAILER-DAEMON Fri Apr 06 16:46:09 2001\n" + from + "To: b\n\n"},
		"lines end by CR":  {"From: x\rTo: b\r\rbody", from + "From: x\rTo: b\r\rbody"},
		"another's name":   {"From-Also: x\n\n", from + "From-Also: x\n\n"},
		"no field at all":  {"From nowhere\r\n", "From nowhere\r\n" + from},
		"a folded nothing": {" x\nTo: b\n\n", from + " x\nTo: b\n\n"},
	} {
		if got := string(WithFrom([]byte(c[0]), Alice)); got != c[1] {
			t.Errorf("%s: %q, want %q", name, got, c[1])
		}
	}
}
