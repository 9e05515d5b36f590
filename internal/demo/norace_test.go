//go:build !race

package demo

const (
	fastest = 15 // see speed
	slow    = 1  // factor of times that are not the network's
)
