//go:build race

package demo

// With the race detector the packets of a network take several times as long to
// make.
const (
	speed = 6 // see newWorld
	slow  = 3 // factor of times that are not the network's
)
