package authority

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/sphinx"
)

// poll is how often a directory looks at what is to be done while an epoch has no
// snapshot yet: a hundredth of a round, within reason.
func (a *Authority) poll() time.Duration {
	return min(max(a.p.Round()/100, 20*time.Millisecond), 500*time.Millisecond)
}

// run votes on this epoch and the next, until ctx ends.
func (a *Authority) run(ctx context.Context) {
	tick := time.NewTicker(a.poll())
	defer tick.Stop()
	for {
		now := a.cfg.Now()
		current := a.p.EpochAt(now)
		for _, e := range []directory.Epoch{current, current + 1} {
			if a.views.Signed(e) == nil && !now.Before(a.p.VoteTime(e)) {
				if err := a.step(ctx, e, now); err != nil && ctx.Err() == nil {
					a.log.Warn("directory: voting", "epoch", uint64(e), "err", err)
				}
			}
		}
		a.forget(now)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// compare asks the other directories what they have signed of each epoch whose
// snapshot is finished here, until ctx ends: who lies has them finish another. It
// takes up neither votes nor snapshots, and does not hold up the voting.
func (a *Authority) compare(ctx context.Context) {
	tick := time.NewTicker(max(a.p.Round()/2, 2*time.Second)) // less often than rounds where times are scaled down
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		current := a.p.EpochAt(a.cfg.Now())
		for _, e := range []directory.Epoch{current, current + 1} {
			if a.views.Signed(e) != nil {
				a.witness.Ask(ctx, a.client, a.peers(), e)
			}
		}
	}
}

// forget drops what is of past epochs, in memory and on disk, but for what a clock
// that has jumped takes for past: a directory that forgot what it has signed would
// sign another.
func (a *Authority) forget(now time.Time) {
	current := a.p.EpochAt(now)
	if !a.steady.Look(now, a.p) {
		return
	}
	a.witness.Forget(current)
	if a.swept != current {
		a.swept = current // what cannot be removed now is tried again with the next epoch
		if err := a.removeOld(current); err != nil {
			a.log.Warn("directory: files of past epochs are left", "err", err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for e := range a.descriptors {
		if e < current {
			delete(a.descriptors, e)
		}
	}
	for e := range a.ballots {
		if e < current {
			delete(a.ballots, e)
		}
	}
	for e := range a.voted.Rounds {
		if e < current {
			delete(a.voted.Rounds, e)
		}
	}
	for e := range a.signed {
		if e < current {
			delete(a.signed, e)
		}
	}
}

// step does what can be done now for the snapshot of e.
func (a *Authority) step(ctx context.Context, e directory.Epoch, now time.Time) error {
	p := a.p
	since := now.Sub(p.VoteTime(e))
	round := uint32(since / p.Round())
	elapsed := since % p.Round()

	a.askFinished(ctx, e)
	if a.views.Signed(e) != nil {
		return nil
	}
	// Who starts in the middle of a round gives the others as much time as at its
	// beginning.
	b, err := a.vote(e, round, min(elapsed, now.Sub(a.started)))
	if err != nil {
		return err
	}
	a.ask(ctx, e, b)
	if b != nil {
		if err := a.count(e, b, elapsed); err != nil {
			return err
		}
	}
	return a.conclude(e, round)
}

// vote returns the ballot of the round, with this directory's vote in it, or nil
// while it waits for descriptors, or if it voted in this round before it was
// started.
func (a *Authority) vote(e directory.Epoch, round uint32, waited time.Duration) (*ballot, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b := a.ballots[e]; b != nil && b.round == round {
		return b, nil
	}
	if last, ok := a.voted.Rounds[e]; ok && last >= round {
		return nil, nil
	}
	doc := a.votesFor(round)
	var list []directory.SignedDescriptor
	if signed := a.signed[e]; signed != nil {
		doc = a.views.DocumentOf(signed)
		s, err := directory.ParseSnapshot(doc, signed)
		if err != nil {
			return nil, nil // of a document that is not known any more: load has said so
		}
		list = s.Descriptors
	} else {
		have := map[sphinx.NodeID]directory.SignedDescriptor{}
		for id, sd := range a.descriptors[e] {
			if doc.Node(id) != nil {
				have[id] = sd
			}
		}
		if len(have) < expected(doc) && waited < a.p.Round()/4 {
			return nil, nil // some may come yet
		}
		for _, sd := range have {
			list = append(list, sd)
		}
	}
	if self := doc.Node(a.self.ID()); self == nil || self.Role != directory.RoleDirectory {
		return nil, nil // it has no vote under that document
	}
	v, err := directory.NewVote(doc, e, round, list, a.cfg.Identity)
	if err != nil {
		return nil, err
	}
	a.voted.Rounds[e] = round
	if err := a.keep(votedFile, a.voted); err != nil {
		return nil, fmt.Errorf("note the vote: %w", err)
	}
	a.Counters.Votes.Add(1)
	b := &ballot{round: round, votes: map[sphinx.NodeID]*directory.Vote{a.self.ID(): v}}
	a.ballots[e] = b
	return b, nil
}

// votesFor returns the document under which this directory votes in a round: the
// newest. While the last snapshot is of an older one it votes under that in every
// second round, so that a network goes on while too few of its directories have the
// new document.
func (a *Authority) votesFor(round uint32) *directory.Document {
	newest := a.views.Document()
	if last := a.views.Latest(); last != nil && round%2 == 1 {
		return last.Document
	}
	return newest
}

// expected is how many nodes there are that publish descriptors.
func expected(d *directory.Document) int {
	return len(d.Nodes) - len(d.WithRole(directory.RoleDirectory))
}

// askFinished takes the snapshot of e from another directory that has it.
func (a *Authority) askFinished(ctx context.Context, e directory.Epoch) {
	var wg sync.WaitGroup
	for _, peer := range a.peers() {
		wg.Go(func() {
			if s, err := a.client.snapshotFrom(ctx, peer, e); err == nil {
				a.take(e, s, peer)
			}
		})
	}
	wg.Wait()
}

// ask fetches from the other directories what this one has not: their votes in the
// round, if it has a ballot itself, and the signatures that they have seen.
func (a *Authority) ask(ctx context.Context, e directory.Epoch, b *ballot) {
	var wg sync.WaitGroup
	for _, peer := range a.peers() {
		wg.Go(func() {
			a.mu.Lock()
			missing := b != nil && b.votes[peer.ID()] == nil && !b.counted
			a.mu.Unlock()
			if missing {
				a.fetchVote(ctx, peer, e, b)
			}
			a.witness.askSignatures(ctx, a.client, peer, e)
		})
	}
	wg.Wait()
}

func (a *Authority) fetchVote(ctx context.Context, peer *directory.Node, e directory.Epoch, b *ballot) {
	v, err := a.client.voteFrom(ctx, peer, e, b.round)
	if err != nil {
		return // likewise
	}
	s, err := v.Open(a.views.DocumentOf(v.Snapshot))
	if err != nil || v.Directory != peer.ID() || s.Epoch != e || v.Round != b.round {
		a.log.Warn("directory: a vote is not valid", "from", peer.Name, "err", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	b.votes[peer.ID()] = v
}

// take takes up a snapshot of e that another directory has finished.
func (a *Authority) take(e directory.Epoch, s *directory.SignedSnapshot, from *directory.Node) {
	added, err := a.views.Add(s)
	if err == nil || errors.Is(err, directory.ErrConflict) {
		a.witness.hear(from, e, *s)
	}
	if err != nil {
		a.log.Error("directory: a snapshot is refused", "from", from.Name, "err", err)
		return
	}
	if !added {
		return
	}
	a.Counters.Finished.Add(1)
	if err := errors.Join(a.keepSnapshot(s), a.arrange()); err != nil {
		a.log.Error("directory: a snapshot is not kept", "err", err)
	}
}

func (a *Authority) keepSnapshot(s *directory.SignedSnapshot) error {
	x, _, err := s.Open(a.views.DocumentOf(s.Body))
	if err != nil {
		return err
	}
	return a.keep(fmt.Sprintf("%d%s", uint64(x.Epoch), snapshotSuffix), s)
}

// count makes the snapshot from the votes and signs it, once all are there or half
// the round is over, unless it has signed another of the epoch.
func (a *Authority) count(e directory.Epoch, b *ballot, elapsed time.Duration) error {
	all := len(a.client.Directories())
	a.mu.Lock()
	if b.counted || len(b.votes) < all && elapsed < a.p.Round()/2 {
		a.mu.Unlock()
		return nil
	}
	doc, votes := a.agreed(b)
	if doc == nil {
		a.mu.Unlock()
		return nil
	}
	b.counted = true
	signed := a.signed[e]
	a.mu.Unlock()
	body, err := directory.Tally(doc, e, b.round, votes)
	if err != nil {
		return err
	}
	if err := directory.Usable(doc, body); err != nil {
		return err // the next round may do better
	}
	if signed != nil {
		return nil // these bytes or others: it keeps its word
	}
	// On disk before the signature leaves, so that it keeps it after a restart too.
	if err := a.keepBytes(fmt.Sprintf("%d%s", uint64(e), signedSuffix), body); err != nil {
		return fmt.Errorf("note what is signed: %w", err)
	}
	a.mu.Lock()
	a.signed[e] = body
	a.mu.Unlock()
	a.Counters.Signed.Add(1)
	return a.sign(e, body)
}

// agreed returns the newest document under which enough have voted, and their votes.
// a.mu is held.
func (a *Authority) agreed(b *ballot) (*directory.Document, []*directory.Vote) {
	for _, d := range a.views.Documents() {
		var votes []*directory.Vote
		for _, v := range b.votes {
			if a.views.DocumentOf(v.Snapshot) == d {
				votes = append(votes, v)
			}
		}
		if len(votes) >= d.SnapshotThreshold {
			return d, votes
		}
	}
	return nil, nil
}

// sign adds this directory's own signature to those seen.
func (a *Authority) sign(e directory.Epoch, body []byte) error {
	return a.witness.Add(e, &directory.SignedSnapshot{
		Body: body, Signatures: []directory.Signature{directory.SignSnapshot(body, a.cfg.Identity)},
	})
}

// conclude takes up the snapshot once enough directories have signed the same.
func (a *Authority) conclude(e directory.Epoch, round uint32) error {
	var done *directory.SignedSnapshot
	for _, s := range a.witness.Signed(e) {
		if len(s.Signatures) >= a.views.DocumentOf(s.Body).SnapshotThreshold {
			done = &s
		}
	}
	if done == nil {
		return nil
	}
	added, err := a.views.Add(done)
	if err != nil {
		return fmt.Errorf("finish snapshot: %w", err)
	}
	if added { // not when it came from another directory meanwhile: see take
		a.Counters.Finished.Add(1)
	}
	if err := a.keepSnapshot(done); err != nil {
		return fmt.Errorf("keep snapshot: %w", err)
	}
	if err := a.arrange(); err != nil {
		return err
	}
	a.Counters.Round.Store(uint64(round))
	a.log.Info("directory: snapshot finished", "epoch", uint64(e), "round", round, "signatures", len(done.Signatures))
	return nil
}
