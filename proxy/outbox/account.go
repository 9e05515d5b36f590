package outbox

import (
	"context"
	"io"
	"strings"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/proxy/contacts"
	"mailproxy/proxy/seal"
	"mailproxy/spool"
	"mailproxy/spool/client"
)

// An Account is who sends, as far as the outbox needs to know. proxy provides
// it from the account's keys, contacts and header policy.
type Account interface {
	Address() string
	// Owns reports whether the account may send as address.
	Owns(address string) bool
	// Network is the engine by which the account's mail leaves.
	Network() mixclient.Network
	// Clean applies the header policy to a message while that is read. Its error, and
	// that of reading what it returns, is a *refusal.Error or the message's own.
	Clean(message io.Reader, s *Submission) (*Cleaned, error)
	// Sender returns the keys to authenticate with.
	Sender() (seal.Sender, error)
	// Bundle returns the key bundle to seal to, if a fresh one is known. It
	// returns ErrUnknown when it must be looked up, ErrHeld when the identity key
	// changed and the user has not decided, and ErrUnlogged.
	Bundle(address string) (*spool.Bundle, error)
	// LookUp asks a spool service for the keys of a name, and returns them if the
	// service's key log holds them, or may; else an error that wraps ErrUnlogged.
	LookUp(ctx context.Context, service mixclient.Service, name string) (*client.Found, error)
	// Learn takes what a look-up brought: the bundle, and what a stranger's block
	// costs at the recipient's service. It returns ErrHeld when the identity key is
	// another than the pinned one, ErrRejected when it is one that the user has
	// rejected, or another error when the bundle is not to be used.
	Learn(address string, found *client.Found) error
	// Lane says how to append to the recipient's spool.
	Lane(address string) (contacts.Lane, error)
	// LaneRefused notes that the recipient's service did not take the lane tried,
	// and what a stranger's block costs there now.
	LaneRefused(address string, tried contacts.Lane, terms spool.Terms) error
	// Beside returns what is told to the recipient beside the content of a message
	// of this kind, as extensions of the seal. told, nil if there is nothing to
	// note, is called in the transaction by which the message is sealed; its
	// ErrSuperseded has Beside asked anew.
	Beside(kind seal.Kind, address string) (extensions map[uint64][]byte, told func(*store.Tx) error, err error)
}

// A Cleaned message is one as it is to be sealed.
type Cleaned struct {
	Message io.Reader
	// OriginalID is the Message-ID by which the mail program knows it; may be empty.
	OriginalID string
	// Note is called in the transaction that accepts the message; may be nil.
	Note func(tx *store.Tx) error
	// Accepted is called once the message was read to io.EOF and accepted; may be nil.
	Accepted func()
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
