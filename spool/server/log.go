package server

import (
	"context"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"mailproxy/spool"
	"mailproxy/spool/keylog"
)

// logRoom is what a reply has for records and edge: MaxReplySize without the
// framing.
const logRoom = spool.MaxReplySize - 32

// noticeWait bounds how long a node that makes its descriptor waits for the store.
const noticeWait = 5 * time.Second

// noticeRetry is how long it waits between two attempts to read it.
const noticeRetry = time.Second

// lastHead is the key log's head as it was last computed.
type lastHead struct {
	mu   sync.Mutex // guards head and have
	head spool.LogHead
	have bool
}

// hashes reads the key log's hashes from the store.
func (s *Server) hashes(ctx context.Context) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) { return s.store.LogHashes(ctx, indexes) })
}

// LogHead returns the head of the key log: of all that was answered as done before.
func (s *Server) LogHead(ctx context.Context) (spool.LogHead, error) {
	size, err := s.store.LogSize(ctx)
	if err != nil {
		return spool.LogHead{}, err
	}
	s.head.mu.Lock()
	if s.head.have && s.head.head.Size == size {
		defer s.head.mu.Unlock()
		return s.head.head, nil
	}
	s.head.mu.Unlock()
	head, err := keylog.Head(size, s.hashes(ctx))
	if err != nil {
		return spool.LogHead{}, err
	}
	s.head.mu.Lock()
	defer s.head.mu.Unlock()
	if !s.head.have || head.Size > s.head.head.Size {
		s.head.head, s.head.have = head, true
	}
	return head, nil
}

// Notice returns what the service announces in its node's descriptor: the head of
// the key log. If the store cannot be read, not even when it is tried again, it is
// none, which says nothing: an old head would say that what was logged since is not.
func (s *Server) Notice() []byte {
	ctx, cancel := context.WithTimeout(context.Background(), noticeWait)
	defer cancel()
	for {
		head, err := s.LogHead(ctx)
		if err == nil {
			return head.Notice()
		}
		s.log.Error("spool: the key log's head cannot be read to be announced", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(noticeRetry):
		}
	}
}

// prove returns the proof that a record is in the log of that size; none if size is
// zero, or the record is newer.
func (s *Server) prove(ctx context.Context, size, index uint64) ([]byte, spool.Status) {
	if size == 0 {
		return nil, spool.StatusOK
	}
	if status := s.holds(ctx, size); status != spool.StatusOK || index >= size {
		return nil, status
	}
	proof, err := keylog.Prove(size, index, s.hashes(ctx))
	return proof, s.status("prove a record of the key log", err)
}

// holds says whether the log has so many records.
func (s *Server) holds(ctx context.Context, size uint64) spool.Status {
	have, err := s.store.LogSize(ctx)
	if err == nil && size > have {
		err = ErrNoLog
	}
	return s.status("read the key log's size", err)
}

// records answers a request for the key log.
func (s *Server) records(ctx context.Context, r *spool.Log) (any, spool.Status) {
	if !s.rates.take(rateLog, [32]byte{}, s.policy.Load().Lookups, s.now()) {
		return nil, spool.StatusBusy
	}
	if status := s.holds(ctx, r.Size); status != spool.StatusOK {
		return nil, status
	}
	var reply spool.LogReply
	var err error
	if r.Edge {
		if reply.Edge, err = keylog.Edge(r.From, s.hashes(ctx)); err != nil {
			return nil, s.status("read the key log's edge", err)
		}
	}
	n := min(r.Size-r.From, spool.MaxLogRecords, uint64(logRoom-len(reply.Edge))/spool.LogRecordSize)
	reply.Records, err = s.store.LogRecords(ctx, r.From, r.From+n)
	return reply, s.status("read the key log", err)
}
