package proxy

import (
	"errors"
	"fmt"

	"mailproxy/internal/address"
	"mailproxy/internal/store"
	"mailproxy/spool"
)

// A refusedError is a provider's refusal in a sentence that says what to do. It
// unwraps to what the provider answered.
type refusedError struct {
	text string
	err  error
}

func (e *refusedError) Error() string { return e.text }
func (e *refusedError) Unwrap() error { return e.err }

// unexplained is what of err may be in a log: the provider's answer, and not the sentence
// made of it, which names the address.
func unexplained(err error) error {
	var e *refusedError
	if errors.As(err, &e) {
		return e.err
	}
	return err
}

// explain puts a provider's refusal about the account addr into such a sentence. It
// returns err as it is where there is nothing to add.
func explain(err error, addr string) error {
	name, domain := address.Split(addr)
	var text string
	switch {
	case errors.Is(err, spool.StatusTaken):
		text = fmt.Sprintf("the name %s is taken at %s; choose another one", name, domain)
	case errors.Is(err, spool.StatusReserved):
		text = fmt.Sprintf("the name %s is kept for those who run %s; choose another one", name, domain)
	case errors.Is(err, spool.StatusBadName):
		text = fmt.Sprintf("%s cannot be a name at %s: names have letters a to z, digits, and single . - _ between them; choose another one", name, domain)
	case errors.Is(err, spool.StatusInvite):
		text = fmt.Sprintf("%s takes new accounts by invitation only, and there was no code with this one, or one that is unknown, used up or expired; ask your provider for another invitation (mailproxy join INVITATION, or its code with --invite)", domain)
	case errors.Is(err, spool.StatusRevoked):
		text = fmt.Sprintf("%s was deleted at %s, or its keys were revoked, and that is for good; choose another name", addr, domain)
	case errors.Is(err, spool.StatusSuspended):
		text = fmt.Sprintf("%s has suspended %s; ask the provider why", domain, addr)
	case errors.Is(err, spool.StatusBusy):
		text = fmt.Sprintf("%s has too much to do at the moment; mailproxy goes on trying", domain)
	case errors.Is(err, spool.StatusExpired), errors.Is(err, spool.StatusTooFar):
		text = clocks(err, domain)
	case errors.Is(err, spool.StatusVersion), errors.Is(err, spool.StatusUnknownRequest):
		text = fmt.Sprintf("%s and this program speak different versions of the protocol; update mailproxy, or tell the provider", domain)
	case errors.Is(err, store.ErrFull):
		text = fmt.Sprintf("there is no room on this computer's disk: new mail waits at %s until you have freed some, at least %d MB", domain, reserve>>20)
	default:
		return err
	}
	return &refusedError{text: text, err: err}
}

func clocks(err error, domain string) string {
	var refused *spool.Refused
	if !errors.As(err, &refused) {
		return err.Error()
	}
	return fmt.Sprintf("the clocks of this computer and of %s differ; there it is %s: set this computer's clock", domain, refused.Time.UTC().Format("15:04:05 UTC on 2 January 2006"))
}
