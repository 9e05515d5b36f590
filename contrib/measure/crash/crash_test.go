package main

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"mailproxy/internal/child"
)

func TestMain(m *testing.M) {
	child.Main(parts)
	os.Exit(m.Run())
}

// A few kills lose no mail and duplicate none. The program itself does many.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o := options{
		kills: 4, scale: 40, seed: rand.Uint64(), life: 1500 * time.Millisecond, drain: time.Minute, pending: 15,
		dir: t.TempDir(), out: t.Output(),
	}
	ok, err := o.run(ctx)
	if err != nil {
		t.Error(err)
	}
	if !ok || err != nil {
		log, err := os.ReadFile(o.dir + "/" + logFile)
		t.Fatalf("see above; the child said: %s %v", log, err)
	}
}
