package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// versionVariable is where the programs look for their version.
const versionVariable = "mailproxy/internal/command.release"

// goEnv is what makes a build the same wherever it runs: nothing of the environment
// is left that changes what the compiler does. cache is where compiled packages are
// kept; the user's own if empty.
func goEnv(t target, src *source, cache string) []string {
	env := []string{
		"CGO_ENABLED=0", "GOOS=" + t.os, "GOARCH=" + t.arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-trimpath -mod=readonly", "GOEXPERIMENT=", "GOFIPS140=off", "GODEBUG=", "GOWORK=off", "GO111MODULE=on",
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", src.time.Unix()),
	}
	if cache != "" {
		env = append(env, "GOCACHE="+cache)
	}
	return env
}

// compile builds programs, named by their folders in cmd/, into dir.
//
// The version is stamped by the linker. Go's own stamp is left out: it says nothing in
// a linked worktree or in an unpacked archive, and so the same source would give
// other bytes there. The build id, which depends on what was compiled before, goes
// too, and with it the symbol tables, a third of the size; stack traces stay whole.
func compile(ctx context.Context, src *source, t target, dir, cache string, programs ...string) error {
	args := []string{"build", "-buildvcs=false", "-ldflags=-s -w -buildid= -X " + versionVariable + "=" + src.version, "-o", dir + string(filepath.Separator)}
	for _, p := range programs {
		args = append(args, "./cmd/"+p)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := command(ctx, src.root, goEnv(t, src, cache), "go", args...); err != nil {
		return fmt.Errorf("build for %s: %w", t, err)
	}
	return nil
}

// binary is the file name of a program.
func (t target) binary(program string) string {
	if t.os == "windows" {
		return program + ".exe"
	}
	return program
}
