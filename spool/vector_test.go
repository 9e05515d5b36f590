package spool

import (
	"crypto/ed25519"
	"encoding/hex"
	"testing"
	"time"
)

// The vectors of docs/protocol.md: a change of one of these bytes is a change of
// the protocol. The keys' seeds are 32 bytes of 01 (identity), of 02 (read) and
// of 03 (append).
func TestVectors(t *testing.T) {
	auth := Auth{Instance: Instance{1, 2, 3, 4, 5, 6, 7, 8}, Nonce: 7, Expiry: 1_772_366_700}
	read := &Read{Cursor: 4, Want: 6, Auth: auth}
	read.Sign(ServiceOf("north.test"), testKey(2))
	access := &Access{AppendKey: testKey(3).Public().(ed25519.PublicKey), Version: 2, Auth: auth}
	access.Sign(ServiceOf("north.test"), testKey(2))
	revoke := &Revoke{Name: "alice", Spool: IDOf(read.ReadKey), Erase: true, Auth: auth}
	revoke.Sign(ServiceOf("north.test"), testKey(1))
	encode := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	service := ServiceOf("north.test")
	id := IDOf(read.ReadKey)
	block := BlockIDOf(make([]byte, BlockSize))
	contacts, strangers := AppendInput(LaneContacts, service, id, block), AppendInput(LaneStrangers, service, id, block)
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
		{"access", encode(EncodeRequest(access)), "020600a0" +
			"a40158208139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394" +
			"025820ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d10302" +
			"04a4014801020304050607080207031a69a42b6c045840" +
			"f463fe4ca248d0769f4054650998d6dcd3b5974ecab8830f2ce2944cff2d4a8c" +
			"f3d93c5c902d508e739804b24861ce026597ed0cbb2306426c949868e8aa6202"},
		{"revoke", encode(EncodeRequest(revoke)), "02070084" +
			"a40165616c6963650258206a3803d5f059902a1c6dafbc9ba4729212f7caac08634cc3ae76b27529f0382703f5" +
			"04a4014801020304050607080207031a69a42b6c045840" +
			"1cda76cc22fbba81a0dea618afb4a10c02a3b44b37a176ab08c5b2999fa63468" +
			"9d5eee37c61821f63608300c71ca8160e8e313c70cfd63f316587570b7d99602"},
		{"lookup with a size", encode(EncodeRequest(&Lookup{Name: "alice", Size: 9})), "0203000aa20165616c6963650209"},
		{"log", encode(EncodeRequest(&Log{From: 3, Size: 9, Edge: true})), "02080007a30103020903f5"},
		{"refusal", encode(EncodeRefused(Refused{Status: StatusWork, Time: time.Unix(1_772_366_400, 0), Terms: &Terms{4096, 1, 6}})),
			"02450011a2011a69a42a4003a30119100002010306"},
		{"block id", block[:], "9f1dcbc35c350d6027f98be0f5c8b43b42ca52b7604459c0c42be3aa88913d47"},
		{"input of contacts", contacts[:], "3948c5744b9cc2a9cfecc8951a014a0dce393b91adac2c0434a6a1af0b42aad6"},
		{"input of strangers", strangers[:], "5273a5c98304b20da0f3072a446de7a73f4e6d9d1592b697bfc4c754343b77c2"},
		{"proof of a contact", SignContact(testKey(3), service, id, block).Proof, "" +
			"f8937277b8baccfea524e9d877b8f2a10ce4591cf43bbcfe0628396cad4576e8" +
			"024d38e36b9d1299dcaf41cb56c65c8a1b700cd538e6ebcb9fda056def4f1b08"},
		{"reply to a read, nothing there", encode(EncodeReply(StatusOK, ReadReply{Last: 4})), "02010003a10504"},
		{"head of an append", encode(EncodeRequest(&Append{Spool: id, Block: make([]byte, BlockSize)}))[:44],
			"02042028a20158206a3803d5f059902a1c6dafbc9ba4729212f7caac08634cc3ae76b27529f0382702592000"},
	} {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, got, tt.want)
		}
	}
}
