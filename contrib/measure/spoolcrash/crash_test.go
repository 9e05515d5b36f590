package main

import (
	"os"
	"testing"
	"time"

	"mailproxy/contrib/measure/torture"
	"mailproxy/internal/child"
)

func TestMain(m *testing.M) {
	child.Main(parts)
	os.Exit(m.Run())
}

func TestKills(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	o := torture.Options{Kills: 6, Life: 400 * time.Millisecond, Dir: t.TempDir(), Keep: true, AtAnswer: true}
	if ok, err := newTorturer(o, 5, 4).Run(t.Context()); err != nil || !ok {
		t.Fatalf("ok %v, %v", ok, err)
	}
}
