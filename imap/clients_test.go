package imap

import (
	"os/exec"
	"strings"
	"testing"
)

// What real clients send, in their own spelling: each must be taken, and what is
// asked for be there.
func TestClients(t *testing.T) {
	for name, commands := range map[string][][2]string{
		"thunderbird": {
			{"ENABLE UTF8=ACCEPT", "* ENABLED UTF8=ACCEPT"},
			{`namespace`, `* NAMESPACE (("" "/"))`},
			{`list (subscribed) "" "*" return (special-use)`, `\Sent) "/" "Sent"`},
			{`lsub "" "*"`, `"Sent"`},
			{`list "" "INBOX"`, `INBOX`},
			{`STATUS "Sent" (UIDNEXT MESSAGES UNSEEN RECENT)`, "RECENT 0"},
			{`select "INBOX"`, "* 2 EXISTS"},
			{`UID fetch 1:* (FLAGS)`, `* 2 FETCH (UID 2 FLAGS ())`},
			{`UID fetch 1:2 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])`, "Subject: number 1"},
			{`UID fetch 2 (UID RFC822.SIZE BODY.PEEK[])`, "caf=E9"},
			{`UID fetch 2 (BODYSTRUCTURE)`, `"mixed"`},
			{`UID fetch 2 (BODY.PEEK[HEADER] BODY.PEEK[1.MIME] BODY.PEEK[1] BODY.PEEK[2.MIME])`, "BODY[1.MIME]"},
			{`uid store 1 +Flags (\Seen)`, `FLAGS (\Seen)`},
			{`uid store 1 +FLAGS (NonJunk)`, "NonJunk"},
			{`uid copy 1 "Archive"`, "[COPYUID"},
			{`uid move 1 "Trash"`, "* 1 EXPUNGE"},
			{`UID SEARCH UNSEEN UNDELETED`, "* SEARCH 2"},
			{`noop`, ""}, {`check`, ""}, {`close`, ""}, {`logout`, "* BYE"},
		},
		"mutt": {
			{`LIST "" "%"`, `"Sent"`},
			{`LSUB "" "%"`, `"Sent"`},
			{`STATUS "INBOX" (UIDNEXT UIDVALIDITY UNSEEN RECENT MESSAGES)`, "MESSAGES 2"},
			{`SELECT "INBOX"`, "* 2 EXISTS"},
			{`FETCH 1:2 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (DATE FROM SENDER SUBJECT TO CC MESSAGE-ID REFERENCES CONTENT-TYPE CONTENT-DESCRIPTION IN-REPLY-TO REPLY-TO LINES LIST-POST LIST-SUBSCRIBE LIST-UNSUBSCRIBE X-LABEL X-ORIGINAL-TO)])`, "Subject: parts"},
			{`UID FETCH 1 BODY.PEEK[]`, "body 1"},
			{`UID STORE 1:2 +FLAGS.SILENT (\Deleted)`, ""},
			{`UID SEARCH DELETED`, "* SEARCH 1 2"},
			{`UID COPY 1:2 "Trash"`, "[COPYUID"},
			{`EXPUNGE`, "* 1 EXPUNGE"},
			{`IDLE` + "\r\nDONE", ""},
		},
		"mbsync": {
			{`LIST "" "*"`, `"Sent"`},
			{`SELECT "INBOX"`, "[UIDNEXT 3]"},
			{`UID FETCH 1:1000000 (UID FLAGS)`, "* 2 FETCH (UID 2"},
			{`UID FETCH 2:* (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (X-TUID MESSAGE-ID)])`, "<p@x.test>"},
			{`UID FETCH 1 (BODY.PEEK[])`, "body 1"},
			{`UID SEARCH HEADER X-TUID abcdefghijkl`, "* SEARCH\n"},
			{`UID STORE 1 +FLAGS.SILENT (\Seen \Deleted)`, ""},
			{`UID EXPUNGE 1`, "* 1 EXPUNGE"},
			{`CLOSE`, ""},
		},
		"offlineimap": {
			{`LIST "" "*"`, `"Sent"`},
			{`EXAMINE INBOX`, "* 2 EXISTS"},
			{`FETCH 1:* (FLAGS UID INTERNALDATE)`, `* 2 FETCH (UID 2 FLAGS () INTERNALDATE`},
			{`SELECT INBOX`, "[READ-WRITE]"},
			{`UID FETCH 1 (BODY.PEEK[])`, "body 1"},
			{`UID SEARCH HEADER X-OfflineIMAP 12345-0`, "* SEARCH\n"},
			{`UID SEARCH (HEADER Message-ID <m1@x.test>)`, "* SEARCH 1"},
			{`UID STORE 1,2 +FLAGS (\Seen)`, "* 2 FETCH"},
			{`SEARCH SINCE 1-Jan-2026 SMALLER 1000000`, "* SEARCH 1 2"},
			{`CHECK`, ""}, {`CLOSE`, ""},
		},
		"apple": {
			{`LIST "" "*"`, `"Sent"`},
			{`STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)`, "UNSEEN 2"},
			{`SELECT INBOX`, "* 2 EXISTS"},
			{`FETCH 1:2 (FLAGS UID)`, "* 2 FETCH (UID 2"},
			{`UID SEARCH 1:* NOT DELETED`, "* SEARCH 1 2"},
			{`FETCH 1:2 (INTERNALDATE UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (date subject from to cc message-id in-reply-to references content-type x-priority x-uniform-type-identifier x-universally-unique-identifier list-id list-unsubscribe bimi-indicator bimi-location x-bimi-indicator-hash authentication-results dkim-signature)])`, "Subject: parts"},
			{`UID FETCH 2 (BODYSTRUCTURE BODY.PEEK[HEADER])`, `"mixed"`},
			{`UID FETCH 2 (BODY.PEEK[1.MIME] BODY.PEEK[1]<0.16384>)`, "BODY[1]<0>"},
			{`UID STORE 1 +FLAGS.SILENT (\Seen $NotJunk NotJunk)`, ""},
			{`UID MOVE 1 Archive`, "* 1 EXPUNGE"},
		},
		"k-9": {
			{`LIST "" "*" RETURN (SPECIAL-USE)`, `\Trash)`},
			{`SELECT "INBOX"`, "* 2 EXISTS"},
			{`UID SEARCH 1:2 NOT DELETED`, "* SEARCH 1 2"},
			{`UID SEARCH UID 1:* SINCE 1-Nov-2026`, "* SEARCH 1 2"},
			{`UID FETCH 1,2 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (date subject from content-type to cc reply-to message-id references in-reply-to list-unsubscribe sender X-K9mail-Identity)])`, "Subject: parts"},
			{`UID FETCH 2 (UID BODYSTRUCTURE)`, `"pdf"`},
			{`UID FETCH 1 (UID BODY.PEEK[]<0.32768>)`, "BODY[]<0>"},
			{`UID FETCH 2 (UID BODY.PEEK[2])`, "AAEC"},
			{`UID STORE 1:* +FLAGS.SILENT (\Seen)`, ""},
			{`UID SEARCH HEADER MESSAGE-ID "<p@x.test>"`, "* SEARCH 2"},
			{`UID SEARCH OR (OR SUBJECT "parts" FROM "ann") NOT (SEEN OR FLAGGED DRAFT) UID 1:5`, "* SEARCH 1 2"},
		},
		"outlook": {
			{`LSUB "" "*"`, `"Sent"`},
			{`SELECT "INBOX"`, "* 2 EXISTS"},
			{`UID FETCH 1:* (UID FLAGS)`, "* 2 FETCH (UID 2"},
			{`UID FETCH 1 (UID RFC822.SIZE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (DATE)])`, `"text"`},
			{`UID FETCH 1 (RFC822.PEEK)`, "RFC822.PEEK {"},
			{`FETCH 1:2 FULL`, "ENVELOPE ("}, {`FETCH 1 FAST`, "RFC822.SIZE"}, {`FETCH 2 ALL`, "ENVELOPE ("},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.deliver("INBOX", letter(1))
			w.deliver("INBOX", mime)
			l := w.login()
			for _, c := range commands {
				within(t, l.ok(c[0]), c[1])
			}
		})
	}
}

// TestCurl reads with a client that is not of this library's family.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	w := newWorld(t)
	w.deliver("INBOX", letter(1))
	w.deliver("INBOX", mime)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(curl, append([]string{"--silent", "--show-error", "--max-time", "10", "--user", user + ":" + password}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("curl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if got := run("imap://" + w.addr + "/INBOX;UID=2"); got != mime {
		t.Errorf("message 2 is %q", got)
	}
	if got := run("imap://" + w.addr + "/"); !strings.Contains(got, "INBOX") || !strings.Contains(got, "Drafts") {
		t.Errorf("folders %s", got)
	}
	if got := run("imap://" + w.addr + "/INBOX?SUBJECT%20number"); strings.TrimSpace(got) != "* SEARCH 1" {
		t.Errorf("search %q", got)
	}
	if got := w.messages("INBOX"); len(got) != 2 {
		t.Errorf("%d messages", len(got))
	}
}
