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
	singly  int  // verifications left to do one by one, after a batch that failed
}

type signature struct {
	key       ed25519.PublicKey
	input     []byte
	signature []byte
	good      bool
	done      chan struct{} // closed once good is known
}

// singlyAfter is how many verifications follow a batch with a bad signature one by
// one: with such a batch all work for it is done twice, so whoever sends bad
// signatures on purpose must not be able to spoil every batch.
const singlyAfter = 1000

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
	if !together(batch) {
		v.mu.Lock()
		v.singly = singlyAfter
		v.mu.Unlock()
	}
	return s.good
}

// together verifies a batch and says of each signature whether it is good. It
// returns false if the batch had to be gone through one by one.
func together(batch []*signature) bool {
	all := false
	if len(batch) > 1 {
		v := ed25519consensus.NewPreallocatedBatchVerifier(len(batch))
		for _, s := range batch {
			v.Add(s.key, s.input, s.signature)
		}
		all = v.Verify()
	}
	for _, s := range batch {
		s.good = all || ed25519.Verify(s.key, s.input, s.signature)
		close(s.done)
	}
	return all || len(batch) == 1
}
