package spool

// GenerationShift says which bits of a sequence number are the generation of its
// store: those above the lowest 29. That leaves each generation numbers for half a
// thousand million blocks of each spool, and more than enough generations: they are
// counted in seconds.
const GenerationShift = 29

// Generation returns the generation of the store that gave a sequence number. It is
// zero for a store that was never restored, and grows with every restore: what was
// told to the service before may be lost then.
func Generation(seq uint64) uint64 { return seq >> GenerationShift }
