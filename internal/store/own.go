package store

import "bytes"

// ownPrefix begins the keys of the store's own records.
var ownPrefix = []byte("\x00store/")

// Own reports whether a key is that of a record of the store's own, which whoever
// copies a store leaves out: the copy has its own.
func Own(key []byte) bool { return bytes.HasPrefix(key, ownPrefix) }
