package smtp

import (
	"fmt"
	"slices"
	"strings"
)

// startTLSReply is what the library answers to STARTTLS, since it knows no TLS.
const startTLSReply = "502 5.5.1 TLS not supported"

// reworded are the library's replies that say too little, or have a code other than
// the RFCs', by how they begin. TestEveryRefusal provokes them, so that another
// version of the library that says them otherwise is noticed.
var reworded = []struct{ library, ours string }{
	// RFC 5321 section 4.2.4: 500 unrecognized, 501 arguments, 502 not implemented,
	// 503 out of order.
	{"501 5.5.2 Bad command", "500 5.5.2 this is not a command of SMTP"},
	{"500 5.5.2 Error: bad syntax", "500 5.5.2 an empty line is not a command of SMTP"},
	{"500 5.5.2 Syntax errors, ", "500 5.5.2 this is not a command of SMTP"},
	{"500 5.5.1 This is not a LMTP server", "500 5.5.1 this is SMTP and not LMTP: use EHLO"},
	{"500 5.5.1 Too many errors. Quiting now", "421 4.7.0 too many commands were wrong: the connection is closed"},
	{"501 5.5.2 Domain/address argument required for HELO", "501 5.5.4 the client's name or address is missing behind EHLO or HELO"},
	{"502 5.5.1 Please introduce yourself first.", "503 5.5.1 EHLO comes first"},
	{"502 5.5.1 MAIL not allowed during message transfer", "503 5.5.1 a message has been begun with BDAT: finish it, or send RSET"},
	{"502 5.5.1 RCPT not allowed during message transfer", "503 5.5.1 a message has been begun with BDAT: finish it, or send RSET"},
	{"502 5.5.1 DATA not allowed during message transfer", "503 5.5.1 a message has been begun with BDAT: finish it, or send RSET"},
	{"502 5.5.1 Missing MAIL FROM command.", "503 5.5.1 MAIL comes before RCPT"},
	{"502 5.5.1 Missing RCPT TO command.", "503 5.5.1 no recipient has been accepted: MAIL and RCPT come before the message"},
	{"501 5.5.2 Was expecting MAIL arg syntax of FROM:<address>", "501 5.1.7 MAIL needs the sender's address as FROM:<name@domain>"},
	{"501 5.5.2 Was expecting RCPT arg syntax of TO:<address>", "501 5.1.3 RCPT needs the recipient's address as TO:<name@domain>"},
	{"501 5.5.4 Unable to parse MAIL ESMTP parameters", "501 5.5.4 the parameters of MAIL cannot be read"},
	{"501 5.5.4 Unable to parse RCPT ESMTP parameters", "501 5.5.4 the parameters of RCPT cannot be read"},
	{"500 5.5.4 Unknown MAIL FROM argument", "555 5.5.4 MAIL has a parameter that this server does not offer"},
	{"500 5.5.4 Unknown RCPT TO argument", "555 5.5.4 RCPT has a parameter that this server does not offer"},
	{"504 5.5.4 REQUIRETLS is not implemented", "555 5.5.4 REQUIRETLS is not offered: all mail of this network is sealed for its recipient"},
	{"504 5.5.4 BINARYMIME is not implemented", "504 5.5.4 BODY=BINARYMIME is not offered: use 8BITMIME"},
	{"501 5.5.4 Unknown BODY value", "501 5.5.4 BODY must be 7BIT or 8BITMIME"},
	{"501 5.5.4 Unknown RET value", "501 5.5.4 RET must be FULL or HDRS"},
	{"501 5.5.4 Malformed ENVID parameter value", "501 5.5.4 ENVID is not printable text in the form of RFC 3461"},
	{"501 5.5.4 Malformed NOTIFY parameter value", "501 5.5.4 NOTIFY must be NEVER alone, or some of SUCCESS, FAILURE and DELAY, each once"},
	{"501 5.5.4 Malformed ORCPT parameter value", "501 5.5.4 ORCPT must be rfc822 or utf-8, a semicolon and an address in the form of RFC 3461 or RFC 6533"},
	{"500 5.5.4 Malformed AUTH parameter", "501 5.5.4 the AUTH parameter of MAIL must be <> or an address in the form of RFC 4954"},
	{"501 5.5.4 DATA command should not have any arguments", "501 5.5.4 DATA stands alone"},
	{"501 5.5.4 Missing chunk size argument", "501 5.5.4 BDAT needs the size of the chunk in bytes"},
	{"501 5.5.4 Too many arguments", "501 5.5.4 behind BDAT and its size there may be LAST only"},
	{"501 5.5.4 Unknown BDAT argument", "501 5.5.4 behind BDAT and its size there may be LAST only"},
	{"501 5.5.4 Malformed size argument", "501 5.5.4 BDAT needs the size of the chunk in bytes"},
	// RFC 4954 section 4 and 6.
	{"503 5.5.1 Already authenticated", "503 5.5.1 this connection is logged in already"},
	{"502 5.5.4 Missing parameter", "501 5.5.4 AUTH needs a mechanism: PLAIN or LOGIN"},
	{"523 5.7.10 TLS is required", "530 5.7.0 turn on STARTTLS as the connection security before logging in"},
	{"454 4.7.0 Invalid base64 data", "501 5.5.2 the login is malformed: it is not base64"},
	{"501 5.0.0 Negotiation cancelled", "501 5.7.0 the login was cancelled"},
	{"421 4.0.0 Internal server error", "421 4.3.0 an error in mailproxy: try again, and see its log if it stays so"},
	{"500 5.4.0 Too long line, closing connection", "500 5.5.2 too much came in one line, or before a login: the connection is closed"},
	{"421 4.4.2 Idle timeout, bye bye", "421 4.4.2 nothing came for too long: the connection is closed"},
	{"421 4.4.0 Connection error, sorry", "421 4.4.2 the connection is broken"},
}

// welcomed are the library's jokes and promises, by how they begin. TestPlainWords
// provokes them.
var welcomed = []struct{ library, ours string }{
	{"250 2.0.0 Roger, ", "250 2.1.0 the sender is accepted"},
	{"250 2.0.0 I'll make sure ", "250 2.1.5 the recipient is accepted"},
	{"250 2.0.0 I have successfully done nothing", "250 2.0.0 still here"},
	{"252 2.5.0 Cannot VRFY user", "252 2.5.0 addresses are not looked up here: send the mail, and a report says so if it cannot arrive"},
	{"354 Go ahead. ", "354 send the message, and end it with a line of one dot"},
}

// reword returns what is sent for a line of the library's.
func (c *conn) reword(line string) string {
	o := &c.server.opts
	switch {
	case line == startTLSReply && c.secure:
		return "503 5.5.1 TLS is on already"
	case line == startTLSReply:
		return "502 5.5.1 STARTTLS is not offered here"
	case line == "250-CHUNKING" && !c.secure && o.TLS != nil:
		return line + "\r\n250-STARTTLS"
	case strings.HasPrefix(line, "250-SIZE "), strings.HasPrefix(line, "250 SIZE "):
		return fmt.Sprint(line[:len("250-SIZE ")], o.MaxMessage)
	case strings.HasPrefix(line, "552 5.3.4 Max"), strings.HasPrefix(line, "501 5.5.4 Unable to parse SIZE"):
		// The second is also the answer to a number beyond 32 bits.
		return "552 5.3.4 " + c.server.tooLarge()
	case strings.HasPrefix(line, "452 4.5.3 Maximum limit of "):
		return fmt.Sprintf("452 4.5.3 a message can have %d recipients at a time: send it to the others by itself", o.MaxRecipients)
	case strings.HasSuffix(line, " command not implemented"):
		return "502 5.5.1 this server does not have this command"
	}
	// RFC 5321 section 4.1.1.1: the server's name, not the client's.
	if strings.HasPrefix(line, "250-Hello ") {
		return "250-" + o.Hostname
	}
	if strings.HasPrefix(line, "250 2.0.0 Hello ") {
		return "250 " + o.Hostname
	}
	for _, r := range slices.Concat(welcomed, reworded) {
		if strings.HasPrefix(line, r.library) {
			return r.ours
		}
	}
	if strings.HasPrefix(line, "504 5.5.4 ") && strings.HasSuffix(line, " is not implemented") {
		return "555 5.5.4 there is a parameter that this server does not offer"
	}
	return line
}

// tooLarge is what is wrong with a message beyond the limit (RFC 1870 section 6).
func (s *Server) tooLarge() string {
	return fmt.Sprintf("the message is too large: at most %d bytes (%d MiB) can be sent", s.opts.MaxMessage, s.opts.MaxMessage>>20)
}
