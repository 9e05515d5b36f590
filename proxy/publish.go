package proxy

import (
	"context"
	"crypto/ed25519"
	"errors"

	"mailproxy/mixclient"
	"mailproxy/spool"
	"mailproxy/spool/client"
)

// rekey has the append key published soon.
func (a *account) rekey() {
	select {
	case a.rekeyed <- struct{}{}:
	default:
	}
}

// publish replaces the prekey when it is due, and the bundle and the append key at
// the provider when that has older ones. An account that the provider has lost is
// registered before.
func (a *account) publish(ctx context.Context) {
	if a.ending() == Active {
		if !a.registerAgain(ctx) {
			return // there is nowhere to publish them
		}
		a.publishBundle(ctx)
	}
	a.publishAppendKey(ctx)
}

// publishAppendKey gives the spool the append key that it does not have.
func (a *account) publishAppendKey(ctx context.Context) {
	for ctx.Err() == nil {
		k, published := a.keys.AppendKey()
		if published {
			return
		}
		err := a.client().Access(ctx, a.keys.ReadKey(), k.Key.Public().(ed25519.PublicKey), k.Version)
		switch {
		case err == nil:
			err = a.keys.AppendPublished(k.Version)
		case errors.Is(err, client.ErrStale) && k.Version < spool.MaxSequence:
			err = a.keys.SkipAppend()
		}
		if err != nil && !errors.Is(err, mixclient.ErrLost) {
			if ctx.Err() == nil {
				a.d.log.Warn("proxy: the append key could not be published; trying again later", "err", err)
			}
			return
		}
	}
}

func (a *account) publishBundle(ctx context.Context) {
	if _, err := a.keys.Rotate(); err != nil {
		a.d.log.Error("proxy: prekey rotation failed", "err", err)
	}
	for ctx.Err() == nil {
		signed, err := a.keys.Unpublished()
		if err != nil {
			a.d.log.Error("proxy: key bundle", "err", err)
			return
		}
		if signed == nil {
			return
		}
		bundle, err := signed.Open()
		if err == nil {
			err = a.client().Replace(ctx, a.keys.IdentityKey(), signed)
		}
		if err == nil {
			err = a.keys.Published(bundle.Version)
		}
		if err != nil && !errors.Is(err, mixclient.ErrLost) {
			if ctx.Err() == nil {
				a.d.log.Warn("proxy: the key bundle could not be published; trying again later", "err", err)
			}
			return
		}
	}
}
