package spool

import (
	"encoding/hex"
	"testing"
)

// The vectors of docs/protocol.md: a change of one of these bytes is a change of
// the protocol. The keys' seeds are 32 bytes of 01 (identity) and of 02 (read).
func TestVectors(t *testing.T) {
	read := &Read{Cursor: 4, Want: 6, Auth: Auth{Instance: Instance{1, 2, 3, 4, 5, 6, 7, 8}, Nonce: 7, Expiry: 1_772_366_700}}
	read.Sign(ServiceOf("north.test"), testKey(2))
	encode := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	service := ServiceOf("north.test")
	id := IDOf(read.ReadKey)
	for _, tt := range []struct {
		what string
		got  []byte
		want string
	}{
		{"service", service[:], "307ba4fcfefec723dbacc6647b03fe487477af4599dac075c752befc67ea5691"},
		{"spool id", id[:], "6a3803d5f059902a1c6dafbc9ba4729212f7caac08634cc3ae76b27529f03827"},
		{"lookup", encode(EncodeRequest(&Lookup{Name: "alice"})), "02030008a10165616c696365"},
		{"read", encode(EncodeRequest(read)), "0205007f" +
			"a40158208139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b39402040306" +
			"04a4014801020304050607080207031a69a42b6c045840" +
			"f4261fa5482bc04f3895ba6ce7a2a4ab7e68e3f2a20831a3b439ddebbfbb306d" +
			"41d8b57104404917358080d6d3151e77a560fc61d79aa8b44293ab6b248a700c"},
		{"reply to a read, nothing there", encode(EncodeReply(StatusOK, ReadReply{Last: 4})), "02010003a10504"},
		{"head of an append", encode(EncodeRequest(&Append{Spool: id, Block: make([]byte, BlockSize)}))[:44],
			"02042028a20158206a3803d5f059902a1c6dafbc9ba4729212f7caac08634cc3ae76b27529f0382702592000"},
	} {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, got, tt.want)
		}
	}
}
