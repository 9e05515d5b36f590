package main

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// An outcome is what the SMTP client knows of a mail.
type outcome int

const (
	sending  outcome = iota // it is being submitted
	accepted                // 250
	unknown                 // the connection went after the last byte, before the answer
	aborted                 // the connection went before the last byte
	refused                 // the server said no
)

func (o outcome) String() string {
	return [...]string{"being submitted", "accepted", "unknown", "aborted", "refused"}[o]
}

// A mail is one that was submitted, or nearly.
type mail struct {
	number   int
	from     string
	to       []string
	size     int // of the body
	body     [sha256.Size]byte
	outcome  outcome
	answer   string // if it was refused
	life     int    // of the child
	began    time.Time
	answered time.Time
}

func (m *mail) String() string {
	return fmt.Sprintf("mail %d from %s to %s, body of %d bytes, %s (life %d, from %s to %s)",
		m.number, m.from, strings.Join(m.to, ", "), m.size, m.outcome, m.life,
		m.began.UTC().Format(stampFormat), m.answered.UTC().Format(stampFormat))
}

// An arrival is a message in an INBOX.
type arrival struct {
	uid      uint32
	number   int  // of the mail; -1 if it is none of ours
	good     bool // the body is the one that was sent
	life     int  // in which it was seen first
	at       time.Time
	expunged bool // EXPUNGE was sent; in doubt, whether it was done
	gone     bool // EXPUNGE was answered with OK
	subject  string
}

// An inbox is what the IMAP client knows of one.
type inbox struct {
	validity uint32
	next     uint32 // the highest UIDNEXT seen
	uids     map[uint32]*arrival
}

// A ledger holds what mail clients know. It outlives the child.
type ledger struct {
	mu       sync.Mutex // guards all below
	mails    []*mail
	inboxes  map[string]*inbox // by account
	wrong    []string          // what must never be, in words
	copies   int               // accepted, one for each recipient
	arrived  int               // of these, seen
	expunges int
	checks   int           // looks at a whole INBOX
	changed  chan struct{} // closed and replaced with each arrival
	taken    chan struct{} // and with each 250
}

func newLedger() *ledger {
	return &ledger{inboxes: map[string]*inbox{}, changed: make(chan struct{}), taken: make(chan struct{})}
}

// blame notes something that must never be.
func (l *ledger) blame(format string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, a...))
}

// begin adds a mail that is about to be submitted.
func (l *ledger) begin(m *mail, life int, body func(number int) []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.number, m.life, m.began = len(l.mails), life, time.Now()
	b := body(m.number)
	m.size, m.body = len(b), sha256.Sum256(b)
	l.mails = append(l.mails, m)
	return b
}

// end notes what became of a submission.
func (l *ledger) end(m *mail, o outcome, answer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.outcome, m.answer, m.answered = o, answer, time.Now()
	switch o {
	case accepted:
		l.copies += len(m.to)
		for _, box := range l.inboxes {
			for _, a := range box.uids {
				if a.number == m.number { // it was faster than the answer
					l.arrived++
				}
			}
		}
		close(l.taken)
		l.taken = make(chan struct{})
	case refused:
		l.wrong = append(l.wrong, fmt.Sprintf("refused: %s: %s", m, answer))
	}
}

// pending returns how many accepted copies have not been seen yet.
func (l *ledger) pending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.copies - l.arrived
}

// changes returns channels that are closed with the next 250, and with the next
// arrival.
func (l *ledger) changes() (taken, arrived <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken, l.changed
}

func (l *ledger) inbox(account string) *inbox {
	box := l.inboxes[account]
	if box == nil {
		box = &inbox{uids: map[uint32]*arrival{}}
		l.inboxes[account] = box
	}
	return box
}

// selected checks what SELECT said of an INBOX.
func (l *ledger) selected(account string, validity, next uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	box := l.inbox(account)
	if box.validity != 0 && box.validity != validity {
		l.wrong = append(l.wrong, fmt.Sprintf("UIDVALIDITY of %s was %d and is %d", account, box.validity, validity))
	}
	if next < box.next {
		l.wrong = append(l.wrong, fmt.Sprintf("UIDNEXT of %s was %d and is %d", account, box.next, next))
	}
	box.validity, box.next = validity, max(next, box.next)
	for uid := range box.uids {
		if uid >= next {
			l.wrong = append(l.wrong, fmt.Sprintf("uid %d was seen with %s, whose UIDNEXT is %d", uid, account, next))
		}
	}
}

// known returns the highest UID seen with account.
func (l *ledger) known(account string) (highest uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for uid := range l.inbox(account).uids {
		highest = max(highest, uid)
	}
	return highest
}

// listed checks a whole INBOX, as UIDs and subjects, against what was seen
// before.
func (l *ledger) listed(account string, subjects map[uint32]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checks++
	for uid, a := range l.inbox(account).uids {
		subject, there := subjects[uid]
		switch {
		case !there && !a.expunged:
			l.wrong = append(l.wrong, fmt.Sprintf("gone: uid %d of %s (%q), which was there in life %d", uid, account, a.subject, a.life))
			a.good = false // lost after all
		case there && a.gone:
			l.wrong = append(l.wrong, fmt.Sprintf("uid %d of %s (%q) was expunged and is back", uid, account, a.subject))
		case there && subject != a.subject:
			l.wrong = append(l.wrong, fmt.Sprintf("uid %d of %s was %q and is %q", uid, account, a.subject, subject))
		}
	}
}

// saw notes a message in an INBOX, and returns its arrival. It may be one that
// was seen before.
func (l *ledger) saw(account string, uid uint32, subject string, body []byte, life int) *arrival {
	l.mu.Lock()
	defer l.mu.Unlock()
	box := l.inbox(account)
	number := numberOf(subject)
	good := number >= 0 && number < len(l.mails) && sha256.Sum256(body) == l.mails[number].body
	if a := box.uids[uid]; a != nil {
		if a.subject != subject || a.good && !good {
			l.wrong = append(l.wrong, fmt.Sprintf("changed: uid %d of %s was %q and is %q, with another body", uid, account, a.subject, subject))
			a.good = false
		}
		return a
	}
	for other := range box.uids {
		if uid < other {
			l.wrong = append(l.wrong, fmt.Sprintf("uid %d of %s is new, and %d was there before", uid, account, other))
			break
		}
	}
	a := &arrival{uid: uid, number: number, good: good, life: life, at: time.Now(), subject: subject}
	box.uids[uid] = a
	switch {
	case number < 0 || number >= len(l.mails):
		l.wrong = append(l.wrong, fmt.Sprintf("unexpected: uid %d of %s, %q", uid, account, subject))
	case !good:
		l.wrong = append(l.wrong, fmt.Sprintf("damaged: uid %d of %s has %d bytes: %s", uid, account, len(body), l.mails[number]))
	case !slices.Contains(l.mails[number].to, account):
		l.wrong = append(l.wrong, fmt.Sprintf("misdelivered: uid %d of %s: %s", uid, account, l.mails[number]))
	case l.mails[number].outcome == accepted:
		l.arrived++
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return a
}

// expunging and expunged note what the client did with a message.
func (l *ledger) expunging(a *arrival) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.expunged = true
}

func (l *ledger) expunged(a *arrival) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.gone = true
	l.expunges++
}
