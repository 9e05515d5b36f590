//go:build race

package demo

// With the race detector the packets of a network take several times as long to
// make, beyond what speed measures.
const (
	fastest = 6 // see speed
	slow    = 3 // factor of times that are not the network's
)
