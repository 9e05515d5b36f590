package builtin

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"mailproxy/mixclient"
	"mailproxy/mixnet/directory"
)

// renewed returns a later document.
func renewed(t *testing.T, d *directory.Document, edit func(*directory.Document)) *directory.Document {
	t.Helper()
	next := *d
	next.Nodes = append([]directory.Node(nil), d.Nodes...)
	next.Made = d.Made.Add(time.Hour)
	edit(&next)
	text, err := directory.EncodeDraft(&next)
	if err != nil {
		t.Fatal(err)
	}
	read, err := directory.ParseDraft(text)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func TestReload(t *testing.T) {
	net := startNetwork(t)
	c := startClient(t, net)
	for deadline := time.Now().Add(2 * time.Minute); !c.Status().Connected; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not connected")
		}
	}
	gateway := c.Gateway()
	for _, test := range []struct {
		name string
		edit func(*directory.Document)
		says string
	}{
		{"without its gateway", func(d *directory.Document) { d.RemoveNode(gateway) }, `gateway "` + gateway + `" is not in it`},
		{"with other rates", func(d *directory.Document) { d.Parameters.ReadRate *= 2 }, "it changes read_rate"},
	} {
		if changed, err := c.Reload(renewed(t, net.Document, test.edit)); changed || !errors.Is(err, directory.ErrSuccessor) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("a document %s: %v, %v, want ErrSuccessor that says %q", test.name, changed, err, test.says)
		}
	}
	second := renewed(t, net.Document, func(d *directory.Document) { d.RemoveNode("mix2b") })
	if changed, err := c.Reload(second); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if changed, err := c.Reload(second); changed || err != nil {
		t.Errorf("the document in use: %v, %v", changed, err)
	}
	// It goes on with the snapshot that there is.
	services, err := c.Services(t.Context(), mixclient.KindEcho)
	if err != nil || len(services) == 0 {
		t.Fatal(services, err)
	}
	asked := false
	for range 5 { // a packet may be lost
		if _, err = c.Query(t.Context(), services[0], []byte("hello")); err == nil {
			asked = true
			break
		}
	}
	if !asked || !c.Status().Connected {
		t.Errorf("after the new document: %v, %+v", err, c.Status())
	}
}

// TestStartedWithANewerDocument: who has a document that does not hold yet goes on
// with the one before.
func TestStartedWithANewerDocument(t *testing.T) {
	net := startNetwork(t)
	c, err := New(Config{Document: renewed(t, net.Document, func(d *directory.Document) { d.RemoveNode("mix2b") }), Earlier: net.Document})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for deadline := time.Now().Add(2 * time.Minute); !c.Status().Connected; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not connected: %s", c.Status().Reason)
		}
	}
}

// TestNewerDocument: who does not have the network's document is told so, and does
// not give up the gateway that shows it.
func TestNewerDocument(t *testing.T) {
	net := startNetwork(t)
	other := renewed(t, net.Document, func(d *directory.Document) { d.RemoveNode("mix2b") })
	c, err := New(Config{Document: other, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const want = "ask your provider for it"
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(c.Status().Reason, want); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it says %q, not %q", c.Status().Reason, want)
		}
	}
}
