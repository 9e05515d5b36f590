package badgerstore

import (
	"context"
	"fmt"
	"time"
)

// mostProblems is how many problems a Report spells out.
const mostProblems = 100

// A Report is what Verify found.
type Report struct {
	Names      int           `json:"names"`
	Spools     int           `json:"spools"` // erased ones as well
	Blocks     int           `json:"blocks"`
	Bytes      int64         `json:"bytes"` // of the blocks, all of which were read
	Remembered int           `json:"remembered"`
	LogSize    uint64        `json:"log_size"`
	Invites    int           `json:"invites"`
	Took       time.Duration `json:"took"`

	// Wrong is how many things are wrong, Problems the first of them, in words.
	Wrong    int      `json:"wrong"`
	Problems []string `json:"problems"`

	damaged []place
}

// Damaged returns how many blocks are not what was appended. DropDamaged removes
// them.
func (r *Report) Damaged() int { return len(r.damaged) }

// DropDamaged removes the blocks that Verify found damaged, so that their spools
// can be read on. Their ids are not remembered: who still has one can append it
// again.
func (s *Store) DropDamaged(ctx context.Context, r Report) (dropped int, err error) {
	for _, p := range r.damaged {
		n, err := s.remove(ctx, []place{p}, time.Time{})
		if err != nil {
			return dropped, fmt.Errorf("drop damaged blocks: %w", err)
		}
		dropped += n
	}
	return dropped, nil
}
