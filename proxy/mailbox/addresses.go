package mailbox

import (
	"strings"

	"github.com/emersion/go-message/mail"
)

// addresses parses one address field. Where it is malformed, its text becomes
// the name of one address, so that the reader sees what came.
func addresses(h mail.Header, name string) []Address {
	v := h.Get(name)
	if v == "" {
		return nil
	}
	var out []Address
	for _, g := range splitGroups(v) {
		if len(out) >= maxAddresses {
			break
		}
		if g.name != "" {
			out = append(out, Address{Mailbox: g.name})
		}
		if g.list != "" {
			out = append(out, addressList(g.list)...)
		}
		if g.name != "" {
			out = append(out, Address{})
		}
	}
	return out
}

func addressList(v string) []Address {
	list, err := mail.ParseAddressList(v)
	if err != nil {
		// The mailbox and host are what other servers write here, too.
		return []Address{{Name: clip(decodeText(v), maxText), Mailbox: "MISSING_MAILBOX", Host: "MISSING_DOMAIN"}}
	}
	var out []Address
	for _, a := range list[:min(len(list), maxAddresses)] {
		local, host := a.Address, ""
		if i := strings.LastIndexByte(a.Address, '@'); i >= 0 {
			local, host = a.Address[:i], a.Address[i+1:]
		}
		out = append(out, Address{
			Name:    clip(a.Name, maxText),
			Mailbox: clip(local, maxText),
			Host:    clip(host, maxText),
		})
	}
	return out
}

// An addressGroup is a part of an address field: addresses that are in one group,
// or with an empty name in none.
type addressGroup struct{ name, list string }

// splitGroups cuts an address field at its groups (RFC 5322 section 3.4), whose
// names the parser of addresses leaves out. A field that is malformed stays in one
// piece.
func splitGroups(v string) []addressGroup {
	whole := []addressGroup{{list: v}}
	if !strings.Contains(v, ":") {
		return whole
	}
	var out []addressGroup
	add := func(name, list string) {
		if list = strings.Trim(list, " \t,"); name != "" || list != "" {
			out = append(out, addressGroup{name, list})
		}
	}
	name := "" // of the group that is open
	start, comma := 0, 0
	for i, c := range topLevel(v) {
		switch {
		case c == ',' && name == "":
			comma = i + 1
		case c == ':' && name == "":
			name = clip(strings.Trim(decodeText(strings.TrimSpace(v[comma:i])), `"`), maxText)
			if name == "" {
				return whole
			}
			add("", v[start:comma])
			start = i + 1
		case c == ';' && name != "":
			add(name, v[start:i])
			name, start, comma = "", i+1, i+1
		}
	}
	if name != "" {
		return whole
	}
	add("", v[start:])
	return out
}

// topLevel yields the bytes of an address field that are in no quoted string, no
// comment, no angle brackets and no domain literal.
func topLevel(v string) func(yield func(int, byte) bool) {
	return func(yield func(int, byte) bool) {
		quoted, comments, brackets := false, 0, 0
		for i := 0; i < len(v); i++ {
			c := v[i]
			switch {
			case c == '\\' && (quoted || comments > 0):
				i++
			case quoted:
				quoted = c != '"'
			case c == '(':
				comments++
			case c == ')' && comments > 0:
				comments--
			case comments > 0:
			case c == '"':
				quoted = true
			case c == '<' || c == '[':
				brackets++
			case (c == '>' || c == ']') && brackets > 0:
				brackets--
			case brackets == 0:
				if !yield(i, c) {
					return
				}
			}
		}
	}
}
