package demo

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"mailproxy/proxy/mailbox"
	"mailproxy/proxy/progress"
)

// appendTo appends a message as a mail program does, and returns the UID that it is
// told.
func appendTo(t *testing.T, c *imapclient.Client, folder string, m []byte, flags ...goimap.Flag) goimap.UID {
	t.Helper()
	cmd := c.Append(folder, int64(len(m)), &goimap.AppendOptions{Flags: flags})
	if _, err := cmd.Write(m); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := cmd.Wait()
	if err != nil || data.UID == 0 {
		t.Fatalf("append: UID %v, %v", data, err)
	}
	return data.UID
}

// TestSentMailThreads has alice write from a program that appends its copy, and bob
// answer: one message is in her Sent, under the UID that her program was told, and the
// answer names it. What her program does next goes out with the ids that bob knows.
func TestSentMailThreads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := w.imap(t, Alice)
	const own = "<7.1.alice@laptop.example>"
	draft := []byte("From: " + Alice + "\r\nTo: " + Bob + "\r\nMessage-ID: " + own + "\r\nSubject: Tea\r\n\r\nAt fi")
	sent := []byte("From: Alice <" + Alice + ">\r\nTo: Bob <" + Bob + ">\r\nMessage-ID: " + own + "\r\nSubject: Tea\r\n\r\nAt five?\r\n")
	draftUID := appendTo(t, c, "Drafts", draft, goimap.FlagDraft)

	// Another program of hers looks at Sent all the time.
	changes := make(chan []goimap.Flag, 100)
	watcher, err := imapclient.DialStartTLS(w.Daemon.Address("imap").String(), &imapclient.Options{
		TLSConfig: w.tlsConfig(t),
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{Fetch: func(m *imapclient.FetchMessageData) {
			b, err := m.Collect()
			if err == nil {
				changes <- b.Flags
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watcher.Close() })
	a := w.account(t, Alice)
	if err := watcher.Login(a.Username, a.Password).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := watcher.Select("Sent", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	idle, err := watcher.Idle()
	if err != nil {
		t.Fatal(err)
	}

	w.submit(t, Alice, []string{Bob}, nil, sent)
	uid := appendTo(t, c, "Sent", bytes.Replace(sent, []byte("Subject"), []byte("Bcc: dora@south.test\r\nSubject"), 1), goimap.FlagSeen)
	if _, err := c.Select("Drafts", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	store := &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagDeleted}}
	if err := c.Store(goimap.UIDSetNum(draftUID), store, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UIDExpunge(goimap.UIDSetNum(draftUID)).Collect(); err != nil {
		t.Fatal(err)
	}
	if got := w.fetch(t, Alice, "Drafts"); len(got) != 0 {
		t.Errorf("%d drafts are left", len(got))
	}

	eventually(t, "delivery", func() bool { return w.delivered(Bob) == 1 })
	arrived := w.fetch(t, Bob, "INBOX")[0]
	id := field(arrived, "Message-ID")
	if id == "" || id == own || bytes.Contains(arrived, []byte("laptop")) || bytes.Contains(arrived, []byte("dora")) {
		t.Errorf("bob was sent\n%s", arrived)
	}
	copies := w.fetch(t, Alice, "Sent")
	if len(copies) != 1 || field(copies[0], "Message-ID") != id || field(copies[0], "Bcc") != "dora@south.test" {
		t.Fatalf("Sent holds %q, want one message with id %s", copies, id)
	}
	if in, err := c.Select("Sent", nil).Wait(); err != nil || slices.Contains(in.PermanentFlags, mailbox.KeywordDelivered) {
		t.Errorf("select: %+v, %v", in, err)
	}
	eventually(t, "the receipt, in Sent", func() bool {
		got, err := c.Fetch(goimap.UIDSetNum(uid), &goimap.FetchOptions{Flags: true, UID: true}).Collect()
		if err != nil || len(got) != 1 {
			t.Fatalf("under UID %d are %v, %v", uid, got, err)
		}
		return slices.Contains(got[0].Flags, mailbox.KeywordDelivered)
	})
	// A program cannot say that it was delivered, or was not.
	lie := &goimap.StoreFlags{Op: goimap.StoreFlagsSet, Flags: []goimap.Flag{mailbox.KeywordFailed, goimap.FlagAnswered}}
	got, err := c.Store(goimap.UIDSetNum(uid), lie, nil).Collect()
	if err != nil || len(got) != 1 || slices.Contains(got[0].Flags, mailbox.KeywordFailed) || !slices.Contains(got[0].Flags, mailbox.KeywordDelivered) {
		t.Errorf("after a lie: %v, %v", got, err)
	}
	told := map[goimap.Flag]bool{}
	for end := time.After(patience); !told[mailbox.KeywordDelivered]; {
		select {
		case flags := <-changes:
			for _, f := range flags {
				told[f] = true
			}
		case <-end:
			t.Fatalf("who looked at Sent was told of %v", told)
		}
	}
	if err := idle.Close(); err != nil {
		t.Error(err)
	}

	// Bob answers, and alice answers from a program that has its own copy only.
	reply := "From: " + Bob + "\r\nTo: " + Alice + "\r\nMessage-ID: <b@bob.example>\r\nIn-Reply-To: " + id +
		"\r\nReferences: " + id + "\r\nSubject: Re: Tea\r\n\r\nYes.\r\n"
	w.submit(t, Bob, []string{Alice}, nil, []byte(reply))
	eventually(t, "the answer", func() bool { return w.delivered(Alice) == 1 })
	answer := w.fetch(t, Alice, "INBOX")[0]
	if field(answer, "In-Reply-To") != id || field(answer, "References") != own+" "+id {
		t.Errorf("alice was answered\n%s", answer)
	}
	bobs := field(answer, "Message-ID")
	last := "From: " + Alice + "\r\nTo: " + Bob + "\r\nMessage-ID: <8.1.alice@laptop.example>\r\nIn-Reply-To: " + bobs +
		"\r\nReferences: " + own + " " + bobs + "\r\nSubject: Re: Tea\r\n\r\nGood.\r\n"
	w.submit(t, Alice, []string{Bob}, nil, []byte(last))
	eventually(t, "the answer to the answer", func() bool { return w.delivered(Bob) == 2 })
	end := w.fetch(t, Bob, "INBOX")[1]
	// The id that bob's program knows its mail by is added where it arrives.
	if field(end, "In-Reply-To") != bobs || strings.Join(strings.Fields(field(end, "References")), " ") != id+" <b@bob.example> "+bobs {
		t.Errorf("bob was answered\n%s", end)
	}
	if got := w.fetch(t, Alice, "Sent"); len(got) != 2 || field(got[1], "Message-ID") != field(end, "Message-ID") {
		t.Errorf("a program that keeps no copy: Sent holds %q", got)
	}
}

// TestReportsAsAsked asks for reports with all that SMTP can say of them (RFC 3461).
func TestReportsAsAsked(t *testing.T) {
	t.Parallel()
	const nobody = "nobody@south.test"
	w := newWorld(t, nil)
	ask := func(subject string, ret gosmtp.DSNReturn, to string, notify ...gosmtp.DSNNotify) {
		t.Helper()
		c, err := gosmtp.Dial(w.Daemon.Address("smtp").String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a := w.account(t, Alice)
		if err := c.Auth(sasl.NewPlainClient("", a.Username, a.Password)); err != nil {
			t.Fatal(err)
		}
		if err := c.Mail(Alice, &gosmtp.MailOptions{Return: ret, EnvelopeID: "QQ+314159"}); err != nil {
			t.Fatal(err)
		}
		o := &gosmtp.RcptOptions{Notify: notify, OriginalRecipientType: gosmtp.DSNAddressTypeRFC822, OriginalRecipient: "Old+name@elsewhere.example"}
		if err := c.Rcpt(to, o); err != nil {
			t.Fatal(err)
		}
		data, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := data.Write(mailOf(Alice, to, subject, "the body of "+subject)); err != nil {
			t.Fatal(err)
		}
		if err := data.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ask("never", gosmtp.DSNReturnFull, nobody, gosmtp.DSNNotifyNever)
	ask("success only", gosmtp.DSNReturnFull, nobody, gosmtp.DSNNotifySuccess)
	ask("full", gosmtp.DSNReturnFull, nobody, gosmtp.DSNNotifyFailure)
	ask("headers", gosmtp.DSNReturnHeaders, nobody, gosmtp.DSNNotifyFailure, gosmtp.DSNNotifyDelayed)
	ask("arrived", gosmtp.DSNReturnFull, Bob, gosmtp.DSNNotifySuccess)
	ask("arrived, in silence", gosmtp.DSNReturnFull, Bob, gosmtp.DSNNotifyFailure)
	eventually(t, "the end of all", func() bool {
		return w.count(progress.Failed, Alice, nobody) == 4 && w.count(progress.Confirmed, Alice, Bob) == 2
	})
	reports := w.reports(t, Alice, 3)
	check(t, reports, nobody, "full", "failed 5.1.1")
	check(t, reports, nobody, "headers", "failed 5.1.1")
	check(t, reports, Bob, "arrived", "delivered 2.1.5")
	for i, r := range reports {
		whole := strings.Contains(r.original, "the body of ")
		if want := strings.Contains(r.original, "Subject: full\r\n"); whole != want {
			t.Errorf("report %d returns the body: %v, want %v\n%s", i, whole, want, r.original)
		}
	}
	var threads []string
	for _, m := range w.fetch(t, Alice, "INBOX") {
		for _, want := range []string{"\r\nOriginal-Envelope-Id: QQ+314159\r\n", "\r\nOriginal-Recipient: rfc822; Old+name@elsewhere.example\r\n"} {
			if !bytes.Contains(m, []byte(want)) {
				t.Errorf("%q is not in\n%s", want, m)
			}
		}
		threads = append(threads, field(m, "In-Reply-To"))
	}
	// Each report is about a message that is in Sent.
	var sent []string
	for _, m := range w.fetch(t, Alice, "Sent") {
		sent = append(sent, field(m, "Message-ID"))
	}
	for _, id := range threads {
		if !slices.Contains(sent, id) {
			t.Errorf("a report answers %s; in Sent are %q", id, sent)
		}
	}
}
