package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"mailproxy/internal/address"
	"mailproxy/internal/codec"
	"mailproxy/internal/pause"
	"mailproxy/internal/store"
	"mailproxy/proxy/report"
)

// refusedVersion is the version of a refusedTold.
const refusedVersion = 1

// A refusedTold is what an address's user has been told of its registration.
type refusedTold struct {
	Version uint8    `cbor:"1,keyasint"`
	Why     [32]byte `cbor:"2,keyasint"` // SHA-256 of the sentence that was told last
}

func refusedKey(address string) []byte { return []byte("refused/" + address) }

// errTold ends a transaction in which there is nothing to tell.
var errTold = errors.New("it was told")

// refusedForGood has the user told that a provider will not have an address, once for
// each reason: nobody waits for the answer, and whoever has written under the address,
// or given it to others, would not look at a list. It tries until that is on disk, or ctx
// ends; what it could not tell is told after the next start, when it is refused again.
func (a *account) refusedForGood(ctx context.Context, why error) {
	for {
		err := a.tellRefused(why)
		if err == nil {
			return
		}
		a.d.log.Error("proxy: a message about an address that was refused could not be stored yet", "err", err)
		if pause.For(ctx, tendEvery) != nil {
			return
		}
	}
}

// tellRefused puts the message into the Inbox, unless the same was told before.
func (a *account) tellRefused(why error) error {
	sum := sha256.Sum256([]byte(why.Error()))
	key := refusedKey(a.keys.Address())
	err := a.tell(a.refusedNotice(why), nil, func(tx *store.Tx) error {
		var told refusedTold
		switch b, err := tx.Get(key); {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return err
		default:
			if err := codec.Unmarshal(b, &told); err != nil {
				return err
			}
			if told.Version != refusedVersion {
				return fmt.Errorf("what was told of a refusal has version %d, this program reads %d", told.Version, refusedVersion)
			}
			if told.Why == sum {
				return errTold
			}
		}
		b, err := codec.Marshal(refusedTold{Version: refusedVersion, Why: sum})
		if err != nil {
			return err
		}
		return tx.Set(key, b)
	})
	if errors.Is(err, errTold) {
		return nil
	}
	return err
}

// refusedNotice says that an address is not registered, and will not be. (One that was,
// and that its provider has lost, is another matter: see forgot.)
func (a *account) refusedNotice(why error) report.Warning {
	addr := a.keys.Address()
	_, domain := address.Split(addr)
	if a.owner != "" {
		return report.Warning{
			Subject: "Your alias " + addr + " could not be registered",
			Text: "The provider " + domain + " will not have it: " + why.Error() + ".\n\n" +
				"Nobody can write to " + addr + ", and you cannot write from it. Your other addresses are as they were.\n\n" +
				"What to do: take the alias back, and make another one, with a code that is good if the provider wants one:\n\n" +
				"mailproxy alias retire " + addr + "\n\n" +
				"mailproxy alias new " + domain + " --invite CODE",
		}
	}
	return report.Warning{
		Subject: "Your address " + addr + " could not be registered",
		Text: "The provider " + domain + " will not have it: " + why.Error() + ".\n\n" +
			"Nobody can write to " + addr + ", and mail that you write from it does not go out.\n\n" +
			"What to do: take the account off this computer, and add it again with another name, or with a code that is good:\n\n" +
			"mailproxy account delete " + addr + " --mail\n\n" +
			"mailproxy account add NAME@" + domain + " --invite CODE",
	}
}

// leaveAlone says that nobody waits any longer to hear whether the account was refused.
// It returns why it was, if it was meanwhile: then that is the caller's to tell.
func (a *account) leaveAlone() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.awaited = false
	select {
	case err := <-a.refused:
		a.refused <- err
		return err
	default:
		return nil
	}
}

// tellsWaiting has a refusal for whoever asks, and says whether whoever added the account
// waits for it. Under the lock, so that either they tell of it or a message does.
func (a *account) tellsWaiting(refused error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused <- refused // the only one: a.final
	return a.awaited
}
