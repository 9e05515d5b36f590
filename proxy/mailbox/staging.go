package mailbox

import (
	"slices"
	"sync"
	"time"

	"mailproxy/internal/store"
)

// stagedBodies knows the bodies that are being staged, so that Check does not take their
// chunks for what a crash left.
type stagedBodies struct {
	mu  sync.Mutex // guards ids
	ids map[blobID]struct{}
}

// begin notes a body before its first chunk is written.
func (g *stagedBodies) begin(id blobID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ids == nil {
		g.ids = make(map[blobID]struct{})
	}
	g.ids[id] = struct{}{}
}

// end forgets a body once a message has it or its chunks are gone.
func (g *stagedBodies) end(id blobID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.ids, id)
}

func (g *stagedBodies) has(id blobID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.ids[id]
	return ok
}

// hasRecords reports whether a body was ever delivered: what is only staged has
// chunks alone, all other records come with the message.
func hasRecords(tx *store.Tx, id blobID) (bool, error) {
	for _, k := range [][]byte{refsKey(id), envelopeKey(id), structureKey(id)} {
		if ok, err := tx.Has(k); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// settleLeftovers looks again at the bodies without records: those that are staged,
// delivered or given up by now are none of a crash.
func (s *Store) settleLeftovers(c *checker) error {
	for _, id := range c.leftover {
		if s.bodies.has(id) {
			c.report.Leftovers--
			continue
		}
		// It is not being staged any more, if it ever was: what it has become is in
		// the store by now.
		err := s.st.View(func(tx *store.Tx) error {
			known, err := hasRecords(tx, id)
			if err != nil {
				return err
			}
			found := false
			err = tx.Iterate(store.Range{Prefix: key("c", id[:])}, func(store.Item) error {
				found = true
				return store.ErrStop
			})
			if known || !found {
				c.report.Leftovers--
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkMemory compares what memory knows of an account with the disk.
func (a *Account) checkMemory(report *Report) {
	a.write.Lock() // so that nothing but deliveries changes the folders
	defer a.write.Unlock()
	a.mu.RLock()
	folders := make([]*Folder, 0, len(a.names.folders))
	for _, f := range a.names.folders {
		folders = append(folders, f)
	}
	a.mu.RUnlock()
	slices.SortFunc(folders, func(x, y *Folder) int { return int(int64(x.id) - int64(y.id)) })
	for _, f := range folders {
		// A change is durable a moment before memory knows it: where the two differ they
		// are looked at again.
		found := f.checkMemory()
		for try := 0; len(found) > 0 && try < memoryTries; try++ {
			time.Sleep(memoryWait)
			found = f.checkMemory()
		}
		for _, p := range found {
			report.add(p)
		}
	}
}

// How often, and how long apart, memory is looked at again where it differs.
const (
	memoryTries = 10
	memoryWait  = 20 * time.Millisecond
)

func (f *Folder) checkMemory() (found []Problem) {
	// Memory first: what it has is on the disk by then.
	f.a.mu.RLock()
	at := Problem{Account: f.a.name, Folder: f.name}
	loaded, next, have := f.loaded && !f.gone, f.uidNext, slices.Clone(f.messages)
	name, use, gone := f.name, f.use, f.gone
	f.a.mu.RUnlock()
	if gone {
		return nil
	}
	say := func(uid uint32, text string) {
		p := at
		p.UID, p.Text = uid, text
		found = append(found, p)
	}
	disk := &Folder{a: f.a, id: f.id}
	var rec folderRecord
	err := f.a.s.st.View(func(tx *store.Tx) error { return getRecord(tx, folderKey(f.a.id, f.id), &rec) })
	if err == nil && loaded {
		err = disk.load()
	}
	if err != nil {
		say(0, "memory knows the folder, and the disk does not: "+err.Error())
		return found
	}
	if rec.Name != name || rec.Use != use || rec.UIDValidity != f.uidValidity {
		say(0, "memory has another name, use or UIDVALIDITY for the folder than the disk")
	}
	if !loaded {
		return found
	}
	now := make(map[uint32]*Message, len(disk.messages))
	for i := range disk.messages {
		now[disk.messages[i].UID] = &disk.messages[i]
	}
	for _, m := range have {
		d := now[m.UID]
		delete(now, m.UID)
		if d == nil {
			say(m.UID, "memory has the message, and the disk has not")
		} else if !slices.Equal(d.Flags, m.Flags) || d.Size != m.Size || d.WireSize != m.WireSize || d.date != m.date || d.blob != m.blob {
			say(m.UID, "memory has other flags, sizes or dates of the message than the disk")
		}
	}
	for uid := range now {
		if uid < next { // later ones have just come
			say(uid, "the disk has the message, and memory has not")
		}
	}
	return found
}
