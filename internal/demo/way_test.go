package demo

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailproxy/mixnet/directory"
	"mailproxy/proxy/progress"
	"mailproxy/spool"
)

// The tests here prove that the way of a mail is the one that the documents
// describe: through every layer, in frames that show nothing, into a spool that
// shows nothing.

// secrets are what must not be seen anywhere between two people: each also in the
// three forms that it can have inside of base64.
type secrets map[string][]byte

func (s secrets) add(name, text string) {
	s[name] = []byte(text)
	for shift := range 3 {
		padded := append(make([]byte, shift), text...)
		coded := base64.RawStdEncoding.EncodeToString(padded[:len(padded)/3*3])
		s[fmt.Sprintf("%s in base64, shifted by %d", name, shift)] = []byte(coded[(shift*8+5)/6:])
	}
}

// in returns the name of a secret in b, or an empty string.
func (s secrets) in(b []byte) string {
	for name, text := range s {
		if bytes.Contains(b, text) {
			return name
		}
	}
	return ""
}

// TestSecretsAreFound makes sure that the search of the other tests finds
// something.
func TestSecretsAreFound(t *testing.T) {
	s := secrets{}
	s.add("body", "a sentence of the body")
	text := "a sentence of the body"
	for before := range 5 {
		plain := strings.Repeat(".", before) + text + ", and more"
		for _, b := range []string{plain, base64.StdEncoding.EncodeToString([]byte(plain))} {
			if s.in([]byte(b)) == "" {
				t.Errorf("nothing found in %q", b)
			}
		}
	}
	if got := s.in([]byte("nothing of it")); got != "" {
		t.Errorf("found %q where it is not", got)
	}
}

// A wireLog is what an observer inside the TLS of every link sees.
type wireLog struct {
	mu      sync.Mutex // guards all below
	secrets secrets
	frames  map[[2]directory.Key]int
	sizes   map[int]int
	leaks   []string
}

func (l *wireLog) tap(from, to directory.Key, frame []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frames == nil {
		l.frames, l.sizes = map[[2]directory.Key]int{}, map[int]int{}
	}
	l.frames[[2]directory.Key{from, to}]++
	l.sizes[len(frame)]++
	if leak := l.secrets.in(frame); leak != "" && len(l.leaks) < 10 {
		l.leaks = append(l.leaks, leak)
	}
	return true
}

// links returns the names of both ends of every link that was used. A client has
// the name of its gateway with "client of" before it.
func (l *wireLog) links(d *directory.Document) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := func(k, other directory.Key) string {
		for _, n := range d.Nodes {
			if n.Identity == k {
				return n.Name
			}
		}
		for _, n := range d.Nodes {
			if n.Identity == other {
				return "client of " + n.Name
			}
		}
		return "a stranger"
	}
	var out []string
	for k := range l.frames {
		out = append(out, name(k[0], k[1])+" > "+name(k[1], k[0]))
	}
	slices.Sort(out)
	return out
}

// allLinks are those that a network has: each client with its gateway both ways,
// and from each node to those of the next layer.
func allLinks(d *directory.Document) []string {
	var out []string
	var ends []string
	for _, g := range d.WithRole(directory.RoleGateway) {
		out = append(out, "client of "+g.Name+" > "+g.Name, g.Name+" > client of "+g.Name)
		ends = append(ends, g.Name)
	}
	for _, s := range d.Offering("spool") {
		ends = append(ends, s.Name)
	}
	layers := [][]string{ends}
	for l := 1; l <= directory.Layers; l++ {
		var names []string
		for _, m := range d.Layer(l) {
			names = append(names, m.Name)
		}
		layers = append(layers, names)
	}
	layers = append(layers, ends)
	for i := range layers[1:] {
		for _, from := range layers[i] {
			for _, to := range layers[i+1] {
				out = append(out, from+" > "+to)
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestNothingIsSeen(t *testing.T) {
	t.Parallel()
	const subject = "Meeting behind the old observatory"
	line := "The quick brown fox jumps over the lazy dog, whose name is %d in every village.\r\n"
	var body strings.Builder
	for i := range 300 { // 24 KB of lines that compress, and some that do not
		fmt.Fprintf(&body, line, i)
	}
	noise := base64.StdEncoding.EncodeToString(randomBytes(12 << 10))
	for len(noise) > 76 {
		body.WriteString(noise[:76] + "\r\n")
		noise = noise[76:]
	}
	all := secrets{}
	all.add("subject", subject)
	all.add("body", "The quick brown fox jumps over the lazy dog")
	all.add("end of a line of the body", "in every village.")
	all.add("alice's address", Alice)
	all.add("bob's address", Bob)
	all.add("alice's domain", "north.test")
	all.add("bob's domain", "south.test")
	log := &wireLog{secrets: all}
	w := newWorld(t, func(c *Config) { c.Tap = log.tap })

	before := map[string]uint64{}
	for name, n := range w.Network.Nodes() {
		before[name] = n.Counters.Received.Load()
	}
	blocks := watchBlocks(t, w, "south.test", "bob")
	w.send(t, Alice, Bob, subject, body.String())
	eventually(t, "delivery", func() bool { return w.delivered(Bob) == 1 })
	w.send(t, Bob, Alice, "Re: "+subject, body.String())
	eventually(t, "the answer's delivery", func() bool { return w.delivered(Alice) == 1 })
	got := w.fetch(t, Bob, "INBOX")
	if len(got) != 1 || !bytes.Contains(got[0], []byte(body.String())) {
		t.Fatal("bob has not got what alice sent")
	}

	for name, n := range w.Network.Nodes() {
		if now := n.Counters.Received.Load(); now == before[name] {
			t.Errorf("%s got no packet", name)
		}
	}
	sent := w.count(progress.InSpool, Alice, Bob)
	if stored := w.Spools["south.test"].Answers(spool.TypeAppend, spool.StatusOK); sent != 1 || stored < 2 {
		t.Errorf("%d messages are in bob's spool, in %d blocks; want 1 in several", sent, stored)
	}
	eventually(t, "frames on every link", func() bool {
		return slices.Equal(log.links(w.Network.Document), allLinks(w.Network.Document))
	})
	log.mu.Lock()
	defer log.mu.Unlock()
	if len(log.sizes) != 1 {
		t.Errorf("frames have the sizes %v (size: number), want one size", log.sizes)
	}
	for _, leak := range log.leaks {
		t.Errorf("a frame shows %s", leak)
	}

	// The stores: a provider publishes its own users' key bundles, whose
	// addresses are therefore there, and knows nothing else.
	for domain, own := range map[string]string{"north.test": "alice's", "south.test": "bob's"} {
		rest := secrets{}
		for name, text := range all {
			if !strings.HasPrefix(name, own) {
				rest[name] = text
			}
		}
		files := readAll(t, filepath.Join(w.cfg.Dir, domain))
		if !bytes.Contains(bytes.Join(files, nil), []byte(domain)) {
			t.Errorf("the files of %s do not even show its own user: are they read rightly?", domain)
		}
		for _, b := range files {
			if leak := rest.in(b); leak != "" {
				t.Errorf("the store of %s shows %s", domain, leak)
			}
		}
	}
	// What is at rest with the user is encrypted; accounts.json is the demo's own.
	for _, b := range readAll(t, filepath.Join(w.cfg.Dir, "user", "store")) {
		if leak := all.in(b); leak != "" {
			t.Errorf("the user's store shows %s", leak)
		}
	}
	seen := blocks()
	if len(seen) < 2 {
		t.Errorf("%d blocks were seen in bob's spool, want several", len(seen))
	}
	for _, b := range seen {
		if leak := all.in(b); leak != "" {
			t.Errorf("a block in the spool shows %s", leak)
		}
		if len(b) != spool.BlockSize {
			t.Errorf("a block in the spool has %d bytes, want %d", len(b), spool.BlockSize)
		}
	}
}

// watchBlocks looks into a spool all the time, through its store, and returns a
// function that ends it and returns the blocks that were seen.
func watchBlocks(t *testing.T, w *testWorld, domain, name string) func() [][]byte {
	t.Helper()
	st := w.stores[slices.Index(Providers, domain)]
	entry, err := st.Lookup(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var blocks [][]byte
	wg.Go(func() {
		for cursor := uint64(0); ctx.Err() == nil; time.Sleep(time.Millisecond) {
			r, err := st.Read(ctx, entry.Spool, cursor, 0)
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("read the spool: %v", err)
				}
				return
			}
			if r.Seq > cursor {
				blocks = append(blocks, bytes.Clone(r.Block))
				cursor = r.Seq
			}
		}
	})
	return func() [][]byte { cancel(); wg.Wait(); return blocks }
}

// readAll returns the contents of all files below dir.
func readAll(t *testing.T, dir string) [][]byte {
	t.Helper()
	var out [][]byte
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // compacted away
		}
		out = append(out, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatalf("there are no files in %s", dir)
	}
	return out
}

// TestLayerStopped stops each layer in turn: nothing arrives without it, and
// all arrives, once, when it is back.
func TestLayerStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.send(t, Alice, Bob, "before", "all is well")
	eventually(t, "delivery through the whole network", func() bool { return w.delivered(Bob) == 1 })
	want := []string{"before"}
	for l := 1; l <= directory.Layers; l++ {
		mixes := w.Network.Document.Layer(l)
		for _, m := range mixes {
			if err := w.Network.Stop(m.Name); err != nil {
				t.Fatal(err)
			}
		}
		before := w.delivered(Bob)
		for i := range 5 {
			subject := fmt.Sprintf("layer %d, mail %d", l, i)
			w.send(t, Alice, Bob, subject, "sent while a layer was away")
			want = append(want, subject)
		}
		// A packet that was past the layer when it stopped may still bring the end
		// of what was sent before; all of that has arrived. A mail takes a quarter
		// of a second.
		time.Sleep(slow * 1500 * time.Millisecond)
		if n := w.delivered(Bob) - before; n != 0 {
			t.Errorf("%d mails arrived without layer %d", n, l)
		}
		for _, m := range mixes {
			if err := w.Network.Restart(m.Name); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, fmt.Sprintf("delivery after layer %d is back", l), func() bool { return w.delivered(Bob) >= len(want) })
	}
	// Each lost packet has been repeated by now, or soon will be: nothing more may
	// come of it.
	eventually(t, "the end of all sending", func() bool { return w.Daemon.Status().Waiting == 0 })
	time.Sleep(slow * time.Second)
	got := subjects(w.fetch(t, Bob, "INBOX"))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("bob's INBOX has\n%q, want\n%q", got, want)
	}
	if got := w.fetch(t, Alice, "INBOX"); len(got) != 0 {
		t.Errorf("alice was told %q", subjects(got))
	}
}
