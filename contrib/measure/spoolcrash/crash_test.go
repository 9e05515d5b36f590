package main

import (
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	os.Exit(m.Run())
}

func TestKills(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	c := config{kills: 6, spools: 5, clients: 4, life: 400 * time.Millisecond, dir: t.TempDir()}
	if ok, err := run(t.Context(), c, true); err != nil || !ok {
		t.Fatalf("ok %v, %v", ok, err)
	}
}
