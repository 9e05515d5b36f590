package mailbox

import "slices"

// Last returns the messages that came into the folder last, at most n, the newest
// first.
func (f *Folder) Last(n int) (list []Message, err error) {
	err = f.read(func() error {
		list = slices.Clone(f.messages[max(0, len(f.messages)-n):])
		return nil
	})
	slices.Reverse(list)
	return list, err
}
