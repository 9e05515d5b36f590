package proxy

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"mailproxy/internal/codec"
	"mailproxy/internal/store"
	"mailproxy/proxy/headers"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/report"
)

// leaksVersion is the version of a leaksTold.
const leaksVersion = 1

// A leaksTold is what an account's user has been told of leaks.
type leaksTold struct {
	Version uint8         `cbor:"1,keyasint"`
	Kinds   headers.Leaks `cbor:"2,keyasint"`
}

func leaksKey(address string) []byte { return []byte("leaks/" + address) }

func readLeaksTold(tx *store.Tx, address string) (headers.Leaks, error) {
	b, err := tx.Get(leaksKey(address))
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var told leaksTold
	if err := codec.Unmarshal(b, &told); err != nil {
		return 0, err
	}
	if told.Version != leaksVersion {
		return 0, fmt.Errorf("what was told of leaks has version %d, this program reads %d", told.Version, leaksVersion)
	}
	return told.Kinds, nil
}

// tellLeaks puts a warning into the Inbox about what a mail repeats in a part that
// the header policy may not change. It is a warning and not a refusal, since the user
// signs on purpose and the mail is no worse than it would be anywhere else; and each
// kind is told once, since every mail of the same program has it.
func (s sending) tellLeaks(found headers.Leaks) error {
	addr := s.keys.Address()
	s.telling.Lock()
	defer s.telling.Unlock()
	var told headers.Leaks
	err := s.d.store.View(func(tx *store.Tx) (err error) {
		told, err = readLeaksTold(tx, addr)
		return err
	})
	if err != nil {
		return fmt.Errorf("warn of leaks: %w", err)
	}
	fresh := found &^ told
	if fresh == 0 {
		return nil
	}
	text, err := report.BuildWarning(report.Warning{
		To: addr, Subject: "Your signed mail says more than other mail", Text: leaksText(fresh), Now: s.d.opt.Now(), Rand: rand.Reader,
		Detail: "a part covered by a signature, or marked as protected (RFC 9788, RFC 8551 section 3.1), or the header of an OpenPGP block, " +
			"has fields that the header policy removes at the top of a mail",
	})
	if err != nil {
		return fmt.Errorf("warn of leaks: %w", err)
	}
	mail, err := s.d.mail.Account(s.home())
	if err != nil {
		return fmt.Errorf("warn of leaks: %w", err)
	}
	staged, err := s.d.mail.Stage(text)
	if err != nil {
		return fmt.Errorf("warn of leaks: %w", err)
	}
	err = s.d.store.Update(func(tx *store.Tx) error {
		if _, err := mail.DeliverTx(tx, mailbox.Inbox, staged, []string{mailbox.KeywordNotice}, s.d.opt.Now()); err != nil {
			return err
		}
		b, err := codec.Marshal(leaksTold{Version: leaksVersion, Kinds: told | fresh})
		if err != nil {
			return err
		}
		return tx.Set(leaksKey(addr), b)
	})
	if err != nil {
		return errors.Join(fmt.Errorf("warn of leaks: %w", err), s.d.mail.Discard(staged))
	}
	return nil
}

func leaksText(found headers.Leaks) string {
	return "A mail that you have just sent carries a part that is signed or encrypted by your mail program. mailproxy does not change such a part, " +
		"because the signature would break; so it could not remove from it what it removes from every mail. Those who get the mail can see in it: " +
		strings.Join(found.Texts(), "; ") + ". The mail goes out as it is, and nobody but its recipients can read it. " +
		"If they should not see this, look in your mail program's settings for protected headers, for a comment or version line in signatures, " +
		"or sign no mail to them. You are told this once, for each kind of thing that your mail shows."
}
