package web

import (
	"fmt"
	"math"
	"strings"
	"time"

	"mailproxy/mixclient"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/outbox"
)

// moving is a mail on its way, in words.
type moving struct {
	outbox.Mail
	Recipients   []movingPart
	Withdrawable bool // for a recipient at least
	Refused      bool // it waits after a refusal
}

type movingPart struct {
	Address string
	Words   string
	Percent int // of its blocks, that are in the spool; -1 where that says nothing
	Expect  string
	Problem string
	NextTry *time.Time
}

// movingOf says how far each mail is, and when it will be there.
func movingOf(s State, now time.Time) []moving {
	networks := map[string]int{}
	for _, a := range s.Accounts {
		networks[a.Address] = a.Network
	}
	paying := map[string]outbox.Payment{}
	for _, p := range s.Paying {
		paying[p.Account+"\x00"+p.Recipient] = p
	}
	var left []int // blocks of all parts that are on the same engine
	for _, m := range s.Sending {
		for _, r := range m.Recipients {
			left = append(left, blocksLeft(m, r))
		}
	}
	var list []moving
	for _, m := range s.Sending {
		out := moving{Mail: m}
		i, ok := networks[m.Account]
		for _, r := range m.Recipients {
			p := movingPart{Address: r.Address, Percent: -1, Problem: r.Problem, NextTry: r.NextTry}
			p.Words = stateWords(r)
			if r.Blocks > 0 && r.State == "sending" {
				p.Percent = 100 * r.Acknowledged / r.Blocks
			}
			if pay, ok := paying[m.Account+"\x00"+r.Address]; ok && r.State == "sending" {
				p.Words += fmt.Sprintf("; a new recipient: paying with computing time, %d of %d", pay.Paid, pay.Blocks)
			}
			if ok && i >= 0 {
				p.Expect = expectWords(s.Networks[i].Status, r, blocksLeft(m, r), left, now)
			}
			out.Withdrawable = out.Withdrawable || r.Withdrawable
			out.Refused = out.Refused || r.Problem != ""
			out.Recipients = append(out.Recipients, p)
		}
		list = append(list, out)
	}
	return list
}

// blockSize is about what a block carries of a mail, for mail that is not sealed yet.
const blockSize = 7000

// blocksLeft is how many blocks of a part are not in the spool yet.
func blocksLeft(m outbox.Mail, r outbox.MailRecipient) int {
	switch {
	case r.State == "sending":
		return r.Blocks - r.Acknowledged
	case r.State == "queued":
		return int(m.Size/blockSize) + 1
	}
	return 0
}

func stateWords(r outbox.MailRecipient) string {
	switch r.State {
	case "queued":
		return "waits for the recipient's key"
	case "held":
		return "held: the recipient's key changed or is in doubt"
	case "sending":
		if r.Blocks == 1 {
			return "leaving"
		}
		return fmt.Sprintf("%d of %d parts are at the recipient's provider", r.Acknowledged, r.Blocks)
	case "spooled":
		return "at the recipient's provider"
	case "delivered":
		return "delivered"
	case "unconfirmed":
		return "at the recipient's provider, never confirmed"
	case "failed":
		return "failed: a report is in your INBOX"
	case "withdrawn":
		return "withdrawn"
	}
	return r.State
}

// expectWords says in how long a part will be in the recipient's mailbox, if they are
// online.
func expectWords(n mixclient.Status, r outbox.MailRecipient, own int, all []int, now time.Time) string {
	switch {
	case own == 0:
		return ""
	case !n.Connected:
		return "leaves when the connection is back"
	case r.NextTry != nil && r.NextTry.After(now):
		return "is tried again at " + when(*r.NextTry)
	case n.QueryRate <= 0:
		return ""
	}
	return "about " + durationWords(expected(n, r.State == "queued", own, all))
}

// expected is how long the rest of a part takes on average. Parts share the slots in
// turn: until one with own blocks is through, of each other as many have left, or all
// it has. What gets lost takes a further slot. Then the last crosses the network, and
// waits for a slot in which its recipient, online and with the same network, reads.
func expected(n mixclient.Status, keys bool, own int, all []int) time.Duration {
	slots := 0
	for _, other := range all {
		slots += min(own, other)
	}
	rate := n.QueryRate * max(0.05, 1-n.LoopsLost)
	sec := float64(slots) / rate
	if keys { // a look-up comes first
		sec += 1/rate + n.RoundTrip.Seconds()
	}
	sec += n.RoundTrip.Seconds() / 2 // the last block, there
	if n.ReadRate > 0 {
		sec += float64(min(own, 4))/n.ReadRate + n.RoundTrip.Seconds()/2
	}
	return time.Duration(sec * float64(time.Second))
}

// durationWords rounds a duration as one says it.
func durationWords(d time.Duration) string {
	switch sec := d.Seconds(); {
	case sec < 10:
		return fmt.Sprintf("%.0f seconds", math.Max(1, sec))
	case sec < 90:
		return fmt.Sprintf("%.0f seconds", 5*math.Round(sec/5))
	case sec < 5400:
		return fmt.Sprintf("%.0f minutes", sec/60)
	}
	return fmt.Sprintf("%.0f hours", d.Hours())
}

// fate says by a sent mail's keywords what became of it. Mail to several may have
// several.
func fate(keywords []string) string {
	var words []string
	for _, k := range []struct{ keyword, word string }{
		{mailbox.KeywordFailed, "failed: a report is in your INBOX"},
		{mailbox.KeywordWithdrawn, "withdrawn"},
		{mailbox.KeywordQueued, "waiting"},
		{mailbox.KeywordSent, "on its way"},
		{mailbox.KeywordSpooled, "at the recipient's provider"},
		{mailbox.KeywordUnconfirmed, "never confirmed"},
		{mailbox.KeywordDelivered, "delivered"},
	} {
		for _, have := range keywords {
			if strings.EqualFold(have, k.keyword) {
				words = append(words, k.word)
			}
		}
	}
	return strings.Join(words, ", ")
}
