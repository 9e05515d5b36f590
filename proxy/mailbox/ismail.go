package mailbox

import "bytes"

// mailPrefixes are those of all that is kept of messages. Folders, and the UIDs and
// UIDVALIDITYs that were given out, are not among it.
var mailPrefixes = [][]byte{key("m"), key("i"), key("r"), key("e"), key("b"), key("c")}

// IsMail reports whether a key of the store belongs to a message. A store without these
// keys has the same folders, empty, and never gives out a UID again.
func IsMail(k []byte) bool {
	for _, p := range mailPrefixes {
		if bytes.HasPrefix(k, p) {
			return true
		}
	}
	return false
}
