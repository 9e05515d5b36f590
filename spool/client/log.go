package client

import (
	"context"
	"fmt"

	"mailproxy/internal/address"
	"mailproxy/spool"
	"mailproxy/spool/keylog"
)

// A Found is what a look-up brings.
type Found struct {
	Signed *spool.SignedBundle
	Bundle *spool.Bundle // Signed, opened
	// Record is what the key log is said to hold at Index, the newest about this
	// name, and Proof what shows that in the log of Size records, for which it was
	// asked. Nobody has checked it yet: see keylog.CheckRecord.
	Record spool.LogRecord
	Index  uint64
	Size   uint64
	Proof  []byte
	Terms  spool.Terms // what a stranger's block costs
}

// Lookup returns the bundle of a name, the local part of a canonical address at
// the service's domain. The bundle's signature and address have been checked;
// whether its identity is the right one is for the caller to say. size is that of
// the key log for which the service is to prove it, zero for no proof.
func (c *Client) Lookup(ctx context.Context, name string, size uint64) (*Found, error) {
	var reply spool.LookupReply
	if _, err := c.ask(ctx, &spool.Lookup{Name: name, Size: size}, &reply); err != nil {
		return nil, fmt.Errorf("look up key bundle: %w", err)
	}
	f, err := c.found(name, size, &reply)
	if err != nil {
		return nil, fmt.Errorf("look up key bundle: %w", err)
	}
	return f, nil
}

func (c *Client) found(name string, size uint64, reply *spool.LookupReply) (*Found, error) {
	b, err := reply.Bundle.Open()
	if err != nil {
		// Not with %w: the fault is the service's, and may pass.
		return nil, fmt.Errorf("%w: %v", ErrReply, err)
	}
	switch {
	case !address.IsCanonical(b.Address) || b.Address != name+"@"+c.svc.Provider:
		return nil, fmt.Errorf("%w: it is another address's", ErrReply)
	case reply.Kind != spool.LogMade && reply.Kind != spool.LogChanged:
		return nil, fmt.Errorf("%w: its record in the key log has kind %d", ErrReply, reply.Kind)
	case reply.Version > b.Version:
		return nil, fmt.Errorf("%w: its record in the key log is of a later version", ErrReply)
	case reply.Index >= spool.MaxLogSize:
		return nil, fmt.Errorf("%w: its record is beyond any key log", ErrReply)
	case len(reply.Proof) > keylog.MaxProof || len(reply.Proof) > 0 && reply.Index >= size:
		return nil, fmt.Errorf("%w: it has a proof that was not asked for", ErrReply)
	}
	return &Found{
		Signed: &reply.Bundle, Bundle: b, Index: reply.Index, Size: size, Proof: reply.Proof, Terms: reply.Terms,
		Record: spool.LogRecord{
			Kind: reply.Kind, Name: spool.HashName(b.Address), Identity: [32]byte(b.Identity), Version: reply.Version,
		},
	}, nil
}

// A LogPart is a part of the key log.
type LogPart struct {
	Records []spool.LogRecord // the first is the one asked for
	Edge    []byte            // see keylog.NewTree; only if it was asked for
}

// Log returns records of the key log of size records, from one on: as many as the
// service likes, but one at least if there are any. With edge, it also returns the
// edge of the first from records.
func (c *Client) Log(ctx context.Context, from, size uint64, edge bool) (*LogPart, error) {
	var reply spool.LogReply
	if _, err := c.ask(ctx, &spool.Log{From: from, Size: size, Edge: edge}, &reply); err != nil {
		return nil, fmt.Errorf("read key log: %w", err)
	}
	p, err := parseLog(from, size, edge, &reply)
	if err != nil {
		return nil, fmt.Errorf("read key log: %w", err)
	}
	return p, nil
}

func parseLog(from, size uint64, edge bool, reply *spool.LogReply) (*LogPart, error) {
	want := 0
	if edge {
		want = keylog.EdgeSize(from)
	}
	n := len(reply.Records) / spool.LogRecordSize
	switch {
	case len(reply.Edge) != want:
		return nil, fmt.Errorf("%w: it has an edge of %d bytes, not of %d", ErrReply, len(reply.Edge), want)
	case n*spool.LogRecordSize != len(reply.Records) || n > spool.MaxLogRecords || uint64(n) > size-from || n == 0 && size > from:
		return nil, fmt.Errorf("%w: it has %d bytes of records", ErrReply, len(reply.Records))
	}
	p := &LogPart{Edge: reply.Edge, Records: make([]spool.LogRecord, n)}
	for i := range p.Records {
		var err error
		p.Records[i], err = spool.DecodeLogRecord(reply.Records[i*spool.LogRecordSize : (i+1)*spool.LogRecordSize])
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}
