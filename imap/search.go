package imap

import (
	"fmt"
	"net/textproto"
	"slices"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailproxy/proxy/mailbox"
)

// Search implements imapserver.Session. What the index answers is asked first,
// header fields second, bodies last.
func (ss *session) Search(kind imapserver.NumKind, criteria *goimap.SearchCriteria, options *goimap.SearchOptions) (*goimap.SearchData, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	data, err := ss.search(kind, criteria, options)
	if err != nil && options.ReturnSave {
		ss.saved = nil // RFC 5182 section 2.1
	}
	return data, err
}

// search is Search. Callers hold ss.mu.
func (ss *session) search(kind imapserver.NumKind, criteria *goimap.SearchCriteria, options *goimap.SearchOptions) (*goimap.SearchData, error) {
	sel, err := ss.selected()
	if err != nil {
		return nil, err
	}
	fix := ss.wire.searchFix()
	if err := decodeCriteria(fix.charset, criteria); err != nil {
		return nil, err
	}
	if n := keys(criteria); n > maxKeys {
		return nil, no(goimap.ResponseCodeLimit, fmt.Sprintf("The search has %d conditions; %d are possible", n, maxKeys))
	}
	q := ss.compile(criteria)
	pass, deep := q.cheap, q.needsContent()
	if !deep && len(q.not)+len(q.or) > 0 {
		pass = func(m *mailbox.Message) bool {
			ok, _ := q.match(m, nil) // which fails only where it reads
			return ok
		}
	}
	list, err := sel.Pick(pass)
	if err != nil {
		return nil, ss.fail(err)
	}
	if deep {
		if list, err = ss.read(q, list); err != nil {
			return nil, ss.fail(err)
		}
	}
	data := ss.result(kind, list, options)
	if fix.saveOnly {
		data.All = goimap.UIDSet(nil) // the wire drops the answer, which is then short
	}
	return data, nil
}

// readTogether is how many messages are read from one snapshot of the store.
const readTogether = 64

// read returns those of the messages whose content matches too. What was expunged
// meanwhile does not.
func (ss *session) read(q *query, list []mailbox.Numbers) ([]mailbox.Numbers, error) {
	var found []mailbox.Numbers
	uids := make([]uint32, 0, readTogether)
	var t texts
	for some := range slices.Chunk(list, readTogether) {
		if ss.s.ctx.Err() != nil {
			return nil, no(goimap.ResponseCodeUnavailable, "Shutting down")
		}
		uids = uids[:0]
		for _, n := range some {
			uids = append(uids, n.UID)
		}
		known, err := ss.sel.Known(uids)
		if err != nil {
			return nil, err
		}
		err = ss.sel.Folder().Contents(known, func(m mailbox.Seen, c *mailbox.Content) error {
			t.of(c)
			ok, err := q.match(&m.Message, &t)
			if ok {
				found = append(found, mailbox.Numbers{Seq: uint32(m.Seq), UID: m.UID})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (ss *session) result(kind imapserver.NumKind, found []mailbox.Numbers, options *goimap.SearchOptions) *goimap.SearchData {
	data := &goimap.SearchData{Count: uint32(len(found))}
	num := func(n mailbox.Numbers) uint32 {
		if kind == imapserver.NumKindSeq {
			return n.Seq
		}
		return n.UID
	}
	var set goimap.SeqSet
	for i := 0; i < len(found); {
		// A run of numbers at a time: sets insert slowly.
		first := num(found[i])
		last := first
		for i++; i < len(found) && num(found[i]) == last+1; i++ {
			last++
		}
		set = append(set, goimap.SeqRange{Start: first, Stop: last})
	}
	data.All = set
	if kind == imapserver.NumKindUID {
		uids := make(goimap.UIDSet, len(set))
		for i, r := range set {
			uids[i] = goimap.UIDRange{Start: goimap.UID(r.Start), Stop: goimap.UID(r.Stop)}
		}
		data.All = uids
	}
	if len(found) > 0 {
		data.Min, data.Max = num(found[0]), num(found[len(found)-1])
	}
	if options.ReturnSave {
		uids := make([]uint32, len(found))
		for i, m := range found {
			uids[i] = m.UID
		}
		ss.saved = savedResult(uids, options)
	}
	return data
}

// savedResult follows the table of RFC 5182 section 2.4: MIN and MAX alone save
// only what they name.
func savedResult(found []uint32, options *goimap.SearchOptions) []uint32 {
	if len(found) == 0 || options.ReturnAll || options.ReturnCount || !options.ReturnMin && !options.ReturnMax {
		return slices.Clone(found)
	}
	var saved []uint32
	if options.ReturnMin {
		saved = append(saved, found[0])
	}
	if options.ReturnMax && (len(found) > 1 || !options.ReturnMin) {
		saved = append(saved, found[len(found)-1])
	}
	return saved
}

// A query is a search criteria with its sets resolved and its texts folded.
type query struct {
	*goimap.SearchCriteria
	// uids are those that are in all sets, if limited.
	uids    uidList
	limited bool
	// all and none are the system flags in Flag and NotFlag, keywords and
	// noKeywords what else there is.
	all, none            mailbox.Marks
	keywords, noKeywords []string

	header []goimap.SearchCriteriaHeaderField
	body   []string
	text   []string
	not    []*query
	or     [][2]*query
}

// maxKeys bounds the conditions of one SEARCH: each costs time for every message. Mail
// programs ask for a dozen, those that write OR OR OR for some hundred.
const maxKeys = 5000

// keys counts them, and the sets.
func keys(c *goimap.SearchCriteria) int {
	n := len(c.SeqNum) + len(c.UID) + len(c.Flag) + len(c.NotFlag) + len(c.Header) + len(c.Body) + len(c.Text)
	for i := range c.Not {
		n += 1 + keys(&c.Not[i])
	}
	for i := range c.Or {
		n += 1 + keys(&c.Or[i][0]) + keys(&c.Or[i][1])
	}
	return n
}

func (ss *session) compile(c *goimap.SearchCriteria) *query {
	q := &query{SearchCriteria: c}
	set := func(n goimap.NumSet) {
		uids := ss.ranges(n)
		if q.limited {
			uids = q.uids.and(uids)
		}
		q.uids, q.limited = uids, true
	}
	for _, s := range c.SeqNum {
		set(s)
	}
	for _, s := range c.UID {
		set(s)
	}
	flags := func(list []goimap.Flag, marks *mailbox.Marks, others *[]string) {
		for _, f := range list {
			if m := mailbox.MarkOf(string(f)); m != 0 {
				*marks |= m
			} else {
				*others = append(*others, string(f)) // \Recent too, which is never there
			}
		}
	}
	flags(c.Flag, &q.all, &q.keywords)
	flags(c.NotFlag, &q.none, &q.noKeywords)
	for _, h := range c.Header {
		q.header = append(q.header, goimap.SearchCriteriaHeaderField{Key: textproto.CanonicalMIMEHeaderKey(h.Key), Value: fold(h.Value)})
	}
	for _, t := range c.Body {
		q.body = append(q.body, fold(t))
	}
	for _, t := range c.Text {
		q.text = append(q.text, fold(t))
	}
	for i := range c.Not {
		q.not = append(q.not, ss.compile(&c.Not[i]))
	}
	for i := range c.Or {
		q.or = append(q.or, [2]*query{ss.compile(&c.Or[i][0]), ss.compile(&c.Or[i][1])})
	}
	return q
}

func (q *query) needsContent() bool {
	if len(q.header)+len(q.body)+len(q.text) > 0 || !q.SentSince.IsZero() || !q.SentBefore.IsZero() {
		return true
	}
	return slices.ContainsFunc(q.not, (*query).needsContent) ||
		slices.ContainsFunc(q.or, func(o [2]*query) bool { return o[0].needsContent() || o[1].needsContent() })
}

// cheap tests what the index knows.
func (q *query) cheap(m *mailbox.Message) bool {
	if !m.Marked(q.all, q.none) {
		return false
	}
	if q.limited && !q.uids.has(m.UID) {
		return false
	}
	for _, f := range q.keywords {
		if !m.HasFlag(f) {
			return false
		}
	}
	for _, f := range q.noKeywords {
		if m.HasFlag(f) {
			return false
		}
	}
	if (!q.Since.IsZero() || !q.Before.IsZero()) && !inDates(m.Date(), q.Since, q.Before) {
		return false
	}
	return (q.Larger == 0 || m.Size > q.Larger) && (q.Smaller == 0 || m.Size < q.Smaller)
}

func (q *query) match(m *mailbox.Message, t *texts) (bool, error) {
	if !q.cheap(m) {
		return false, nil
	}
	if !q.SentSince.IsZero() || !q.SentBefore.IsZero() {
		e, err := t.c.Envelope()
		if err != nil || !e.HasDate || !inDates(e.Time(), q.SentSince, q.SentBefore) {
			return false, err
		}
	}
	for _, h := range q.header {
		if ok, err := t.inField(h.Key, h.Value); err != nil || !ok {
			return false, err
		}
	}
	for _, n := range q.not {
		if ok, err := n.match(m, t); err != nil || ok {
			return false, err
		}
	}
	for _, o := range q.or {
		ok, err := o[0].match(m, t)
		if err == nil && !ok {
			ok, err = o[1].match(m, t)
		}
		if err != nil || !ok {
			return false, err
		}
	}
	for _, want := range q.body {
		if ok, err := t.inBody(want); err != nil || !ok {
			return false, err
		}
	}
	for _, want := range q.text {
		ok, err := t.inField("", want)
		if err == nil && !ok {
			ok, err = t.inBody(want)
		}
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// inDates compares days, without time and zone (RFC 9051 section 6.4.4).
func inDates(t, since, before time.Time) bool {
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	return (since.IsZero() || !day.Before(since)) && (before.IsZero() || day.Before(before))
}
