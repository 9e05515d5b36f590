package imap

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailproxy/internal/pause"
	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
)

// A session is one connection, in the library's terms.
type session struct {
	s    *Server
	conn *imapserver.Conn
	wire *wire

	idle sync.WaitGroup // the Idle that runs, if any

	// mu guards what follows. Each method holds it, Idle only while it looks for
	// news: after a client's sudden end the library calls other methods while
	// Idle still runs.
	mu       sync.Mutex
	closed   bool
	failures int // wrong passwords so far
	account  *mailbox.Account
	sel      *mailbox.Selection // nil unless a folder is selected
	readOnly bool               // it was selected with EXAMINE
	deleted  bool               // this session deleted it
	saved    []uint32           // the UIDs of SEARCH's $ (RFC 9051 section 6.4.4.1)
}

var (
	_ imapserver.SessionIMAP4rev2   = (*session)(nil)
	_ imapserver.SessionAppendLimit = (*session)(nil)
)

func (s *Server) newSession(conn *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
	w, ok := conn.NetConn().(*wire)
	if !ok {
		return nil, nil, errors.New("connection is not a wire")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, no(goimap.ResponseCodeUnavailable, "Shutting down")
	}
	s.wg.Add(1)
	return &session{s: s, conn: conn, wire: w}, nil, nil
}

// Close implements imapserver.Session.
func (ss *session) Close() error {
	ss.mu.Lock()
	ss.closed = true
	ss.mu.Unlock()
	ss.idle.Wait()
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.unselect()
	ss.s.wg.Done()
	return nil
}

// codeExpungeIssued is that of RFC 5530 section 3.
const codeExpungeIssued goimap.ResponseCode = "EXPUNGEISSUED"

func no(code goimap.ResponseCode, text string) error {
	return &goimap.Error{Type: goimap.StatusResponseTypeNo, Code: code, Text: text}
}

// fail turns an error into the answer that a client gets. The library's own
// answer for an unknown error is kept for what it cannot parse, see wire.Write.
func (ss *session) fail(err error) error {
	var answer *goimap.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer):
		return answer
	case errors.Is(err, mailbox.ErrNoFolder):
		return no(goimap.ResponseCodeNonExistent, "No such folder")
	case errors.Is(err, mailbox.ErrNoMessage):
		return no(codeExpungeIssued, "Some of the messages are no longer there")
	case errors.Is(err, mailbox.ErrExists):
		return no(goimap.ResponseCodeAlreadyExists, "There is one already")
	case errors.Is(err, mailbox.ErrHasChildren):
		return no(goimap.ResponseCodeHasChildren, "Delete the folders below it first")
	case errors.Is(err, mailbox.ErrName), errors.Is(err, mailbox.ErrFlag):
		return no(goimap.ResponseCodeCannot, err.Error())
	case errors.Is(err, mailbox.ErrFull):
		return no(goimap.ResponseCodeLimit, "The folder takes no more messages")
	case errors.Is(err, store.ErrFull):
		ss.s.log.Error("imap: the disk is full", "err", err)
		return no(goimap.ResponseCodeOverQuota, "The disk is full: free some room, and try again")
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return err // the client is gone
	}
	var netErr net.Error
	if errors.As(err, &netErr) {
		return err
	}
	ss.s.log.Error("imap: a command failed", "err", err)
	return no(goimap.ResponseCodeServerBug, "Internal error; the log of mailproxy says more")
}

// Login implements imapserver.Session.
func (ss *session) Login(username, password string) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	name, err := ss.s.o.Auth(ss.s.ctx, username, password)
	if errors.Is(err, mailbox.ErrBadPassword) {
		if pause.For(ss.s.ctx, ss.s.o.BadPasswordDelay) != nil {
			return net.ErrClosed
		}
		if ss.failures++; ss.failures >= maxBadPasswords {
			err := ss.wire.say("* BYE Too many wrong passwords")
			ss.wire.interrupt()
			return errors.Join(net.ErrClosed, err)
		}
		return no(goimap.ResponseCodeAuthenticationFailed,
			"Wrong user name or password: log in with the whole address and the password that mailproxy gave for it; if that is lost, this makes another: mailproxy account password ADDRESS")
	}
	if err == nil {
		ss.account, err = ss.s.o.Mailboxes.Account(name)
	}
	if err != nil {
		ss.s.log.Error("imap: login failed for a reason other than the password", "err", err)
		return no(goimap.ResponseCodeUnavailable, "The account cannot be opened now; try again later")
	}
	ss.wire.account.Store(&name)
	ss.wire.mu.Lock()
	ss.wire.authed = true
	ss.wire.mu.Unlock()
	return nil
}

// AppendLimit implements imapserver.SessionAppendLimit.
func (ss *session) AppendLimit() uint32 { return uint32(ss.s.o.MaxMessage) }

// Namespace implements imapserver.SessionNamespace.
func (ss *session) Namespace() (*goimap.NamespaceData, error) {
	return &goimap.NamespaceData{Personal: []goimap.NamespaceDescriptor{{Delim: delimiter}}}, nil
}

// Select implements imapserver.Session.
func (ss *session) Select(name string, options *goimap.SelectOptions) (*goimap.SelectData, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.unselect()
	f, err := ss.account.Folder(name)
	if err != nil {
		return nil, ss.fail(err)
	}
	sel, err := f.Select()
	if err != nil {
		return nil, ss.fail(err)
	}
	status := sel.First()
	ss.sel, ss.readOnly = sel, options.ReadOnly
	data := &goimap.SelectData{
		Flags:       flagList(append([]string{mailbox.FlagAnswered, mailbox.FlagDeleted, mailbox.FlagDraft, mailbox.FlagFlagged, mailbox.FlagSeen}, status.Keywords...)),
		NumMessages: uint32(sel.Len()),
		UIDNext:     goimap.UID(status.UIDNext),
		UIDValidity: status.UIDValidity,
	}
	if status.FirstUnseen <= data.NumMessages {
		data.FirstUnseenSeqNum = status.FirstUnseen
	}
	if !options.ReadOnly {
		changeable := slices.DeleteFunc(slices.Clone(data.Flags), func(f goimap.Flag) bool { return mailbox.Reserved(string(f)) })
		data.PermanentFlags = append(changeable, goimap.FlagWildcard)
	}
	if ss.conn.EnabledCaps().Has(goimap.CapIMAP4rev2) { // RFC 9051 section 6.3.2
		l := lister{options: &goimap.ListOptions{}, all: ss.account.Folders()}
		for _, info := range l.all {
			if info.Name == f.Name() {
				data.List = l.data(info)
			}
		}
	}
	return data, nil
}

// Unselect implements imapserver.Session.
func (ss *session) Unselect() error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.unselect()
	return nil
}

func (ss *session) unselect() {
	if ss.sel != nil {
		ss.sel.Close()
	}
	ss.sel, ss.readOnly, ss.deleted, ss.saved = nil, false, false, nil
}

// Poll implements imapserver.Session.
func (ss *session) Poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.poll(w, allowExpunge)
}

// poll tells the client what others changed. Callers hold ss.mu.
func (ss *session) poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	if ss.sel == nil || ss.deleted {
		return nil
	}
	news, err := ss.sel.Poll(allowExpunge)
	if err != nil {
		return ss.fail(err)
	}
	if news.Gone {
		// RFC 2180 section 3.3: a client that looks at a deleted folder is sent away.
		if err := ss.conn.Bye("The selected folder was deleted"); err != nil {
			ss.s.log.Debug("imap: saying goodbye", "err", err)
		}
		return net.ErrClosed
	}
	for _, seq := range news.Expunged {
		if err := w.WriteExpunge(uint32(seq)); err != nil {
			return err
		}
	}
	if news.Exists > 0 {
		if err := w.WriteNumMessages(uint32(news.Exists)); err != nil {
			return err
		}
	}
	for _, m := range news.Flags {
		if err := w.WriteMessageFlags(uint32(ss.sel.Seq(m.UID)), goimap.UID(m.UID), flagList(m.Flags)); err != nil {
			return err
		}
	}
	return nil
}

// Idle implements imapserver.Session.
func (ss *session) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	ss.mu.Lock()
	if ss.closed {
		ss.mu.Unlock()
		return nil
	}
	ss.idle.Add(1)
	defer ss.idle.Done()
	var changed <-chan struct{} // nil, which never has a value, without a folder
	if ss.sel != nil && !ss.deleted {
		changed = ss.sel.Changed()
	}
	ss.mu.Unlock()
	for {
		// First look, then wait: a change just before IDLE is news as well.
		if err := ss.idlePoll(w, stop); err != nil {
			ss.wire.interrupt() // the client would wait in vain
			return err
		}
		select {
		case <-changed:
		case <-stop:
			return nil
		}
	}
}

func (ss *session) idlePoll(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	select {
	case <-stop: // IDLE has ended; the next command tells
		return nil
	default:
	}
	if ss.closed {
		return nil
	}
	return ss.poll(w, true)
}

// selected returns the selected folder's view. Callers hold ss.mu.
func (ss *session) selected() (*mailbox.Selection, error) {
	if ss.sel == nil || ss.deleted {
		return nil, no(goimap.ResponseCodeNonExistent, "The selected folder was deleted")
	}
	return ss.sel, nil
}

// writable is selected for commands that change something: after EXAMINE they
// are refused (RFC 9051 section 6.3.3), which the library leaves to us.
func (ss *session) writable() (*mailbox.Selection, error) {
	sel, err := ss.selected()
	if err == nil && ss.readOnly {
		err = no(goimap.ResponseCodeNoPerm, "The folder was opened read-only, with EXAMINE")
	}
	return sel, err
}
