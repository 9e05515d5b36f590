package server

// windowSize is how many nonces below the highest can still be told apart. Reads
// in flight overtake each other; with a few of them per second there are never
// as many at once.
const windowSize = 256

// A window remembers which nonces were used, as the anti-replay window of RFC
// 6347 section 4.1.2.6 does (and RFC 4303 section 3.4.3): one bit for each of the
// windowSize nonces up to the highest. What is older counts as used.
type window struct {
	used bool // some nonce was
	top  uint64
	bits [windowSize / 64]uint64 // the bit of nonce n is n mod windowSize
}

// fresh says whether nonce was not used yet.
func (w *window) fresh(nonce uint64) bool {
	switch {
	case !w.used || nonce > w.top:
		return true
	case w.top-nonce >= windowSize:
		return false
	}
	return w.bits[nonce%windowSize/64]&(1<<(nonce%64)) == 0
}

// use marks a fresh nonce as used.
func (w *window) use(nonce uint64) {
	switch {
	case !w.used || nonce > w.top && nonce-w.top >= windowSize:
		w.bits = [windowSize / 64]uint64{}
		w.top = nonce
	case nonce > w.top:
		// The bits between the old top and the new stood for older nonces.
		for n := w.top + 1; n != nonce; n++ {
			w.bits[n%windowSize/64] &^= 1 << (n % 64)
		}
		w.top = nonce
	}
	w.used = true
	w.bits[nonce%windowSize/64] |= 1 << (nonce % 64)
}
