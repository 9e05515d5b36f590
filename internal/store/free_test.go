package store

import (
	"errors"
	"testing"
)

func TestFree(t *testing.T) {
	n, err := Free(t.TempDir())
	if errors.Is(err, ErrFreeUnknown) {
		t.Skip(err)
	}
	if err != nil || n <= 0 {
		t.Fatalf("Free = %d, %v", n, err)
	}
	if _, err := Free(t.TempDir() + "/absent"); err == nil {
		t.Fatal("Free of a directory that is not there gave no error")
	}
}
