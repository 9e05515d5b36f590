package outbox

import (
	"strings"

	"mailproxy/internal/address"
	"mailproxy/mixclient"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
)

// An Account is who sends, as far as the outbox needs to know. proxy provides
// it from the account's keys, contacts and header policy.
type Account interface {
	Address() string
	// Owns reports whether the account may send as address.
	Owns(address string) bool
	// Network is the engine by which the account's mail leaves.
	Network() mixclient.Network
	// Clean applies the header policy. Its error is a *refusal.Error.
	Clean(message []byte) ([]byte, error)
	// Sender returns the keys to authenticate with.
	Sender() (seal.Sender, error)
	// Bundle returns the key bundle to seal to, if a fresh one is known. It
	// returns ErrUnknown when it must be looked up, and ErrHeld when the identity
	// key changed and the user has not decided.
	Bundle(address string) (*spool.Bundle, error)
	// Learn takes a bundle that was looked up. It returns ErrHeld when the
	// identity key is another than the pinned one, or another error when the
	// bundle is not to be used.
	Learn(address string, bundle *spool.SignedBundle) error
}

// parseAddress cuts an address of the network into its canonical parts.
func parseAddress(a string) (name, domain string, err error) {
	if a, err = address.Canonical(a); err != nil {
		return "", "", err
	}
	name, domain = address.Split(a)
	return name, domain, nil
}

// domainOf returns what follows the last @, in lower case.
func domainOf(a string) string {
	i := strings.LastIndexByte(a, '@')
	if i <= 0 {
		return ""
	}
	return strings.ToLower(a[i+1:])
}
