package keylog

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"mailproxy/spool"
)

// TestVectors has the vectors of docs/protocol.md: a change of one of these bytes is
// a change of the protocol. The identities' seeds are 32 bytes of 01, 02 and 03.
func TestVectors(t *testing.T) {
	records := []spool.LogRecord{
		{Kind: spool.LogMade, Name: spool.HashName("alice@north.test"), Version: 1},
		{Kind: spool.LogMade, Name: spool.HashName("bob@north.test"), Version: 1},
		{Kind: spool.LogChanged, Name: spool.HashName("alice@north.test"), Version: 7},
	}
	s := &stored{}
	for i := range records {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i + 1)}, ed25519.SeedSize))
		records[i].Identity = [32]byte(key.Public().(ed25519.PublicKey))
		s.append(t, records[i])
	}
	encode := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	leaf := tlog.RecordHash(records[0].Encode())
	for _, v := range []struct {
		what string
		got  []byte
		want string
	}{
		{"name hash", records[0].Name[:], "537bc9287ed4cc4d9dec8c9b273ab993e324c80bff74103681f25c9f14be0e7c"},
		{"record 0", records[0].Encode(), "0101537bc9287ed4cc4d9dec8c9b273ab993e324c80bff74103681f25c9f14be" +
			"0e7c8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f" +
			"6f5c0000000000000001"},
		{"record 2", records[2].Encode(), "0102537bc9287ed4cc4d9dec8c9b273ab993e324c80bff74103681f25c9f14be" +
			"0e7ced4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac87" +
			"37d10000000000000007"},
		{"leaf 0", leaf[:], "d37ef0cfb288b648c9f18d5584ab981485b0d3c88ed813d05d8e5020bc4d7f36"},
		{"notice", head(t, s, 3).Notice(), "0100000000000000034190ecf9e19f37d329c5aeaae1711b9c6293abc4e62315" +
			"1e6a12c9fc71fe620d"},
		{"proof of record 0", encode(Prove(3, 0, s)), "6f1e5b70fc72e84ac9d178f46819d2dbf51d643fb32a0750c45939d9fe47ce37" +
			"ef0a7bb78d8a754784edc1ecc9418bcbcbcc900aee735e9b3ea9273c135b5a63"},
		{"proof of record 2", encode(Prove(3, 2, s)), "b435caa2a737f78ac2955fc590e877ddbf9ea0ab2966715628966483ac3c8f48"},
		{"edge", encode(Edge(3, s)), "b435caa2a737f78ac2955fc590e877ddbf9ea0ab2966715628966483ac3c8f48" +
			"ef0a7bb78d8a754784edc1ecc9418bcbcbcc900aee735e9b3ea9273c135b5a63"},
	} {
		if got := hex.EncodeToString(v.got); got != v.want {
			t.Errorf("%s is\n%s, want\n%s", v.what, got, v.want)
		}
	}
}
