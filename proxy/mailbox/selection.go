package mailbox

import (
	"errors"
	"fmt"
	"slices"
	"sort"
)

// A Selection is one session's look at a folder: the messages that its client
// was told of, in the order of their sequence numbers. It changes only in Poll,
// so that numbers stay what the client thinks they are. A Selection is used by
// one goroutine at a time; only Changed's channel may be waited on by another.
type Selection struct {
	f    *Folder
	wake chan struct{}
	view []viewed // by ascending UID
	told uint64   // the folder's rev up to which the client was told everything
	// first is the folder when the look began.
	first Status
}

type viewed struct {
	uid uint32
	rev uint64 // of the message, when the client was told of it
}

// Select begins to look at the folder. Close must be called.
func (f *Folder) Select() (*Selection, error) {
	s := &Selection{f: f, wake: make(chan struct{}, 1)}
	err := f.read(func() error {
		s.view = make([]viewed, len(f.messages))
		for i, m := range f.messages {
			s.view[i] = viewed{m.UID, m.rev}
		}
		s.told, s.first = f.rev, f.status()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("select folder: %w", err)
	}
	f.a.mu.Lock()
	f.selections[s] = struct{}{}
	f.a.mu.Unlock()
	return s, nil
}

// Close ends the look.
func (s *Selection) Close() {
	s.f.a.mu.Lock()
	defer s.f.a.mu.Unlock()
	delete(s.f.selections, s)
}

// Folder returns the folder that is looked at.
func (s *Selection) Folder() *Folder { return s.f }

// First returns the folder's figures when the look began. They are of the same moment
// as the view: a message that comes just after has a UID of UIDNext or above (RFC 9051
// section 2.3.1.1), and Poll tells of it.
func (s *Selection) First() Status { return s.first }

// Changed returns a channel that has a value when Poll may have news.
func (s *Selection) Changed() <-chan struct{} { return s.wake }

// Len returns how many messages the client knows of.
func (s *Selection) Len() int { return len(s.view) }

// UID returns the UID of the message with sequence number seq, 1 to Len.
func (s *Selection) UID(seq int) uint32 { return s.view[seq-1].uid }

// Seq returns the sequence number of a UID, or 0 if the client does not know it.
func (s *Selection) Seq(uid uint32) int {
	i := s.from(uid)
	if i == len(s.view) || s.view[i].uid != uid {
		return 0
	}
	return i + 1
}

// from returns the index in view of the first message with a UID of at least uid.
func (s *Selection) from(uid uint32) int {
	return sort.Search(len(s.view), func(i int) bool { return s.view[i].uid >= uid })
}

// A Seen is a message that a client knows of, with its sequence number.
type Seen struct {
	Seq int
	Message
}

// Numbers are the two that a client may call a message by.
type Numbers struct{ Seq, UID uint32 }

// Pick returns the numbers of the messages that the client knows of, that are still
// there, and that pass, in order. pass sees only what the index knows, and must be
// quick.
func (s *Selection) Pick(pass func(m *Message) bool) ([]Numbers, error) {
	var list []Numbers
	err := s.f.read(func() error {
		now, i := s.f.messages, 0
		for seq, v := range s.view {
			for i < len(now) && now[i].UID < v.uid {
				i++
			}
			if i == len(now) {
				break
			}
			if now[i].UID == v.uid && pass(&now[i]) {
				list = append(list, Numbers{uint32(seq + 1), v.uid})
			}
		}
		return nil
	})
	return list, err
}

// Known returns those of the messages that are there and that the client knows of.
// uids are ascending, and so is what it returns.
func (s *Selection) Known(uids []uint32) ([]Seen, error) {
	if len(uids) == 0 {
		return nil, nil
	}
	list := make([]Seen, 0, len(uids))
	first := s.from(uids[0])
	err := s.f.read(func() error {
		// Both lists are walked beside uids: they are mostly neighbours there.
		i, _ := s.f.find(uids[0])
		seq := first
		for _, uid := range uids {
			for i < len(s.f.messages) && s.f.messages[i].UID < uid {
				i++
			}
			for seq < len(s.view) && s.view[seq].uid < uid {
				seq++
			}
			if i < len(s.f.messages) && seq < len(s.view) && s.f.messages[i].UID == uid && s.view[seq].uid == uid {
				list = append(list, Seen{seq + 1, s.f.messages[i]})
			}
		}
		return nil
	})
	return list, err
}

// SetFlags is Folder.SetFlags; Poll does not report again what it returns.
func (s *Selection) SetFlags(uids []uint32, op FlagOp, flags []string) ([]Message, error) {
	list, err := s.f.SetFlags(uids, op, flags)
	for _, m := range list {
		// Where the view is older than the state before this change, another
		// session's change is still to be told.
		if i := s.Seq(m.UID); i > 0 && s.view[i-1].rev == m.was {
			s.view[i-1].rev = m.rev
		}
	}
	return list, err
}

// News is what Poll found, in the order in which a client must hear it.
type News struct {
	// Expunged are sequence numbers, the highest first, so that none changes the
	// meaning of the next.
	Expunged []int
	// Exists is the new number of messages if there are new ones, else 0.
	Exists int
	// Flags are messages whose flags changed; Seq gives their numbers now.
	Flags []Message
	// Gone is set when the folder was deleted; there are no more news then.
	Gone bool
}

// Poll brings the view up to date and returns what changed. Without expunge,
// messages that are gone stay in the view until a later Poll: RFC 9051 section
// 7.5.1 forbids to renumber during FETCH, STORE and SEARCH.
func (s *Selection) Poll(expunge bool) (News, error) {
	var n News
	err := s.f.read(func() error {
		if s.f.rev != s.told {
			n = s.merge(s.f.messages, expunge)
		}
		return nil
	})
	if errors.Is(err, ErrNoFolder) {
		return News{Gone: true}, nil
	}
	return n, err
}

// Expunged takes the messages that are gone out of the view and returns their
// sequence numbers, the highest first. All other news are left to Poll.
func (s *Selection) Expunged() ([]int, error) {
	var gone []int
	err := s.f.read(func() error {
		view := make([]viewed, 0, len(s.view))
		for seq, v := range s.view {
			if _, ok := s.f.find(v.uid); ok {
				view = append(view, v)
			} else {
				gone = append(gone, seq+1)
			}
		}
		s.view = view
		return nil
	})
	slices.Reverse(gone)
	return gone, err
}

// merge walks the view and the folder, both sorted by UID. Callers hold a.mu.
func (s *Selection) merge(now []Message, expunge bool) News {
	var n News
	// In its place: a new view for each message that arrives would be megabytes, for
	// every connection to a large folder. What is kept never comes before it is read.
	view := s.view[:0]
	missing := false
	i := 0
	for seq, v := range s.view {
		for i < len(now) && now[i].UID < v.uid {
			i++ // cannot be: a new UID is higher than all that are known
		}
		if i < len(now) && now[i].UID == v.uid {
			if now[i].rev != v.rev {
				n.Flags = append(n.Flags, now[i])
			}
			view = append(view, viewed{v.uid, now[i].rev})
			i++
			continue
		}
		if expunge {
			n.Expunged = append(n.Expunged, seq+1)
		} else {
			view, missing = append(view, v), true
		}
	}
	for ; i < len(now); i++ {
		view = append(view, viewed{now[i].UID, now[i].rev})
		n.Exists = len(view)
	}
	slices.Reverse(n.Expunged)
	s.view = view
	if !missing {
		s.told = s.f.rev
	}
	return n
}
