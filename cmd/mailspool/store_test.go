package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mailproxy/internal/nodedir"
	"mailproxy/internal/store"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
)

// openIn opens the store in a service's directory, as the service would.
func openIn(ts *testscript.TestScript, dir string) *badgerstore.Store {
	dir = ts.MkAbs(dir)
	key, err := nodedir.Key(filepath.Join(dir, storeKey), store.KeySize, filepath.Join(dir, storeDir))
	ts.Check(err)
	st, err := badgerstore.Open(badgerstore.Options{Dir: filepath.Join(dir, storeDir), Key: key})
	ts.Check(err)
	return st
}

// user DIR NAME BLOCKS registers a user with a service that does not run. The first
// of the blocks comes from a stranger.
func makeUser(ts *testscript.TestScript, _ bool, args []string) {
	st := openIn(ts, args[0])
	blocks, err := strconv.Atoi(args[2])
	ts.Check(err)
	identity, _, err := ed25519.GenerateKey(rand.Reader)
	ts.Check(err)
	readKey, _, err := ed25519.GenerateKey(rand.Reader)
	ts.Check(err)
	id := spool.IDOf(readKey)
	ts.Check(st.Publish(context.Background(), server.Entry{
		Name: args[1], Hash: spool.HashName(args[1] + "@north.test"), Identity: identity, Version: 1, Spool: id,
		Bundle: spool.SignedBundle{Body: []byte("body"), Signature: make([]byte, ed25519.SignatureSize)},
	}, server.Publication{Create: true, Now: time.Now()}))
	for i := range blocks {
		lane := spool.LaneContacts
		if i == 0 {
			lane = spool.LaneStrangers
		}
		block := bytes.Repeat([]byte{byte(i + 1)}, spool.BlockSize)
		_, err := st.Append(context.Background(), server.Append{
			Spool: id, ID: spool.BlockIDOf(block), Block: block, Lane: lane, Now: time.Now(), MaxBlocks: 100, MaxBytes: 1 << 30,
		})
		ts.Check(err)
	}
	ts.Check(st.Close())
}

// damage DIR alters a byte of the first block of a service that does not run.
func damage(ts *testscript.TestScript, _ bool, args []string) {
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), storeDir, "blocks", "*"))
	ts.Check(err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		ts.Check(err)
		if len(b) < spool.BlockSize {
			continue
		}
		b[spool.BlockSize/2] ^= 1
		ts.Check(os.WriteFile(file, b, 0o600))
		return
	}
	ts.Fatalf("%s has no blocks", args[0])
}
