package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/local"
)

// hurry is how much faster than a real one the network of a provider is.
const hurry = 6

// provider DOMAIN makes a provider of the script's own, as its operator does: mailspool
// is built and put into the PATH, DIR "provider" is made by "mailspool init", a network
// runs that has its entry in the document, and the document is served over https until
// the script ends. It sets DOCUMENTS to where that is, and WEB_CA to the file of the
// authority that vouches for the server. The script runs mailspool by itself.
//
// Beside /network.note the server has /few.note, which too few have signed, and
// /altered.note, which is not what they signed.
func provider(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "provider DOMAIN")
	bin := ts.MkAbs("bin")
	ts.Check(os.Mkdir(bin, 0o700))
	// With the environment of the test, not the script's: it has the build cache.
	if out, err := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "mailproxy/cmd/mailspool").CombinedOutput(); err != nil {
		ts.Fatalf("build mailspool: %v\n%s", err, out)
	}
	ts.Setenv("PATH", bin+string(filepath.ListSeparator)+ts.Getenv("PATH"))

	dir, at := ts.MkAbs("provider"), spoolAddress(ts)
	ts.Check(ts.Exec(filepath.Join(bin, "mailspool"), "init", "--dir", dir, "--operator", "north", "--provider", args[0], "--address", at, "--listen", at))
	entry, err := directory.ParseEntries([]byte(ts.ReadFile(filepath.Join(dir, "node.toml"))))
	ts.Check(err)
	network, err := local.Start(local.Config{Parameters: directory.DefaultParameters().Scaled(hurry), Outside: entry})
	ts.Check(err)
	ts.Defer(func() { ts.Check(network.Close()) })
	ts.Check(os.WriteFile(filepath.Join(dir, "network.note"), network.Note, 0o600))

	web := serveDocuments(ts, network.Note)
	file := filepath.Join(dir, "mailspool.toml")
	config := ts.ReadFile(file)
	for _, change := range [][2]string{
		{"keys = []", fmt.Sprintf("keys = ['%s']", strings.Join(network.Trust.Keys, "', '"))},
		{"threshold = 0", fmt.Sprintf("threshold = %d", network.Trust.Threshold)},
		{"document = ''", fmt.Sprintf("document = '%s/network.note'", web)},
	} {
		if strings.Count(config, change[0]) != 1 {
			ts.Fatalf("%s has not one %q:\n%s", file, change[0], config)
		}
		config = strings.Replace(config, change[0], change[1], 1)
	}
	ts.Check(os.WriteFile(file, []byte(config), 0o600))
}

// spoolAddress is below the ports that systems give to outgoing connections, and beside
// those that package local uses: nobody takes it before mailspool does.
func spoolAddress(ts *testscript.TestScript) string {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.N(8000)))
		if err == nil {
			ts.Check(l.Close())
			return l.Addr().String()
		}
	}
	ts.Fatalf("no port is free")
	return ""
}

// serveDocuments serves the files that provider promises, and returns where.
func serveDocuments(ts *testscript.TestScript, note []byte) string {
	// A note's text, an empty line, and a line for each who has signed.
	last := bytes.LastIndex(note, []byte("\n\u2014 "))
	if bytes.Count(note, []byte("\n\u2014 ")) < 2 {
		ts.Fatalf("the network document has no two signatures:\n%s", note)
	}
	altered := bytes.Replace(note, []byte("gateway1"), []byte("gateway9"), 1)
	if bytes.Equal(altered, note) {
		ts.Fatalf("the network document has no gateway1")
	}
	mux := http.NewServeMux()
	for path, body := range map[string][]byte{"/network.note": note, "/few.note": note[:last+1], "/altered.note": altered} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	}
	server := httptest.NewTLSServer(mux)
	ts.Defer(server.Close)
	ca := ts.MkAbs("web-ca.pem")
	ts.Check(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	ts.Setenv("DOCUMENTS", server.URL)
	ts.Setenv("WEB_CA", ca)
	return server.URL
}
