package main

import (
	"strings"

	"mailproxy/contrib/measure/daemon"
	"mailproxy/internal/child"
	"mailproxy/proxy"
)

// userPart is the part of the process that is measured.
const userPart = "user"

// parts are what this program does in processes of their own.
var parts = map[string]child.Part{
	daemon.NetworkPart: child.Func(daemon.RunNetwork),
	userPart:           child.Func(runUser),
}

// A profileRequest asks where the memory is.
type profileRequest struct{}

// runUser runs the user's daemon, and says where its memory is as often as it is asked.
func runUser(config string) error {
	return daemon.Run(config, func(*proxy.Daemon) error {
		return child.Serve(func(profileRequest) (string, error) {
			var text strings.Builder
			printProfile(&text)
			return text.String(), nil
		})
	})
}
