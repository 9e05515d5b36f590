package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"mailproxy/internal/store"
	"mailproxy/spool"
)

// generationShift is where the generation is in a sequence number. Daemons look at it
// too, to see that the store was restored.
const generationShift = spool.GenerationShift

// last returns the sequence number that a spool has given last, or may have: a
// store that was restored does not know what was given after its backup was made,
// and gives none below the floor of its generation. Were such a number given
// again, a reader whose cursor is from before would trim the block unread.
func (s *Store) last(r *spoolRecord) uint64 { return max(r.Last, s.floor) }

// getGeneration returns zero for a store that was never restored.
func getGeneration(tx *store.Tx) (uint64, error) {
	raw, err := tx.Get(generationKey)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case len(raw) != 8 || binary.BigEndian.Uint64(raw) >= 1<<(63-generationShift):
		return 0, fmt.Errorf("%w: the generation is %x", ErrRecord, raw)
	}
	return binary.BigEndian.Uint64(raw), nil
}

// nextGeneration returns the generation of a restored store: above that of its
// backup, and of whatever was restored from the same backup before, since it is
// the time; and above all numbers that the backup knows of.
func nextGeneration(backup, last uint64, now time.Time) uint64 {
	return max(backup+1, last>>generationShift+1, uint64(max(0, now.Unix())))
}
