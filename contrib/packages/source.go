package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// source is the tree that packages are made of.
type source struct {
	root     string
	commit   string
	time     time.Time // of the commit: the time of all files in packages (SOURCE_DATE_EPOCH)
	modified bool      // there are changes that no commit has
	version  string    // by semver.org; what --version says

	maintainer string // NAME <ADDRESS>
}

// git runs git in the tree.
func git(ctx context.Context, root string, args ...string) (string, error) {
	out, err := command(ctx, root, nil, "git", args...)
	return strings.TrimSpace(string(out)), err
}

// readSource finds out what the tree is. The file VERSION has the version that is being
// made: the commit with the tag "v" and that version is it, and all others are on
// the way there and sort before it, by their time.
func readSource(ctx context.Context, root string) (*source, error) {
	head, err := git(ctx, root, "log", "-1", "--format=%H %ct")
	if err != nil {
		return nil, fmt.Errorf("the version and the time of all files come from git: %w", err)
	}
	commit, seconds, _ := strings.Cut(head, " ")
	sec, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("git does not tell the time of the commit: %w", err)
	}
	status, err := git(ctx, root, "status", "--porcelain")
	if err != nil {
		return nil, err
	}
	tags, err := git(ctx, root, "tag", "--points-at", "HEAD")
	if err != nil {
		return nil, err
	}
	number, err := os.ReadFile(filepath.Join(root, "contrib", "packages", "VERSION"))
	if err != nil {
		return nil, fmt.Errorf("read the version: %w", err)
	}
	s := &source{root: root, commit: commit, time: time.Unix(sec, 0).UTC(), modified: status != ""}
	s.version = versionOf(strings.TrimSpace(string(number)), strings.Fields(tags), s)
	return s, nil
}

// versionOf names the version of a commit with those tags.
func versionOf(number string, tags []string, s *source) string {
	version := number + "-" + s.time.Format("20060102150405") + "." + s.commit[:min(12, len(s.commit))]
	for _, tag := range tags {
		if tag == "v"+number {
			version = number
		}
	}
	if s.modified {
		version += "+modified"
	}
	return version
}

// command runs a program in dir, with more environment, and returns its standard
// output. What it says besides is in the error.
func command(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	if err != nil {
		return out, fmt.Errorf("run %s: %w", name, err)
	}
	return out, nil
}
