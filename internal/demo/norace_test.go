//go:build !race

package demo

const (
	speed = 20 // see newWorld
	slow  = 1  // factor of times that are not the network's
)
