package server_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"mailproxy/spool/server"
)

// digest is of all that a store shows: names, bundles, spools with their append
// keys, blocks and remembered ids, invitations, the key log.
func digest(t testing.TB, st server.Store) [sha256.Size]byte {
	t.Helper()
	ctx, h := context.Background(), sha256.New()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	users, err := st.Users(ctx, "", 1000)
	must(err)
	for _, u := range users {
		fmt.Fprintf(h, "%+v\n", u)
		e, err := st.Lookup(ctx, u.Name)
		if !errors.Is(err, server.ErrRevoked) {
			must(err)
		}
		info, err := st.Spool(ctx, u.Spool)
		must(err)
		fmt.Fprintf(h, "%+v\n%+v\n", e, info)
		for cursor := uint64(0); ; {
			r, err := st.Read(ctx, u.Spool, cursor, 0)
			if errors.Is(err, server.ErrRevoked) || errors.Is(err, server.ErrSuspended) {
				break
			}
			must(err)
			fmt.Fprintf(h, "%d %d %d %d %x\n", r.Seq, r.Lowest, r.Highest, r.Last, sha256.Sum256(r.Block))
			if cursor = r.Seq; cursor == 0 {
				break
			}
		}
	}
	invites, err := st.Invites(ctx)
	must(err)
	stats, err := st.Stats(ctx)
	must(err)
	records, err := st.LogRecords(ctx, 0, stats.LogSize)
	must(err)
	fmt.Fprintf(h, "%+v\n%+v\n%x\n", invites, stats, records)
	return [sha256.Size]byte(h.Sum(nil))
}
