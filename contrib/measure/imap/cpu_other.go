//go:build !unix

package main

import "time"

// ownCPU is not known here; Dovecot is not to be had either.
func ownCPU() time.Duration { return 0 }
