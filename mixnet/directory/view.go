package directory

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"mailproxy/internal/codec"
	"mailproxy/mixnet/sphinx"
)

var (
	// ErrNoView is returned by Views.At when there is no snapshot for that time.
	ErrNoView = errors.New("the network's keys for this hour are not known")
	// ErrConflict is wrapped by Views.Add for a second snapshot of an epoch: some
	// directories have signed two.
	ErrConflict = errors.New("directories have signed two snapshots of one epoch")
)

// pastEpochs is how many epochs before the last one snapshots are kept of.
const pastEpochs = 2

// A View is a network as it is to be used in one epoch: its document, and the
// nodes whose keys are in the epoch's snapshot. It is immutable.
type View struct {
	Document *Document
	Epoch    Epoch
	keys     map[sphinx.NodeID]*Descriptor
	layers   [Layers][]*Node
}

// newView returns the view of a snapshot that has been checked. A network in which
// a layer has no mix is none.
func newView(d *Document, e Epoch, keys map[sphinx.NodeID]*Descriptor) (*View, error) {
	v := &View{Document: d, Epoch: e, keys: keys}
	for _, n := range d.WithRole(RoleMix) {
		if _, ok := keys[n.ID()]; ok {
			v.layers[n.Layer-1] = append(v.layers[n.Layer-1], n)
		}
	}
	for l := range v.layers {
		if len(v.layers[l]) == 0 {
			return nil, fmt.Errorf("%w: layer %d has no mix in %v", ErrSnapshot, l+1, e)
		}
	}
	return v, nil
}

// Usable returns an error that says why a snapshot makes no network that mail can
// cross, or nil.
func Usable(d *Document, body []byte) error {
	s, keys, err := parseSnapshot(d, body)
	if err != nil {
		return err
	}
	_, err = newView(d, s.Epoch, keys)
	return err
}

// Len returns how many nodes take part.
func (v *View) Len() int { return len(v.keys) }

// Layer returns the mixes of a layer that take part, 1 being next to the gateways.
func (v *View) Layer(l int) []*Node { return v.layers[l-1] }

// Gateways returns the gateways that take part.
func (v *View) Gateways() []*Node {
	return slices.DeleteFunc(v.Document.WithRole(RoleGateway), func(n *Node) bool {
		_, ok := v.keys[n.ID()]
		return !ok
	})
}

// Key returns the mix key of n, or false if n takes no part in this epoch.
func (v *View) Key(n *Node) (sphinx.PublicKey, bool) {
	x, ok := v.keys[n.ID()]
	if !ok {
		return sphinx.PublicKey{}, false
	}
	return sphinx.PublicKey(x.MixKey), true
}

// Views collects snapshots and says which is in force. Its methods may be called
// from any goroutine.
//
// A network goes on while its document is replaced by a newer one, which not all
// members have at the same moment. Which document an epoch is of, its snapshot says;
// Views holds the newest, and those before it for as long as snapshots of them are
// in use.
type Views struct {
	mu     sync.Mutex  // guards all below
	docs   []*Document // the newest first; at least one
	signed map[Epoch]*SignedSnapshot
	views  map[Epoch]*View
}

// NewViews returns views of d, without any snapshot yet.
func NewViews(d *Document) *Views {
	return &Views{docs: []*Document{d}, signed: map[Epoch]*SignedSnapshot{}, views: map[Epoch]*View{}}
}

// Document returns the newest network document.
func (v *Views) Document() *Document { return v.Documents()[0] }

// Documents returns all that are in use, the newest first.
func (v *Views) Documents() []*Document {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.docs)
}

// DocumentOf returns the document that a snapshot's bytes name. For a name that is
// not known it returns the newest, to which the snapshot then does not belong.
// Nothing is checked but the name.
func (v *Views) DocumentOf(body []byte) *Document {
	docs := v.Documents()
	var s Snapshot
	if len(body) > maxSnapshot || codec.Unmarshal(body, &s) != nil {
		return docs[0]
	}
	for _, d := range docs {
		if d.Hash() == s.Document {
			return d
		}
	}
	return docs[0]
}

// Renew takes up a newer document of the same network. It reports false for the one
// that is in use already, and refuses with an error that wraps ErrSuccessor one that
// cannot follow it.
func (v *Views) Renew(d *Document) (changed bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if d.Hash() == v.docs[0].Hash() {
		return false, nil
	}
	if err := d.Succeeds(v.docs[0]); err != nil {
		return false, err
	}
	v.docs = append([]*Document{d}, v.docs...)
	return true, nil
}

// Behind takes up an older document beside the newest, for a member that has been
// started anew while snapshots of the older one are in use. It reports false for
// one that is of no use.
func (v *Views) Behind(d *Document) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	last := v.docs[len(v.docs)-1]
	if d.Hash() == last.Hash() || last.Succeeds(d) != nil {
		return false
	}
	v.docs = append(v.docs, d)
	return true
}

// Add checks a snapshot and takes it up, unless it is known. A second snapshot of
// an epoch is refused with an error that wraps ErrConflict and names the
// directories that have signed both. One of an epoch more than two before the last
// that is known is refused with an error that wraps ErrSnapshot: it is over, and what
// could contradict it is forgotten.
func (v *Views) Add(s *SignedSnapshot) (added bool, err error) {
	doc := v.DocumentOf(s.Body)
	x, keys, err := s.Open(doc)
	if err != nil {
		return false, err
	}
	view, err := newView(doc, x.Epoch, keys)
	if err != nil {
		return false, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if have := v.signed[x.Epoch]; have != nil {
		if string(have.Body) == string(s.Body) {
			return false, nil
		}
		return false, fmt.Errorf("%w: %s", ErrConflict, both(doc, have, s))
	}
	for e := range v.signed {
		if x.Epoch+pastEpochs < e {
			return false, fmt.Errorf("%w: it is of %v, which is long over: there is one of %v", ErrSnapshot, x.Epoch, e)
		}
	}
	v.signed[x.Epoch], v.views[x.Epoch] = s, view
	for e := range v.signed { // what was before the last epoch is needed no more
		if e+pastEpochs < x.Epoch {
			delete(v.signed, e)
			delete(v.views, e)
		}
	}
	oldest := 0 // of the documents in use
	for _, view := range v.views {
		oldest = max(oldest, slices.Index(v.docs, view.Document))
	}
	v.docs = slices.Clone(v.docs[:oldest+1])
	return true, nil
}

// At returns the view in force at t, or ErrNoView.
func (v *Views) At(t time.Time) (*View, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if view := v.views[v.docs[0].Parameters.EpochAt(t)]; view != nil {
		return view, nil
	}
	return nil, ErrNoView
}

// Latest returns the view of the last epoch that there is a snapshot of, or nil.
func (v *Views) Latest() (last *View) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, view := range v.views {
		if last == nil || view.Epoch > last.Epoch {
			last = view
		}
	}
	return last
}

// Notice returns what n announces in the snapshot of the latest epoch that it
// takes part in, which may be the next one, and that epoch. It returns false if n
// is in no snapshot that is known.
func (v *Views) Notice(n *Node) (notice []byte, e Epoch, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for epoch, view := range v.views {
		if x := view.keys[n.ID()]; x != nil && (!ok || epoch > e) {
			notice, e, ok = x.Notice, epoch, true
		}
	}
	return notice, e, ok
}

// Signed returns the snapshot of an epoch as it came, or nil.
func (v *Views) Signed(e Epoch) *SignedSnapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.signed[e]
}

// both names the directories that have signed a and b.
func both(d *Document, a, b *SignedSnapshot) string {
	names := ""
	for _, g := range a.Signatures {
		for _, h := range b.Signatures {
			if n := d.node(g.Directory); g.Directory == h.Directory && n != nil {
				if names != "" {
					names += ", "
				}
				names += n.Name
			}
		}
	}
	return names
}
