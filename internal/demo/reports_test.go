package demo

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"mailproxy/mixclient"
	"mailproxy/mixclient/builtin"
	"mailproxy/mixnet/directory"
	"mailproxy/mixnet/local"
	"mailproxy/proxy"
	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/outbox"
	"mailproxy/proxy/progress"
	"mailproxy/spool/server"
)

// quickTimes let an outbox give up within seconds, if the network is a fast one.
func quickTimes(p directory.Parameters) outbox.Times {
	t := patientTimes
	second := time.Duration(slower(p) * slow * float64(time.Second))
	t.TellDelay, t.Expire = 2*second, 5*second
	return t
}

// A told is what a report says.
type told struct {
	action, status, recipient string
	text                      string // the part for people
	original                  string // what is returned of the message
}

// readReport takes a report apart as a mail program does, and checks its form:
// RFC 6522 and RFC 3464.
func readReport(t *testing.T, m []byte) (r told) {
	t.Helper()
	e, err := message.Read(bytes.NewReader(m))
	if err != nil {
		t.Fatalf("read report: %v\n%s", err, m)
	}
	mediaType, params, err := mime.ParseMediaType(e.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("this is no report: %q (%v)\n%s", e.Header.Get("Content-Type"), err, m)
	}
	var types []string
	for parts := e.MultipartReader(); ; {
		p, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("read report: %v\n%s", err, m)
		}
		b, err := io.ReadAll(p.Body)
		if err != nil {
			t.Fatalf("read report: %v\n%s", err, m)
		}
		partType, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil {
			t.Fatalf("read report: %v\n%s", err, m)
		}
		types = append(types, partType)
		switch partType {
		case "text/plain":
			r.text = strings.Join(strings.Fields(string(b)), " ")
		case "message/delivery-status":
			// Fields of the message, an empty line, fields of the recipient.
			_, about, ok := bytes.Cut(b, []byte("\r\n\r\n"))
			if !ok {
				t.Fatalf("the status has one part only:\n%s", b)
			}
			about = bytes.TrimSpace(about)
			r.action, r.status = field(about, "Action"), field(about, "Status")
			r.recipient = strings.TrimSpace(strings.TrimPrefix(field(about, "Final-Recipient"), "rfc822;"))
		default:
			r.original = string(b)
		}
	}
	if len(types) != 3 || types[0] != "text/plain" || types[1] != "message/delivery-status" {
		t.Errorf("the report has the parts %q", types)
	}
	return r
}

// reports waits until the INBOX of address has n messages, looks whether there come
// more, and returns them, all of which must be reports.
func (w *testWorld) reports(t *testing.T, address string, n int) []told {
	t.Helper()
	eventually(t, "reports in the INBOX", func() bool { return w.inInbox(t, address) >= n })
	time.Sleep(slow * 500 * time.Millisecond)
	var out []told
	for _, m := range w.fetch(t, address, "INBOX") {
		out = append(out, readReport(t, m))
	}
	for _, m := range w.messages(t, address, "INBOX") {
		if !slices.Equal(m.Flags, []string{mailbox.KeywordNotice}) {
			t.Errorf("a report has the flags %q", m.Flags)
		}
	}
	if len(out) != n {
		t.Errorf("%d reports are in the INBOX, want %d: %+v", len(out), n, out)
	}
	return out
}

// messages are those of a folder, as the mailbox has them.
func (w *testWorld) messages(t *testing.T, address, folder string) []mailbox.Message {
	t.Helper()
	a, err := w.Daemon.Mailbox(address)
	if err != nil {
		t.Fatal(err)
	}
	f, err := a.Folder(folder)
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.Messages()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// check compares what was told of mail to recipient with what should have been:
// action and status of each report, in order.
func check(t *testing.T, reports []told, recipient, subject string, want ...string) {
	t.Helper()
	var got []string
	for _, r := range reports {
		if r.recipient != recipient || !strings.Contains(r.original, "Subject: "+subject+"\r\n") {
			continue
		}
		got = append(got, r.action+" "+r.status)
		for _, phrase := range []string{recipient, "Subject: " + subject, "was written by mailproxy on your own computer"} {
			if !strings.Contains(r.text, phrase) {
				t.Errorf("the report on %q does not say %q:\n%s", subject, phrase, r.text)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("of %q to %s was told %q, want %q", subject, recipient, got, want)
	}
}

// submit sends with what SMTP can ask of reports.
func (w *testWorld) submit(t *testing.T, from string, to []string, notify []gosmtp.DSNNotify, m []byte) {
	t.Helper()
	c, err := gosmtp.Dial(w.Daemon.Address("smtp").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a := w.account(t, from)
	if err := c.Auth(sasl.NewPlainClient("", a.Username, a.Password)); err != nil {
		t.Fatal(err)
	}
	if err := c.Mail(from, nil); err != nil {
		t.Fatal(err)
	}
	for _, rcpt := range to {
		if err := c.Rcpt(rcpt, &gosmtp.RcptOptions{Notify: notify}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := data.Write(m); err != nil {
		t.Fatal(err)
	}
	if err := data.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
}

// acquaint lets alice know bob's keys: she writes to him once, and gets no report
// even if the machine is slow.
func (w *testWorld) acquaint(t *testing.T) {
	t.Helper()
	never := []gosmtp.DSNNotify{gosmtp.DSNNotifyNever}
	w.submit(t, Alice, []string{Bob}, never, mailOf(Alice, Bob, "first", "so that your keys are known"))
	eventually(t, "delivery", func() bool { return w.delivered(Bob) == 1 })
	eventually(t, "its receipt", func() bool { return w.count(progress.Confirmed, Alice, Bob) == 1 })
}

func TestReportUnknownUser(t *testing.T) {
	t.Parallel()
	const nobody = "nobody@south.test"
	w := newWorld(t, nil)
	w.send(t, Alice, nobody, "to nobody", "are you there?")
	silent := mailOf(Alice, nobody, "and tell me nothing", "are you there?")
	w.submit(t, Alice, []string{nobody}, []gosmtp.DSNNotify{gosmtp.DSNNotifyNever}, silent)
	eventually(t, "the end of both", func() bool { return w.count(progress.Failed, Alice, nobody) == 2 })
	check(t, w.reports(t, Alice, 1), nobody, "to nobody", "failed 5.1.1")
	if s := w.Daemon.Status(); s.Waiting != 0 {
		t.Errorf("the outbox still has %d", s.Waiting)
	}
}

// TestReportUnanswered covers the ways in which a network stays silent: to a
// recipient whose keys are known, and to one who has to be looked up.
func TestReportUnanswered(t *testing.T) {
	t.Parallel()
	const stranger = "stranger@south.test"
	layer := func(t *testing.T, w *testWorld) {
		for _, m := range w.Network.Document.Layer(2) {
			if err := w.Network.Stop(m.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	offline := func(t *testing.T, w *testWorld) {
		if err := w.Network.Stop(w.Client(Alice).Gateway()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "offline", func() bool { return !w.Client(Alice).Status().Connected })
	}
	for name, c := range map[string]struct {
		stop          func(*testing.T, *testWorld)
		first, second string // of which the first has a query that waits for its slot
		back          bool   // and what was sent before is not sent after all
	}{
		"a layer is away":          {layer, Bob, stranger, false},
		"offline with a block":     {offline, Bob, stranger, true},
		"offline during a look-up": {offline, stranger, Bob, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *Config) { c.Times = quickTimes(c.Parameters) })
			w.acquaint(t)
			c.stop(t, w)
			w.send(t, Alice, c.first, "to "+c.first, "can you read this?")
			time.Sleep(slow * 200 * time.Millisecond)
			w.send(t, Alice, c.second, "to "+c.second, "can you read this?")
			got := w.reports(t, Alice, 4)
			for _, to := range []string{Bob, stranger} {
				check(t, got, to, "to "+to, "delayed 4.4.7", "failed 5.4.7")
			}
			if !c.back {
				return
			}
			if err := w.Network.Restart(w.Client(Alice).Gateway()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "online", func() bool { return w.Client(Alice).Status().Connected })
			w.send(t, Alice, Bob, "later", "back again")
			eventually(t, "delivery", func() bool { return w.delivered(Bob) >= 2 })
			time.Sleep(slow * 500 * time.Millisecond)
			if got := subjects(w.fetch(t, Bob, "INBOX")); !slices.Equal(got, []string{"first", "later"}) {
				t.Errorf("bob has %q", got)
			}
		})
	}
}

func TestReportSpoolFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.Times, c.Limits = quickTimes(c.Parameters), server.Limits{MaxBlocks: 2}
		c.Times.TellDelay *= 2 // until when a refusal has certainly come
		c.Times.Expire *= 2
	})
	w.acquaint(t)
	if err := w.Client(Bob).Close(); err != nil { // bob reads no more
		t.Fatal(err)
	}
	w.send(t, Alice, Bob, "large", lines(40<<10))
	got := w.reports(t, Alice, 2)
	check(t, got, Bob, "large", "delayed 4.2.2", "failed 5.2.2")
}

func TestReportNotConfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) {
		c.Receipts = false
		c.Times.Confirm = time.Second
	})
	w.send(t, Alice, Bob, "did you get this", "?")
	eventually(t, "delivery", func() bool { return w.delivered(Bob) == 1 })
	check(t, w.reports(t, Alice, 1), Bob, "did you get this", "relayed 2.4.7")
}

func TestReportDelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	success := []gosmtp.DSNNotify{gosmtp.DSNNotifySuccess, gosmtp.DSNNotifyFailure}
	w.submit(t, Alice, []string{Bob}, success, mailOf(Alice, Bob, "tell me", "when you have it"))
	w.send(t, Alice, Bob, "tell me nothing", "for I trust you have it")
	eventually(t, "both receipts", func() bool { return w.count(progress.Confirmed, Alice, Bob) == 2 })
	check(t, w.reports(t, Alice, 1), Bob, "tell me", "delivered 2.1.5")
	if got := len(w.fetch(t, Bob, "INBOX")); got != 2 {
		t.Errorf("bob has %d messages, want 2", got)
	}
	if s := w.Daemon.Status(); s.Waiting+s.Receipts != 0 {
		t.Errorf("the outbox still has %d and %d", s.Waiting, s.Receipts)
	}
}

// away stops the daemon and the network. The spools stay open: what a node announces
// is read from its own, and one that waits for a closed one publishes its key too late
// for the epoch.
func (w *testWorld) away(t *testing.T) {
	t.Helper()
	err := w.Daemon.Close()
	for _, c := range w.clients {
		err = errors.Join(err, c.Close())
	}
	if err = errors.Join(err, w.Network.Close()); err != nil {
		t.Fatal(err)
	}
	w.Daemon, w.clients, w.Network = nil, nil, nil
}

// TestReportUnknownProvider takes bob's provider out of the network while mail to
// it waits.
func TestReportUnknownProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.acquaint(t)
	for _, m := range w.Network.Document.Layer(1) {
		if err := w.Network.Stop(m.Name); err != nil {
			t.Fatal(err)
		}
	}
	w.send(t, Alice, Bob, "sealed", "are you still there?")
	w.send(t, Alice, "stranger@south.test", "queued", "are you still there?")
	w.away(t)

	// The same user, after a while, with a network that has changed: the second
	// provider is gone, and its spool with it.
	var err error
	w.Network, err = local.Start(local.Config{
		Parameters: w.cfg.Parameters,
		Providers:  []local.Provider{{Domain: "north.test", Spool: w.Spools["north.test"], Notice: w.Spools["north.test"].Notice}},
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := builtin.New(builtin.Config{Document: w.Network.Document})
	if err != nil {
		t.Fatal(err)
	}
	w.clients = map[string]*builtin.Client{"both": client}
	w.Daemon, err = proxy.Open(proxy.Options{
		Dir: filepath.Join(w.cfg.Dir, "user"), Listen: loopback(), Times: patientTimes,
		Network: func(string) mixclient.Network { return client },
	})
	if err != nil {
		t.Fatal(err)
	}
	got := w.reports(t, Alice, 2)
	check(t, got, Bob, "sealed", "failed 5.1.2")
	check(t, got, "stranger@south.test", "queued", "failed 5.1.2")
	if err := w.Submit(w.account(t, Alice), Bob, mailOf(Alice, Bob, "more", "more")); err == nil || !strings.HasPrefix(err.Error(), "550 5.1.2 "+Bob+" is outside this private network") {
		t.Errorf("more mail to the provider: %v", err)
	}
	// bob's own account says what is wrong.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	eventually(t, "bob's problem", func() bool {
		for _, a := range w.Daemon.Status().Accounts {
			if a.Address == Bob {
				return strings.Contains(a.Problem, "provider is not in the network")
			}
		}
		return ctx.Err() != nil
	})
}

// lines returns n bytes of text that hardly compresses.
func lines(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(base64.StdEncoding.EncodeToString(randomBytes(45)) + "\r\n")
	}
	return b.String()
}
