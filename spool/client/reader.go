package client

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"

	"mailproxy/mixclient"
	"mailproxy/spool"
)

// ReaderOptions are what a Reader reads and where it puts it.
type ReaderOptions struct {
	Service mixclient.Service
	Key     ed25519.PrivateKey // the spool's read key
	Signing Signing            // Now is not used

	// Cursor is what Moved was last called with, in this run or an earlier one,
	// or 0. An older one costs nothing but time.
	Cursor uint64

	// Deliver stores a block durably before it returns nil. Blocks come in any
	// order, from several goroutines at once, and after a restart some come
	// again. A block that is worth nothing must be accepted too: one that Deliver
	// fails for is asked for until it does not.
	Deliver func(seq uint64, block []byte) error

	// Moved is told that everything up to cursor is stored or gone; nil for
	// nobody. It is never called twice at once, and cursor grows but for Reset.
	Moved func(cursor uint64)

	// Last is told of each reply the last number that the service gave, before the
	// reply's block is delivered; nil for nobody. See spool.Generation.
	Last func(last uint64)

	// Failed is told why a read brought nothing, if not for a lost packet: an
	// error of this package, or one of Deliver; nil for nobody. ErrOtherReader
	// and ErrExpired are for the user to hear of, ErrCursorAhead is for Reset.
	Failed func(err error)
}

// A Reader reads a spool with many reads in flight at once, in whatever order
// their replies come, and knows how far everything is stored. Its methods may be
// called from any goroutine.
//
// It holds to this: the cursor passes a sequence number only when Deliver has
// returned nil for it, or when the service does not have it any more and no read
// that could still bring it is in flight.
type Reader struct {
	o ReaderOptions

	mu     sync.Mutex // guards all below; not held while Deliver runs
	epoch  int        // counts Resets; what began in an earlier one is void
	cursor uint64
	blocks map[uint64]state // above cursor
	flight map[uint64]uint64
	issued uint64    // number of the last read; the key of flight, whose value is want
	absent []absence // above cursor, at least in part
	last   uint64    // highest sequence number the service is known to have given

	moving sync.Mutex // held while Moved runs
	told   uint64     // what Moved was told last; guarded by moving
	toldIn int        // the epoch of told; guarded by moving
}

// state says how far a block is that was received.
type state bool

const (
	storing state = false // Deliver has it
	stored  state = true  // Deliver returned nil
)

// An absence is a range of sequence numbers that the service was seen not to have
// and so never will. Reads issued no later than when that was learned may have
// been answered before, and may bring one of them still.
type absence struct {
	lo, hi uint64
	issued uint64
}

// NewReader returns a reader. It does nothing by itself: see Next.
func NewReader(o ReaderOptions) (*Reader, error) {
	switch {
	case len(o.Key) != ed25519.PrivateKeySize:
		return nil, errors.New("read spool: read key has the wrong size")
	case o.Signing.Nonce == nil || o.Deliver == nil:
		return nil, errors.New("read spool: Nonce and Deliver must be set")
	case o.Cursor > spool.MaxSequence:
		return nil, errors.New("read spool: cursor is out of range")
	}
	if o.Moved == nil {
		o.Moved = func(uint64) {}
	}
	if o.Last == nil {
		o.Last = func(uint64) {}
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	r := &Reader{o: o, told: o.Cursor}
	r.clear(o.Cursor)
	return r, nil
}

func (r *Reader) clear(cursor uint64) {
	r.cursor, r.last = cursor, cursor
	r.blocks, r.flight, r.absent = make(map[uint64]state), make(map[uint64]uint64), nil
}

// Cursor returns the sequence number up to which everything is stored or gone.
func (r *Reader) Cursor() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cursor
}

// Backlog returns how many blocks are known to be above the cursor at most.
func (r *Reader) Backlog() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last - r.cursor
}

// Reset sets the cursor, also back. It is for a spool that has lost blocks
// (ErrCursorAhead): reading goes on behind the last that it knows of, the
// refusal's Last. Replies to earlier reads are then ignored.
func (r *Reader) Reset(cursor uint64) {
	r.mu.Lock()
	r.epoch++
	r.clear(min(cursor, spool.MaxSequence))
	r.mu.Unlock()
	r.tellMoved()
}

// Next returns the request for a slot of the read process, and the function that
// must be called once with its reply or with why there is none. It returns at
// once; done takes as long as Deliver.
func (r *Reader) Next(now time.Time) (request []byte, done func(reply []byte, err error)) {
	r.mu.Lock()
	epoch, cursor, want := r.epoch, r.cursor, r.want()
	r.issued++
	number := r.issued
	r.flight[number] = want
	r.mu.Unlock()

	request, err := NextRead(r.o.Service, r.o.Key, r.o.Signing, now, cursor, want)
	if err != nil {
		// The fields have their sizes from NewReader on.
		panic(err)
	}
	return request, func(reply []byte, err error) { r.done(epoch, number, cursor, reply, err) }
}

// want returns the lowest sequence number that nothing is known of and that no
// read in flight asks for.
func (r *Reader) want() uint64 {
	asked := make(map[uint64]bool, len(r.flight))
	for _, w := range r.flight {
		asked[w] = true
	}
	w := r.cursor + 1
search:
	for {
		for _, a := range r.absent {
			if a.lo <= w && w <= a.hi {
				w = a.hi + 1
				continue search
			}
		}
		if _, have := r.blocks[w]; !have && !asked[w] {
			return w
		}
		w++
	}
}

func (r *Reader) done(epoch int, number, cursor uint64, reply []byte, err error) {
	var got *spool.ReadReply
	if err == nil {
		got, err = ParseRead(reply, cursor)
	}
	r.mu.Lock()
	_, flying := r.flight[number]
	if epoch != r.epoch || !flying {
		r.mu.Unlock()
		return
	}
	delete(r.flight, number)
	deliver := false
	if err == nil {
		deliver = r.learn(got, cursor)
	}
	r.advance()
	r.mu.Unlock()

	if err == nil {
		r.o.Last(got.Last)
	}
	if deliver {
		if err = r.o.Deliver(got.Seq, got.Block); err != nil {
			err = fmt.Errorf("store block %d: %w", got.Seq, err)
		}
		r.mu.Lock()
		if epoch == r.epoch {
			if err == nil {
				r.blocks[got.Seq] = stored
			} else {
				delete(r.blocks, got.Seq)
			}
			r.advance()
		}
		r.mu.Unlock()
	}
	r.tellMoved()
	if err != nil && !errors.Is(err, mixclient.ErrLost) && !errors.Is(err, mixclient.ErrClosed) {
		r.o.Failed(err)
	}
}

// learn takes in what a reply says, and says whether its block is to be
// delivered. A gap between lowest and highest, which only a service whose clock
// has jumped has, is learned of when the cursor comes to it.
func (r *Reader) learn(got *spool.ReadReply, cursor uint64) (deliver bool) {
	r.last = max(r.last, got.Last)
	if got.Seq == 0 {
		r.missing(cursor+1, got.Last)
		return false
	}
	r.missing(cursor+1, got.Lowest-1)
	r.missing(got.Highest+1, got.Last)
	if _, have := r.blocks[got.Seq]; have || got.Seq <= r.cursor {
		return false
	}
	r.blocks[got.Seq] = storing
	return true
}

// missing notes that the service does not have lo to hi.
func (r *Reader) missing(lo, hi uint64) {
	lo = max(lo, r.cursor+1)
	for lo <= hi && r.blocks[lo] == stored {
		lo++
	}
	if lo > hi {
		return
	}
	for _, a := range r.absent {
		if a.lo <= lo && hi <= a.hi {
			return
		}
	}
	r.absent = append(r.absent, absence{lo: lo, hi: hi, issued: r.issued})
}

// advance moves the cursor over what is stored or gone.
func (r *Reader) advance() {
	oldest := r.issued + 1 // of the reads in flight
	for number := range r.flight {
		oldest = min(oldest, number)
	}
moving:
	for {
		next := r.cursor + 1
		if s, have := r.blocks[next]; have {
			if s == storing {
				break
			}
			r.cursor = next
			delete(r.blocks, next)
			continue
		}
		for _, a := range r.absent {
			if a.lo <= next && next <= a.hi && a.issued < oldest {
				r.cursor = r.beforeBlock(a.hi)
				continue moving
			}
		}
		break
	}
	kept := r.absent[:0]
	for _, a := range r.absent {
		if a.hi > r.cursor {
			kept = append(kept, a)
		}
	}
	r.absent = kept
	r.last = max(r.last, r.cursor)
}

// beforeBlock returns hi, or if a block above the cursor and not above hi was
// received, the number before it: the cursor stops there and looks at it.
func (r *Reader) beforeBlock(hi uint64) uint64 {
	for seq := range r.blocks {
		hi = min(hi, seq-1)
	}
	return hi
}

// tellMoved tells Moved of the cursor, if it is another one than last time.
func (r *Reader) tellMoved() {
	r.moving.Lock()
	defer r.moving.Unlock()
	r.mu.Lock()
	epoch, cursor := r.epoch, r.cursor
	r.mu.Unlock()
	if cursor != r.told || epoch != r.toldIn {
		r.told, r.toldIn = cursor, epoch
		r.o.Moved(cursor)
	}
}
