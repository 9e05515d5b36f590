package imap

import (
	"errors"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailproxy/proxy/mailbox"
)

const delimiter = '/'

// Create implements imapserver.Session.
func (ss *session) Create(name string, options *goimap.CreateOptions) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	use := ""
	switch len(options.SpecialUse) {
	case 0:
		return ss.fail(ss.account.CreateFolder(name, use))
	case 1:
		use = string(options.SpecialUse[0])
	default:
		return no(codeUseAttr, "A folder has one special use")
	}
	if _, err := ss.account.Folder(name); err == nil {
		return ss.fail(mailbox.ErrExists)
	}
	err := ss.account.CreateFolder(name, use)
	if errors.Is(err, mailbox.ErrExists) {
		return no(codeUseAttr, "Another folder has this special use")
	}
	if errors.Is(err, mailbox.ErrUse) {
		return no(codeUseAttr, "There is no such special use")
	}
	return ss.fail(err)
}

// codeUseAttr is that of RFC 6154 section 6.
const codeUseAttr goimap.ResponseCode = "USEATTR"

// Delete implements imapserver.Session.
func (ss *session) Delete(name string) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	f, err := ss.account.Folder(name)
	if err != nil {
		return ss.fail(err)
	}
	if err := ss.account.DeleteFolder(name); err != nil {
		return ss.fail(err)
	}
	if ss.sel != nil && ss.sel.Folder() == f {
		ss.deleted = true
	}
	return nil
}

// Rename implements imapserver.Session.
func (ss *session) Rename(name, newName string, _ *goimap.RenameOptions) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.fail(ss.account.RenameFolder(name, newName))
}

// Subscribe implements imapserver.Session.
func (ss *session) Subscribe(name string) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.fail(ss.account.Subscribe(name))
}

// Unsubscribe implements imapserver.Session.
func (ss *session) Unsubscribe(name string) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.fail(ss.account.Unsubscribe(name))
}

// Status implements imapserver.Session.
func (ss *session) Status(name string, options *goimap.StatusOptions) (*goimap.StatusData, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	f, err := ss.account.Folder(name)
	if err != nil {
		return nil, ss.fail(err)
	}
	data, err := ss.status(f)
	return data, ss.fail(err)
}

// status fills every item, since the library panics on one that was asked for
// and is nil. RECENT is always 0: RFC 9051 dropped the notion, but Thunderbird
// asks for it.
func (ss *session) status(f *mailbox.Folder) (*goimap.StatusData, error) {
	st, err := f.Status()
	if err != nil {
		return nil, err
	}
	recent, limit := uint32(0), ss.AppendLimit()
	return &goimap.StatusData{
		Mailbox:        f.Name(),
		NumMessages:    &st.Messages,
		NumRecent:      &recent,
		UIDNext:        goimap.UID(st.UIDNext),
		UIDValidity:    st.UIDValidity,
		NumUnseen:      &st.Unseen,
		NumDeleted:     &st.Deleted,
		Size:           &st.Size,
		AppendLimit:    &limit,
		DeletedStorage: &st.DeletedSize,
	}, nil
}

// List implements imapserver.Session. The library calls it for LSUB as well.
func (ss *session) List(w *imapserver.ListWriter, ref string, patterns []string, options *goimap.ListOptions) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if len(patterns) == 0 { // RFC 9051 section 6.3.9: the hierarchy delimiter
		return w.WriteList(&goimap.ListData{Attrs: []goimap.MailboxAttr{goimap.MailboxAttrNoSelect}, Delim: delimiter})
	}
	l := lister{ref: ref, patterns: patterns, options: options, all: ss.account.Folders(), lsub: ss.wire.running() == "LSUB"}
	for _, info := range withParents(l.all) {
		if !l.matches(info) {
			continue
		}
		data := l.data(info)
		if data == nil {
			continue
		}
		if options.ReturnStatus != nil && !info.Missing {
			f, err := ss.account.Folder(info.Name)
			if err == nil {
				data.Status, err = ss.status(f)
			}
			if errors.Is(err, mailbox.ErrNoFolder) {
				continue // somebody has just deleted it
			}
			if err != nil {
				return ss.fail(err)
			}
		}
		if err := w.WriteList(data); err != nil {
			return err
		}
	}
	return nil
}

// withParents adds the levels above a subscribed name that no folder has: with
// the pattern %, they are all that shows what lies below.
func withParents(all []mailbox.FolderInfo) []mailbox.FolderInfo {
	known := make(map[string]bool)
	for _, info := range all {
		known[info.Name] = true
	}
	out := all
	for _, info := range all {
		for i, c := range info.Name {
			if c == delimiter && !known[info.Name[:i]] {
				known[info.Name[:i]] = true
				out = append(out, mailbox.FolderInfo{Name: info.Name[:i], Missing: true})
			}
		}
	}
	return out
}

// A lister is one LIST or LSUB command.
type lister struct {
	ref      string
	patterns []string
	options  *goimap.ListOptions
	all      []mailbox.FolderInfo
	lsub     bool
}

func (l *lister) matches(info mailbox.FolderInfo) bool {
	return matchAny(l.ref, l.patterns, info.Name)
}

// data describes a folder, or returns nil where the options do not select it.
func (l *lister) data(info mailbox.FolderInfo) *goimap.ListData {
	data := &goimap.ListData{Mailbox: info.Name, Delim: delimiter}
	// What lies below: any folder, one that is selected, and of these one that
	// the patterns do not show.
	children, selectedChild, hidden := false, false, false
	for _, other := range l.all {
		if strings.HasPrefix(other.Name, info.Name+string(delimiter)) {
			children = children || !other.Missing
			if selects(other, l.options) {
				selectedChild = true
				hidden = hidden || l.lsub && !l.matches(other)
			}
		}
	}
	noSelect := info.Missing
	if selectedChild && l.options.SelectRecursiveMatch { // RFC 5258 section 3.5
		data.ChildInfo = &goimap.ListDataChildInfo{Subscribed: true}
	}
	if !selects(info, l.options) {
		// RFC 3501 section 6.3.9: LSUB shows a name for what is below it if the
		// pattern stops there.
		if !hidden && data.ChildInfo == nil {
			return nil
		}
		noSelect = noSelect || l.lsub
	}
	if info.Missing {
		data.Attrs = append(data.Attrs, goimap.MailboxAttrNonExistent)
	}
	if noSelect {
		data.Attrs = append(data.Attrs, goimap.MailboxAttrNoSelect)
	}
	if children {
		data.Attrs = append(data.Attrs, goimap.MailboxAttrHasChildren)
	} else {
		data.Attrs = append(data.Attrs, goimap.MailboxAttrHasNoChildren)
	}
	if info.Subscribed && (l.options.ReturnSubscribed || l.options.SelectSubscribed) {
		data.Attrs = append(data.Attrs, goimap.MailboxAttrSubscribed)
	}
	if info.Use != "" {
		data.Attrs = append(data.Attrs, goimap.MailboxAttr(info.Use))
	}
	return data
}

func selects(info mailbox.FolderInfo, options *goimap.ListOptions) bool {
	switch {
	case options.SelectSubscribed && !info.Subscribed,
		options.SelectSpecialUse && info.Use == "",
		!options.SelectSubscribed && info.Missing:
		return false
	}
	return true
}

// matchAny reports whether a name matches one of the patterns (RFC 9051 section
// 6.3.9), each of which goes on where the reference ends.
func matchAny(ref string, patterns []string, name string) bool {
	for _, p := range patterns {
		p = ref + p
		// INBOX has no case, alone and as a first level.
		if n := len(mailbox.Inbox); len(p) >= n && strings.EqualFold(p[:n], mailbox.Inbox) &&
			(len(p) == n || p[n] == delimiter || p[n] == '*' || p[n] == '%') {
			p = mailbox.Inbox + p[n:]
		}
		if match(p, name) {
			return true
		}
	}
	return false
}

// match compares in time proportional to the product of both lengths, whatever
// the pattern: at[j] says whether the pattern so far matches name[:j].
func match(pattern, name string) bool {
	at := make([]bool, len(name)+1)
	at[0] = true
	for i := range len(pattern) {
		c := pattern[i]
		if c == '*' || c == '%' {
			for j := 1; j <= len(name); j++ {
				at[j] = at[j] || at[j-1] && (c == '*' || name[j-1] != delimiter)
			}
			continue
		}
		for j := len(name); j > 0; j-- {
			at[j] = at[j-1] && name[j-1] == c
		}
		at[0] = false
	}
	return at[len(name)]
}
