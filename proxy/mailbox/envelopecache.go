package mailbox

import "sync"

// envelopesKept bounds the cache, in bytes as they are counted by cost. It is the
// envelopes of some eight thousand ordinary messages.
const envelopesKept = 8 << 20

// An envelopeCache keeps decoded envelopes: a client that lists a folder, or
// searches it for a subject, asks for the same ones again and again. An envelope
// never changes. What makes room is any other one, not the oldest: a folder that is
// larger than the cache and read from end to end would always push out what it asks
// for next.
type envelopeCache struct {
	mu   sync.Mutex // guards what follows
	m    map[blobID]*Envelope
	cost int
}

func (c *envelopeCache) get(b blobID) *Envelope {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[b]
}

func (c *envelopeCache) put(b blobID, e *Envelope) {
	n := e.cost()
	if n > envelopesKept/64 {
		return // one that is so large would push out too many
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[blobID]*Envelope)
	}
	if c.m[b] != nil {
		return
	}
	for other, o := range c.m { // in no order
		if c.cost+n <= envelopesKept {
			break
		}
		delete(c.m, other)
		c.cost -= o.cost()
	}
	c.m[b] = e
	c.cost += n
}

// drop forgets an envelope whose message is gone, or may be.
func (c *envelopeCache) drop(b blobID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.m[b]; e != nil {
		delete(c.m, b)
		c.cost -= e.cost()
	}
}

// cost is about how many bytes of memory the envelope takes.
func (e *Envelope) cost() int {
	n := 400 + len(e.Subject) + len(e.MessageID)
	for _, list := range [][]Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		for _, a := range list {
			n += 48 + len(a.Name) + len(a.Mailbox) + len(a.Host)
		}
	}
	for _, id := range e.InReplyTo {
		n += 16 + len(id)
	}
	for name, text := range e.Text {
		n += 100 + len(name) + len(text)
	}
	return n
}
