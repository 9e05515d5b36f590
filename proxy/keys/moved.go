package keys

import (
	"encoding/binary"
	"fmt"
	"math"

	"mailproxy/internal/store"
)

// Ahead counts so many starts of the daemon for all accounts, as if there had been so
// many. The nonces of whoever has another copy of these keys are too old from the first
// read on: the provider refuses that daemon at once, and goes on doing so.
func Ahead(tx *store.Tx, starts uint32) error {
	list, err := List(tx)
	if err != nil {
		return err
	}
	for _, addr := range list {
		b, err := tx.Get(key(addr, kindBoot))
		if err != nil {
			return fmt.Errorf("count starts: %w", err)
		}
		if len(b) != 4 {
			return fmt.Errorf("count starts: %w: start counter has %d bytes", ErrRecord, len(b))
		}
		n := binary.BigEndian.Uint32(b)
		if n > math.MaxUint32-starts {
			return fmt.Errorf("count starts: %w: start counter is %d", ErrRecord, n)
		}
		if err := tx.Set(key(addr, kindBoot), binary.BigEndian.AppendUint32(nil, n+starts)); err != nil {
			return fmt.Errorf("count starts: %w", err)
		}
	}
	return nil
}
