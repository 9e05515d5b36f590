package authority

import (
	"errors"
	"slices"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
)

// read gives the council's document the hash of its text, as one that was signed has.
func (c *council) read() *directory.Document {
	c.t.Helper()
	text, err := directory.EncodeDraft(c.doc)
	if err == nil {
		c.doc, err = directory.ParseDraft(text)
	}
	if err == nil {
		err = c.doc.Check()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return c.doc
}

// change makes the council's document a later one.
func (c *council) change(edit func(*directory.Document)) *directory.Document {
	c.t.Helper()
	d := *c.doc
	d.Nodes = slices.Clone(c.doc.Nodes)
	d.Made = c.doc.Made.Add(time.Hour)
	edit(&d)
	c.doc = &d
	return c.read()
}

// under waits until the last snapshot that a directory has is of doc and of e or a
// later epoch.
func (c *council) under(name string, doc *directory.Document, e directory.Epoch) directory.Epoch {
	c.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if v := c.running[name].views.Latest(); v != nil && v.Epoch >= e && v.Document == doc {
			return v.Epoch
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: no snapshot from %v on that is of the document", name, e)
		}
	}
}

// keepPublishing has the members publish keys of each epoch, to the directories that
// run, until the test ends.
func (c *council) keepPublishing(names ...string) {
	done, ended := make(chan struct{}), make(chan struct{})
	c.t.Cleanup(func() { close(done); <-ended })
	p, clients := c.doc.Parameters, map[string]*Client{}
	for _, name := range names {
		clients[name] = c.client(name)
	}
	go func() {
		defer close(ended)
		descriptors := map[string]*directory.SignedDescriptor{}
		for {
			e := p.EpochAt(time.Now())
			for name, client := range clients {
				for _, e := range []directory.Epoch{e, e + 1} {
					key := name + e.String()
					if descriptors[key] == nil {
						sd, err := directory.NewDescriptor(c.identity[name], e, [32]byte{1}, nil)
						if err != nil {
							c.t.Error(err)
							return
						}
						descriptors[key] = sd
					}
					_, _ = client.Publish(c.t.Context(), descriptors[key]) // a directory that is not there yet gets it the next time
				}
			}
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
}

// TestReloadedOneAfterAnother: the network goes on with the old document until
// enough directories have the new one, and never has two snapshots of an epoch.
func TestReloadedOneAfterAnother(t *testing.T) {
	t.Parallel()
	c := newCouncil(t, 3*time.Second)
	first := c.read()
	c.start("dir1", "dir2", "dir3")
	c.keepPublishing(members...)
	c.under("dir1", first, c.epoch())

	second := c.change(func(d *directory.Document) { d.RemoveNode("extra") })
	if changed, err := c.running["dir1"].Reload(second); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if changed, err := c.running["dir1"].Reload(second); changed || err != nil {
		t.Errorf("the document in use again: %v, %v", changed, err)
	}
	e := c.epoch() + 2 // is not voted on yet
	c.under("dir1", first, e)
	c.under("dir2", first, e)
	if v := c.running["dir1"].views.Latest(); len(v.Layer(2)) != 2 {
		t.Errorf("layer 2 has %d mixes before the new document holds, want 2", len(v.Layer(2)))
	}

	if changed, err := c.running["dir2"].Reload(second); !changed || err != nil {
		t.Fatal(changed, err)
	}
	e = c.under("dir1", second, e)
	if v := c.running["dir1"].views.Latest(); len(v.Layer(2)) != 1 {
		t.Errorf("layer 2 has %d mixes, want the one of the new document", len(v.Layer(2)))
	}
	if changed, err := c.running["dir3"].Reload(second); !changed || err != nil {
		t.Fatal(changed, err)
	}
	c.under("dir3", second, e)
	for name, a := range c.running {
		if len(a.Caught()) != 0 {
			t.Errorf("%s caught %v", name, a.Caught())
		}
	}
	third := c.change(func(d *directory.Document) { d.Parameters.ReadRate /= 2 })
	if changed, err := c.running["dir1"].Reload(third); changed || !errors.Is(err, directory.ErrSuccessor) {
		t.Errorf("a document with another rate: %v, %v, want ErrSuccessor", changed, err)
	}
}

// TestReloadedHalf: where neither document has a majority, the directories that have
// both vote under the old one in every second round.
func TestReloadedHalf(t *testing.T) {
	t.Parallel()
	c := newCouncil(t, 3*time.Second)
	c.doc.SnapshotThreshold = 3 // of three: one that differs is enough to stop it
	first := c.read()
	c.start("dir1", "dir2", "dir3")
	c.keepPublishing(members...)
	c.under("dir1", first, c.epoch())
	if changed, err := c.running["dir1"].Reload(c.change(func(d *directory.Document) { d.RemoveNode("extra") })); !changed || err != nil {
		t.Fatal(changed, err)
	}
	e := c.epoch() + 2
	c.under("dir1", first, e)
	c.under("dir3", first, e)
}
