package pop3

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
)

// A step is what a client sends, and how the answer begins. Answers of several lines
// are compared whole, after their status line, where body is not "".
type step struct{ send, want, body string }

var plainLogin = base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))

// TestCommands has what the RFCs say of each command. Message 1 has 43 octets,
// message 2 (bare LF, no line ending at its end) 28, message 3 (no header) 11.
func TestCommands(t *testing.T) {
	const (
		one   = "Subject: one\r\n\r\n.\r\n..dots\r\nline 3\r\nline 4\r\n"
		sent1 = "Subject: one\r\n\r\n..\r\n...dots\r\nline 3\r\nline 4\r\n" // byte-stuffed
	)
	login := []step{{"USER " + user, "+OK", ""}, {"PASS " + password, "+OK 3 ", ""}}
	tests := []struct {
		rule  string
		in    bool // begins after the login
		steps []step
		left  int // messages afterwards
	}{
		{"RFC 1939 section 3: keywords in any case", false, []step{{"uSeR " + user, "+OK", ""}, {"pAsS " + password, "+OK", ""}, {"stat", "+OK 3 82", ""}}, 3},
		{"RFC 1939 section 3: unknown commands get -ERR", true, []step{{"XYZZY", "-ERR", ""}, {"LAST", "-ERR", ""}, {"RPOP x", "-ERR", ""}, {"NOOP", "+OK", ""}}, 3},
		{"RFC 1939 section 3: a command in the wrong state gets -ERR", false, []step{
			{"STAT", "-ERR Log in first", ""}, {"LIST", "-ERR", ""}, {"RETR 1", "-ERR", ""}, {"DELE 1", "-ERR", ""}, {"RSET", "-ERR", ""},
			{"NOOP", "-ERR", ""}, {"TOP 1 0", "-ERR", ""}, {"UIDL", "-ERR", ""},
		}, 3},
		{"RFC 1939 section 4: QUIT before the login", false, []step{{"QUIT now", "-ERR", ""}, {"QUIT", "+OK", ""}}, 3},
		{"RFC 1939 section 7, USER: any name is taken", false, []step{{"USER", "-ERR", ""}, {"USER nobody", "+OK", ""}, {"USER " + user, "+OK", ""}, {"PASS " + password, "+OK", ""}}, 3},
		{"RFC 1939 section 7, PASS: only behind USER, and once", false, []step{
			{"PASS " + password, "-ERR", ""}, {"USER " + user, "+OK", ""}, {"PASS wrong", "-ERR [AUTH]", ""}, {"PASS " + password, "-ERR USER comes first", ""},
		}, 3},
		{"RFC 1939 section 7, PASS: spaces belong to the password", false, []step{{"USER " + user, "+OK", ""}, {"PASS open sesame", "-ERR [AUTH]", ""}, {"USER " + user, "+OK", ""}, {"PASS open  sesame", "+OK", ""}}, 3},
		{"RFC 1939 section 7, APOP: optional, not here", false, []step{{"APOP " + user + " c4c9334bac560ecc979e58001b3e22fb", "-ERR", ""}}, 3},
		{"RFC 1939 section 7: no second login", true, []step{{"USER " + user, "-ERR", ""}, {"PASS " + password, "-ERR", ""}, {"AUTH PLAIN " + plainLogin, "-ERR", ""}}, 3},
		{"RFC 1939 section 5, STAT: deleted messages are not counted", true, []step{{"STAT", "+OK 3 82", ""}, {"STAT 1", "-ERR", ""}, {"DELE 2", "+OK", ""}, {"STAT", "+OK 2 54", ""}}, 3},
		{"RFC 1939 section 5, LIST", true, []step{
			{"LIST", "+OK", "1 43\r\n2 28\r\n3 11\r\n"}, {"LIST 2", "+OK 2 28", ""}, {"LIST 0", "-ERR", ""}, {"LIST 4", "-ERR", ""}, {"LIST x", "-ERR", ""},
			{"LIST -1", "-ERR", ""}, {"LIST 1 2", "-ERR", ""}, {"DELE 1", "+OK", ""}, {"LIST", "+OK", "2 28\r\n3 11\r\n"}, {"LIST 1", "-ERR", ""},
		}, 3},
		{"RFC 1939 section 5, RETR: byte-stuffing, CRLF", true, []step{{"RETR 1", "+OK 43", sent1}, {"RETR 2", "+OK 28", "Subject: bare\r\n\r\n..\r\nno end\r\n"}, {"RETR 3", "+OK 11", "no header\r\n"}}, 3},
		{"RFC 1939 section 5, RETR: errors", true, []step{
			{"RETR", "-ERR", ""}, {"RETR 0", "-ERR There are only messages 1 to 3", ""}, {"RETR 4", "-ERR", ""}, {"RETR 1 1", "-ERR", ""}, {"RETR +1", "-ERR", ""},
			{"RETR 99999999999999999999", "-ERR", ""}, {"DELE 1", "+OK", ""}, {"RETR 1", "-ERR The message is marked as deleted", ""}, {"RETR 2", "+OK", "Subject: bare\r\n\r\n..\r\nno end\r\n"},
		}, 3},
		{"RFC 1939 section 5, DELE: numbers stay, a second time is an error", true, []step{{"DELE", "-ERR", ""}, {"DELE 1", "+OK", ""}, {"DELE 1", "-ERR", ""}, {"DELE 4", "-ERR", ""}, {"DELE 3", "+OK", ""}, {"QUIT", "+OK", ""}}, 1},
		{"RFC 1939 section 5, NOOP", true, []step{{"NOOP", "+OK", ""}, {"NOOP x", "-ERR", ""}}, 3},
		{"RFC 1939 section 5, RSET: nothing is deleted any more", true, []step{{"DELE 1", "+OK", ""}, {"DELE 2", "+OK", ""}, {"RSET", "+OK 3", ""}, {"RSET x", "-ERR", ""}, {"STAT", "+OK 3 82", ""}, {"QUIT", "+OK", ""}}, 3},
		{"RFC 1939 section 6, QUIT: deletes what is marked", true, []step{{"DELE 2", "+OK", ""}, {"QUIT x", "-ERR", ""}, {"QUIT", "+OK", ""}}, 2},
		{"RFC 1939 section 6: without QUIT nothing is deleted", true, []step{{"DELE 1", "+OK", ""}, {"DELE 2", "+OK", ""}, {"DELE 3", "+OK", ""}}, 3},
		{"RFC 1939 section 7, TOP: header, blank line, and so many lines", true, []step{
			{"TOP 1 0", "+OK", "Subject: one\r\n\r\n"}, {"TOP 1 1", "+OK", "Subject: one\r\n\r\n..\r\n"}, {"TOP 1 2", "+OK", "Subject: one\r\n\r\n..\r\n...dots\r\n"},
			{"TOP 1 100000", "+OK", sent1}, {"TOP 3 0", "+OK", "no header\r\n"},
		}, 3},
		{"RFC 1939 section 7, TOP: errors", true, []step{
			{"TOP", "-ERR", ""}, {"TOP 1", "-ERR", ""}, {"TOP 0 1", "-ERR", ""}, {"TOP 4 1", "-ERR", ""}, {"TOP 1 -1", "-ERR", ""}, {"TOP 1 x", "-ERR", ""},
			{"TOP 1 2 3", "-ERR", ""}, {"DELE 1", "+OK", ""}, {"TOP 1 1", "-ERR", ""},
		}, 3},
		{"RFC 1939 section 7, UIDL", true, []step{
			{"UIDL", "+OK", "1 {v}.1\r\n2 {v}.2\r\n3 {v}.3\r\n"}, {"UIDL 2", "+OK 2 {v}.2", ""}, {"UIDL 4", "-ERR", ""}, {"UIDL x", "-ERR", ""},
			{"DELE 2", "+OK", ""}, {"UIDL", "+OK", "1 {v}.1\r\n3 {v}.3\r\n"}, {"UIDL 2", "-ERR", ""},
		}, 3},
		{"RFC 2449 section 5, CAPA: before and after the login", false, append([]step{
			{"CAPA x", "-ERR", ""},
			{"CAPA", "+OK", "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nIMPLEMENTATION mailproxy\r\nUSER\r\nSASL PLAIN\r\n"},
		}, append(login, step{"CAPA", "+OK", "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nIMPLEMENTATION mailproxy\r\nUSER\r\nSASL PLAIN\r\n"})...), 3},
		{"RFC 2449 section 8, RFC 3206 section 4: response codes", false, []step{
			{"USER nobody", "+OK", ""}, {"PASS x", "-ERR [AUTH]", ""}, {"USER broken", "+OK", ""}, {"PASS x", "-ERR [SYS/TEMP]", ""},
		}, 3},
		{"RFC 2595 section 4, STLS: not offered without TLS", true, []step{{"STLS", "-ERR", ""}}, 3},
		{"RFC 5034 section 4, AUTH: an initial response", false, []step{{"AUTH PLAIN " + plainLogin, "+OK", ""}, {"STAT", "+OK 3 82", ""}}, 3},
		{"RFC 5034 section 4, AUTH: a challenge, mechanism in any case", false, []step{{"auth plain", "+ ", ""}, {plainLogin, "+OK", ""}, {"STAT", "+OK 3 82", ""}}, 3},
		{"RFC 5034 section 4, AUTH: cancelled, empty, not base64", false, []step{
			{"AUTH PLAIN", "+ ", ""}, {"*", "-ERR", ""}, {"AUTH PLAIN =", "-ERR", ""}, {"AUTH PLAIN", "+ ", ""}, {"", "-ERR", ""}, {"AUTH PLAIN !", "-ERR", ""}, {"AUTH CRAM-MD5", "-ERR", ""},
		}, 3},
	}
	var w *world // one for all, until a command has removed something
	var id mailbox.ID
	for _, tt := range tests {
		if w == nil {
			w = newWorld(t)
			id = w.deliver(one)
			w.deliver("Subject: bare\n\n.\nno end")
			w.deliver("no header")
		}
		t.Run(tt.rule, func(t *testing.T) {
			defer func(outer *testing.T) { w.t = outer }(w.t)
			w.t = t
			l := w.dial()
			steps := tt.steps
			if tt.in {
				steps = append(login[:2:2], steps...)
			}
			for _, s := range steps {
				here := strings.NewReplacer("{v}", fmt.Sprint(id.UIDValidity))
				if s.body == "" {
					l.do(s.send, here.Replace(s.want))
				} else if got := l.lines(s.send); got != here.Replace(s.body) {
					t.Errorf("%s: got\n%s", s.send, got)
				}
			}
			l.conn.Close()
			again := w.dial().login() // when the session has ended
			again.do("STAT", fmt.Sprintf("+OK %d ", tt.left))
			again.do("QUIT", "+OK")
		})
		if tt.left != 3 {
			w = nil
		}
	}
}

// TestUnusualMessages fetches what a mail program must not stumble over. Every one
// comes as stored, with CRLF, and LIST announces its octets (RFC 1939 section 11).
func TestUnusualMessages(t *testing.T) {
	w := newWorld(t)
	raw := map[int]string{}
	for i, m := range []string{
		"Subject: long\r\n\r\n" + strings.Repeat("x", 300_000) + "\r\n",
		"Subject: dots\r\n\r\n.\r\n..\r\n...\r\n. \r\n.x" + strings.Repeat("\r\n.", 20_000) + "\r\n",
		"Subject: bare LF\n\n.\na\n\n.b\n",
		"Subject: mixed\r\n\na\r\nb\nc\r\n",
		"Subject: CR\r\n\r\na\rb\r\r\nc\r\n",
		"Subject: NUL and 8 bits\r\n\r\n\x00\xff\x80\r\n",
		"Subject: no end\r\n\r\nend",
		"Subject: only a header\r\n",
		"\r\n",
		"\n",
		".",
		".\r\n",
		"\r\n\r\n\r\n.\r\n",
		"x",
	} {
		w.deliver(m)
		lines := strings.SplitAfter(m, "\n")
		var want strings.Builder
		for _, line := range lines {
			if line != "" {
				want.WriteString(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r") + "\r\n")
			}
		}
		raw[i+1] = want.String()
	}
	l := w.dial().login()
	for n := 1; n <= len(raw); n++ {
		l.do(fmt.Sprintf("LIST %d", n), fmt.Sprintf("+OK %d %d", n, len(raw[n])))
		for _, command := range []string{"RETR %d", "TOP %d 1000000"} {
			got := strings.Split(l.lines(fmt.Sprintf(command, n)), "\r\n")
			for i, line := range got {
				got[i] = strings.TrimPrefix(line, ".")
			}
			if joined := strings.Join(got, "\r\n"); joined != raw[n] {
				t.Errorf("message %d differs: %.80q, want %.80q", n, joined, raw[n])
			}
		}
	}
	l.do("NOOP", "+OK")
}

// TestLeaveOnServer: a client that keeps its mail here knows it again by UIDL, whatever
// else happens, and over a restart (RFC 1939 section 7: never for another message).
func TestLeaveOnServer(t *testing.T) {
	dir := t.TempDir()
	known := map[string]string{} // by unique id, the message
	var gone []string
	for run := range 3 {
		st, err := store.Open(store.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		mb, err := mailbox.Open(st, mailbox.Options{Now: func() time.Time { return start }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mb.CreateAccount(user); err != nil && !errors.Is(err, mailbox.ErrExists) {
			t.Fatal(err)
		}
		account, err := mb.Account(user)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, account: account, server: New(Options{Mailboxes: mb, Auth: checkPassword, AllowPlaintext: true})}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w.addr = ln.Addr().String()
		done := make(chan error, 1)
		go func() { done <- w.server.Serve(ln) }()

		for i := range 5 {
			w.deliver(fmt.Sprintf("Subject: %d of %d\r\n\r\n", i, run))
		}
		l := w.dial().login()
		found := map[string]string{}
		for line := range strings.Lines(l.lines("UIDL")) {
			var n int
			var id string
			if _, err := fmt.Sscan(line, &n, &id); err != nil || len(id) > 70 || strings.ContainsFunc(id, func(r rune) bool { return r < '!' || r > '~' }) {
				t.Fatalf("%q: %v", line, err)
			}
			found[id] = l.lines(fmt.Sprintf("RETR %d", n))
		}
		for id, m := range known {
			if found[id] != m {
				t.Errorf("%s is %q, was %q", id, found[id], m)
			}
		}
		for _, id := range gone {
			if m, again := found[id]; again {
				t.Errorf("%s was deleted, and is %q", id, m)
			}
		}
		if len(found) != len(known)+5 {
			t.Errorf("%d ids, %d before", len(found), len(known))
		}
		known = found
		// The first is deleted, and the last, whose UID is the highest there is.
		for _, n := range []int{1, len(found)} {
			id := strings.Fields(l.do(fmt.Sprintf("UIDL %d", n), "+OK"))[2]
			l.do(fmt.Sprintf("DELE %d", n), "+OK")
			gone = append(gone, id)
			delete(known, id)
		}
		l.do("QUIT", "+OK")
		if err := errors.Join(w.server.Close(), <-done, st.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestQuitIsDurable copies the store's files when QUIT has been answered, as a power
// cut would leave them at best, and looks into the copy (RFC 1939 section 6).
func TestQuitIsDurable(t *testing.T) {
	dir := t.TempDir()
	st, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	mb, err := mailbox.Open(st, mailbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	account, err := mb.CreateAccount(user)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := account.Deliver(mailbox.Inbox, fmt.Appendf(nil, "Subject: %d\r\n\r\n", i), nil, start); err != nil {
			t.Fatal(err)
		}
	}
	server := New(Options{Mailboxes: mb, Auth: checkPassword, AllowPlaintext: true})
	defer server.Close()
	ours, theirs := net.Pipe()
	server.admit(theirs)
	l := newLine(t, ours)
	l.expect("+OK")
	l.login().do("DELE 2", "+OK")
	l.do("QUIT", "+OK")

	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(copied, "LOCK")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	after, err := store.Open(store.Options{Dir: copied})
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	mb, err = mailbox.Open(after, mailbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if account, err = mb.Account(user); err != nil {
		t.Fatal(err)
	}
	f, err := account.Folder(mailbox.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := f.Messages(); err != nil || len(list) != 2 || list[1].UID != 3 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestRemovalThatFails: QUIT says that not all was removed (RFC 1939 section 6).
func TestRemovalThatFails(t *testing.T) {
	mb := newMailbox(t)
	account, err := mb.Account(user)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := account.Deliver(mailbox.Inbox, []byte("x"), nil, start); err != nil {
		t.Fatal(err)
	}
	server := New(Options{Mailboxes: mb, Auth: checkPassword, AllowPlaintext: true})
	defer server.Close()
	ours, theirs := net.Pipe()
	server.admit(theirs)
	l := newLine(t, ours)
	l.expect("+OK")
	l.login().do("DELE 1", "+OK")
	if err := mb.DeleteAccount(user); err != nil {
		t.Fatal(err)
	}
	l.do("QUIT", "-ERR [SYS/TEMP]")
	l.closed()
}

// TestKilledClientIsNotInTheWay: whoever is killed in the middle of a message, or
// between commands, gets in at once when started again.
func TestKilledClientIsNotInTheWay(t *testing.T) {
	w := newWorld(t)
	w.deliver("Subject: large\r\n\r\n" + strings.Repeat(strings.Repeat("y", 70)+"\r\n", 100_000))
	for _, command := range []string{"NOOP\r\n", "RETR 1\r\n", "RETR 1\r\nRETR 1\r\nRETR 1\r\n", "DELE 1\r\nRET", ""} {
		l := w.dial().login()
		l.write(command)
		if strings.Contains(command, "RETR") {
			l.expect("+OK")
		}
		if err := l.conn.(*net.TCPConn).SetLinger(0); err != nil { // as the system does when it kills
			t.Fatal(err)
		}
		l.conn.Close()
		again := w.dial().login()
		again.do("STAT", "+OK 1 ")
		again.do("QUIT", "+OK")
	}
	// Also one that shut down its side alone, in good order.
	l := w.dial().login()
	if err := l.conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	w.dial().login().do("STAT", "+OK 1 ")
}

// TestStrangersMakeRoom: those who cannot log in do not keep out the one who can, nor do
// they end what he has.
func TestStrangersMakeRoom(t *testing.T) {
	w := newWorld(t)
	mine := w.dial().login()
	first := w.dial()
	for range maxConns - 2 {
		w.dial()
	}
	w.dial().do("CAPA", "+OK")
	first.closed()
	mine.do("NOOP", "+OK")
}

func TestTooManyConnections(t *testing.T) {
	w := newWorld(t)
	for range maxConns {
		w.dial()
	}
	w.server.mu.Lock()
	for _, g := range w.server.conns { // one account has one session
		g.account = user
	}
	w.server.mu.Unlock()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	l := newLine(t, conn)
	l.expect("-ERR [SYS/TEMP] Too many connections")
	l.closed()
}

// FuzzSession sends bytes to a server, as a stranger and as the user. Whatever comes,
// every line of answer is +OK, -ERR, a challenge or part of an announced answer, the
// session ends with the connection, and nothing is removed without QUIT.
func FuzzSession(f *testing.F) {
	f.Add([]byte("STAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 1 1\r\nDELE 1\r\nRSET\r\nNOOP\r\n"), true)
	f.Add([]byte("DELE 1\nDELE 1\nLIST 1\nQUIT\n"), true)
	f.Add([]byte("CAPA\r\nSTLS\r\n\x16\x03\x01\x02\x00"), false)
	f.Add([]byte("AUTH PLAIN\r\n*\r\nAUTH PLAIN =\r\nUSER a\r\nPASS b\r\nAUTH\r\n"), false)
	mb := newMailbox(f)
	account, err := mb.Account(user)
	if err != nil {
		f.Fatal(err)
	}
	inbox, err := account.Folder(mailbox.Inbox)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, in bool) {
		list, err := inbox.Messages()
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			if _, err := account.Deliver(mailbox.Inbox, []byte("Subject: x\n\n.\n"), nil, start); err != nil {
				t.Fatal(err)
			}
		}
		server := New(Options{Mailboxes: mb, Auth: checkPassword, AllowPlaintext: true, BadPasswordDelay: time.Nanosecond, TLS: &tls.Config{}})
		ours, theirs := net.Pipe()
		server.admit(theirs)
		answers := make(chan []byte, 1)
		go func() {
			b, _ := io.ReadAll(ours) // to the end, however it comes
			answers <- b
		}()
		if in {
			_, _ = io.WriteString(ours, "USER "+user+"\r\nPASS "+password+"\r\n")
		}
		_, _ = ours.Write(data)
		_ = ours.Close()
		got := <-answers
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(got), "+OK mailproxy ready\r\n") && len(got) > 0 {
			t.Errorf("began with %q", got)
		}
		list, err = inbox.Messages()
		if err != nil {
			t.Fatal(err)
		}
		if quit := strings.Contains(strings.ToUpper(string(data)), "QUIT"); len(list) != 1 && !(in && quit) {
			t.Errorf("%d messages are left", len(list))
		}
	})
}
