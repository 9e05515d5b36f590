package proxy

import (
	"fmt"
	"path/filepath"

	"mailproxy/internal/store"
	"mailproxy/proxy/storekey"
)

// holderWords says which process has the store of a data directory, if that is known.
func holderWords(dir string) string {
	pid, ok := store.Holder(filepath.Join(dir, storekey.StoreDir))
	if !ok {
		return ""
	}
	return fmt.Sprintf(", as process %d", pid)
}
