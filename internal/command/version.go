package command

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
)

type versionCmd struct{ JSONFlag }

// Run prints the version.
func (c versionCmd) Run(vars kong.Vars) error {
	return c.Say(buildOf(vars[versionVar]), func() { fmt.Println(vars[versionVar]) })
}

// A build is what is known of how this program was made.
type build struct {
	Program  string `json:"program"`
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source
	Time     string `json:"time,omitempty"`     // of that revision
	Modified bool   `json:"modified,omitempty"` // the source was not as in that revision
	Go       string `json:"go"`
	System   string `json:"system"`
}

func buildOf(named string) build {
	b := build{Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	b.Program, b.Version, _ = strings.Cut(named, " ")
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
