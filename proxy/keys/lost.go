package keys

import (
	"fmt"

	"mailproxy/internal/store"
)

// Generation returns the generation of the provider's store that Lost was called
// with last, or zero.
func (a *Account) Generation() uint64 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.generation
}

// Lost records, durably and at once, that the provider's store is of this generation
// and may have neither the append key nor the key bundle any more: both are to be
// published again. A generation that is lower than one before is not noted.
func (a *Account) Lost(generation uint64) error {
	err := a.store.Update(func(tx *store.Tx) error {
		v, err := readView(tx, a.address)
		if err != nil {
			return err
		}
		v.state.Generation, v.state.Lost = max(generation, v.state.Generation), true
		r, err := readAppend(tx, a.address)
		if err != nil {
			return err
		}
		if r != nil {
			r.Published = false
			if err := put(tx, key(a.address, kindAppend), r); err != nil {
				return err
			}
			a.adoptAppend(tx, r)
		}
		tx.OnCommit(func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.generation = max(a.generation, v.state.Generation)
		})
		return put(tx, key(a.address, kindState), v.state)
	})
	if err != nil {
		return fmt.Errorf("record that the provider lost keys: %w", err)
	}
	return nil
}
