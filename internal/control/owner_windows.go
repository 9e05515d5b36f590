package control

import "io/fs"

// ownedBy reports whether a file is that user's. On Windows each user has temporary files
// of their own.
func ownedBy(fs.FileInfo, int) bool { return true }
