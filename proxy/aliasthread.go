package proxy

import (
	"crypto/sha256"
	"slices"

	"mailproxy/internal/store"
	"mailproxy/proxy/headers"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/refusal"
)

// This file keeps a mail from showing its recipients that two addresses are one
// person's. In one mailbox lies the mail of all: by the Message-ID it is remembered
// under which address each came or went, and only ids of the address that a mail is
// from may stand in its In-Reply-To and References. A mail that names another address
// of its sender in To, Cc or Reply-To is refused, and so is one that answers what came
// to another: most likely the mail program has chosen the wrong identity. To oneself
// alone, all may be sent.

// threadVersion is the value of a threadKey.
const threadVersion = 1

func threadPrefix(addr string) []byte { return append([]byte("thread/"), addr+"\x00"...) }

// threadKey is where it is kept that a mail came or went under an address.
func threadKey(addr, messageID string) []byte {
	sum := sha256.Sum256([]byte(mailbox.NormalMessageID(messageID)))
	return append(threadPrefix(addr), sum[:16]...)
}

// noteThread keeps that a mail with this Message-ID came or went under the account's
// address. Without aliases there is nothing to tell apart.
func (a *account) noteThread(tx *store.Tx, messageID string) error {
	if messageID == "" || len(a.d.family(a.home())) == 1 {
		return nil
	}
	return tx.Set(threadKey(a.keys.Address(), messageID), []byte{threadVersion})
}

// threads knows under which addresses of a family mails came and went.
type threads struct {
	a      *account
	mail   *mailbox.Account
	own    string
	family []string // the account's address first
}

func (a *account) threads(mail *mailbox.Account) *threads {
	return &threads{a: a, mail: mail, own: a.keys.Address(), family: a.d.family(a.home())}
}

// noted reports whether it is kept that the mail came or went under an address.
func (t *threads) noted(addr, id string) (ok bool) {
	err := t.a.d.store.View(func(tx *store.Tx) (err error) {
		ok, err = tx.Has(threadKey(addr, id))
		return err
	})
	if err != nil {
		t.a.d.log.Error("proxy: message ids cannot be read", "err", err)
	}
	return ok
}

// foreign reports whether the mail is known to be another address's, and not this
// account's too.
func (t *threads) foreign(id string) bool {
	return !t.noted(t.own, id) && slices.ContainsFunc(t.family, func(addr string) bool {
		return addr != t.own && t.noted(addr, id)
	})
}

// seen reports whether mail from this address may name id as one it answers. What is in
// the mailbox and is not known to be an alias's is the account's.
func (t *threads) seen(id string) bool {
	if t.a.owner != "" {
		return t.noted(t.own, id)
	}
	have, err := t.mail.HasMessageID(id)
	if err != nil {
		t.a.d.log.Error("proxy: message ids cannot be read", "err", err)
	}
	return have && (len(t.family) == 1 || !t.foreign(id))
}

// sentAs is headers.Policy.SentAs: an id that recipients of mail from this address are
// not to see becomes an empty one.
func (t *threads) sentAs(id string) (string, bool) {
	sent, ok := t.a.otherID(t.mail.SentAs)(id)
	switch {
	case !ok || len(t.family) == 1:
		return sent, ok
	case t.a.owner != "" && !t.noted(t.own, sent), t.foreign(sent):
		return "", true
	}
	return sent, true
}

// elsewhere returns the other address under which the mail came or went that the mail
// program knows by id, or "".
func (t *threads) elsewhere(id string) string {
	if sent, ok := t.a.otherID(t.mail.SentAs)(id); ok {
		id = sent
	}
	if t.noted(t.own, id) {
		return ""
	}
	for _, addr := range t.family[1:] {
		if addr != t.own && t.noted(addr, id) {
			return addr
		}
	}
	if t.a.owner == "" {
		return ""
	}
	if have, err := t.mail.HasMessageID(id); err != nil {
		t.a.d.log.Error("proxy: message ids cannot be read", "err", err)
	} else if have {
		return t.family[0]
	}
	if t.noted(t.family[0], id) {
		return t.family[0]
	}
	return ""
}

// unlinked refuses a mail that would tell its recipients of another address of its
// sender. The error is a *refusal.Error.
func (s sending) unlinked(r *headers.Result, to *outbox.Submission, t *threads) error {
	if len(t.family) == 1 || !slices.ContainsFunc(to.Addresses(), func(a string) bool { return isOneOf(a, t.family) == "" }) {
		return nil
	}
	for _, f := range []struct {
		name string
		list []string
	}{{"To", r.To}, {"Cc", r.Cc}, {"Reply-To", r.ReplyTo}} {
		for _, addr := range f.list {
			if other := isOneOf(addr, t.family); other != "" && other != t.own {
				return refusal.New(550, [3]int{5, 7, 1},
					"This mail is from %s, and its %s names %s, which is yours too: whoever gets it could tell that both are one person's. Take that address out, or write from it.",
					t.own, f.name, other)
			}
		}
	}
	answered := r.InReplyTo
	if to.From == "" { // what a program writes by itself, as read receipts, names the mail there
		answered = append(slices.Clone(answered), r.References...)
	}
	for _, id := range answered {
		if other := t.elsewhere(id); other != "" {
			return refusal.New(550, [3]int{5, 7, 1},
				"This mail is from %s, and answers one that came to %s or went out from it: whoever gets it could tell that both are one person's. Choose the identity %s in your mail program, or write a new mail.",
				t.own, other, other)
		}
	}
	return nil
}
