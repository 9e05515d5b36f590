package server

import (
	"crypto/ed25519"
	"runtime"
	"sync"

	"github.com/hdevalence/ed25519consensus"
)

// Reads are most of what a spool is asked, and one Ed25519 verification (RFC 8032
// section 5.1.7) costs more than taking a packet apart. Signatures that wait at the
// same time are therefore verified together (Bernstein, Duif, Lange, Schwabe and
// Yang, "High-speed high-security signatures", section 5), which takes about half
// as long for each. A batch accepts by the rules of ZIP 215: all that RFC 8032
// accepts, and signatures that only the key's owner can have made on purpose.
// Their malleability is no matter here: a request is recognised by its nonce.
type signatures struct {
	mu      sync.Mutex // guards all below
	waiting []*signature
	leading bool // somebody who waits is about to take all
	singly  int  // verifications left to do one by one, after many batches that failed
	seen    int  // signatures in batches, since it was last looked at
	spoiled int  // of these, in batches that failed
}

type signature struct {
	key       ed25519.PublicKey
	input     []byte
	signature []byte
	good      bool
	done      chan struct{} // closed once good is known
}

// A batch that fails is halved until the bad signatures are found, which does up to
// twice the work that verifying it one by one does. Where more than half of
// signaturesSeen signatures were in such batches, batches are not worth it, and
// the next singlyAfter are verified one by one.
const (
	signaturesSeen = 256
	singlyAfter    = 1000
)

// verify reports whether the signature is good. It waits for nobody: what comes
// while others are verified makes up the next batch.
func (v *signatures) verify(key ed25519.PublicKey, input, sig []byte) bool {
	v.mu.Lock()
	if v.singly > 0 {
		v.singly--
		v.mu.Unlock()
		return ed25519.Verify(key, input, sig)
	}
	s := &signature{key: key, input: input, signature: sig, done: make(chan struct{})}
	v.waiting = append(v.waiting, s)
	if v.leading {
		v.mu.Unlock()
		<-s.done
		return s.good
	}
	v.leading = true
	v.mu.Unlock()
	runtime.Gosched() // requests that are ready to run join first

	v.mu.Lock()
	batch := v.waiting
	v.waiting, v.leading = nil, false
	v.mu.Unlock()
	good := together(batch)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count(len(batch), good)
	return s.good
}

// count notes a batch, and how it went. It needs v.mu.
func (v *signatures) count(n int, good bool) {
	v.seen += n
	if !good && n > 1 { // one alone is no work that was done twice
		v.spoiled += n
	}
	if v.seen < signaturesSeen {
		return
	}
	if 2*v.spoiled > v.seen {
		v.singly = singlyAfter
	}
	v.seen, v.spoiled = 0, 0
}

// together verifies a batch and says of each signature whether it is good. It
// returns whether all are.
func together(batch []*signature) bool {
	all := settle(batch, false)
	for _, s := range batch {
		close(s.done)
	}
	return all
}

// settle says of each of some signatures whether it is good, and whether all are.
// If one of them is known to be bad, they are not tried together.
func settle(batch []*signature, bad bool) bool {
	if len(batch) < 2 {
		for _, s := range batch {
			s.good = ed25519.Verify(s.key, s.input, s.signature)
			if !s.good {
				return false
			}
		}
		return true
	}
	if !bad {
		v := ed25519consensus.NewPreallocatedBatchVerifier(len(batch))
		for _, s := range batch {
			v.Add(s.key, s.input, s.signature)
		}
		if v.Verify() {
			for _, s := range batch {
				s.good = true
			}
			return true
		}
	}
	half := len(batch) / 2
	left := settle(batch[:half], false)
	settle(batch[half:], left) // the left ones are good: so a bad one is here
	return false
}
