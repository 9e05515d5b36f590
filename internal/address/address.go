// Package address gives an address of the network its one spelling, by which
// accounts, contacts and bundles are kept and compared. What such an address
// looks like is decided by package spool, where it is registered.
//
// It is not a parser of mail headers: addresses of the ordinary mail system may
// be richer than these. It may be imported by proxy and the packages beneath it.
package address

import "mailproxy/spool"

// Canonical returns the normal form of addr, or an error that wraps
// spool.ErrAddress if it is not an address of the network.
func Canonical(addr string) (string, error) {
	name, domain, err := spool.ParseAddress(addr)
	if err != nil {
		return "", err
	}
	return name + "@" + domain, nil
}

// IsCanonical reports whether addr is an address in its normal form.
func IsCanonical(addr string) bool {
	c, err := Canonical(addr)
	return err == nil && c == addr
}

// Same reports whether a and b are addresses of the network and the same one.
func Same(a, b string) bool {
	ca, errA := Canonical(a)
	cb, errB := Canonical(b)
	return errA == nil && errB == nil && ca == cb
}
