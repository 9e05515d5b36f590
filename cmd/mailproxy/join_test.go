package main

import (
	"net"
	"runtime"
	"strings"
	"testing"

	"mailproxy/internal/invitation"
	"mailproxy/proxy"
)

// TestChoosePorts: beside another daemon, or whatever else has a port, a new user gets
// others, and is told.
func TestChoosePorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	const anyPort = "127.0.0.1:0"
	c := proxy.ListenConfig{SMTP: anyPort, IMAP: taken, POP3: anyPort, SMTPS: anyPort, IMAPS: anyPort, POP3S: anyPort, Web: anyPort}
	var j joinCmd
	j.JSON = true // it is not to print
	err = choosePorts(&c, j.did)
	if _, port, _ := net.SplitHostPort(taken); len(port) == 5 && port > "55000" {
		t.Skip("above this port there are not as many as are tried")
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.IMAP == taken || free(c.IMAP) != nil || c.SMTP != anyPort {
		t.Errorf("it chose %+v", c)
	}
	if len(j.joined.Did) != 1 || !strings.HasPrefix(j.joined.Did[0], taken+" is taken by ") || !strings.HasSuffix(j.joined.Did[0], "will use "+c.IMAP) {
		t.Errorf("it said %q", j.joined.Did)
	}
	c.SMTP = "192.0.2.1:1025"
	if err := choosePorts(&c, j.did); err == nil {
		t.Error("it took an address that is not of this computer")
	}
}

// TestInvitationOfADevice: an invitation that names a file without an end is refused.
func TestInvitationOfADevice(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no such file")
	}
	var j joinCmd
	_, _, err := j.document(t.Context(), invitation.Invitation{Document: "/dev/zero"}, proxy.NetworkConfig{})
	if err == nil || !strings.Contains(err.Error(), "/dev/zero is no file with a document in it") {
		t.Errorf("the document is %v", err)
	}
}
