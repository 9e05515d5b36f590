package server

import (
	"strings"

	"golang.org/x/text/secure/precis"
)

// reserved are the names of RFC 2142, of RFC 5321 section 4.5.1 (postmaster), of
// those by whose mail certificates are issued (CA/Browser Forum baseline
// requirements, section 3.2.2.4.4), and names that people take for the operator.
var reserved = func() map[string]bool {
	m := make(map[string]bool)
	for name := range strings.FieldsSeq(`
		abuse admin administrator billing bounce bounces daemon dns ftp
		help helpdesk hostmaster info legal mail mailer-daemon
		mailproxy mailspool marketing news no-reply nobody noc noreply null office
		operator owner postmaster privacy registrar root sales security service
		spool ssladmin ssladministrator sslwebmaster staff support sysadmin system
		trouble usenet uucp webmaster www`) {
		m[name] = true
	}
	return m
}()

// validName says whether an account may have this name, which is narrower than
// what an address of the network may be: lower-case ASCII letters and digits,
// with single '.', '-' and '_' between them. Names that look alike in several
// scripts would deceive people who trust an address at first sight; '+' and the
// rest stay free for a later meaning.
//
// Every such name is also what PRECIS UsernameCaseMapped (RFC 8265 section 3.3)
// makes of it, and no two become the same. That is asked of the profile itself and
// not taken for granted: it costs a microsecond, and whoever lets in another
// character will have its rules applied and not forgotten.
func validName(name string) bool {
	between := true // at the start or after punctuation
	for _, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (between || c != '.' && c != '-' && c != '_') {
			return false
		}
		between = !letter
	}
	if between {
		return false
	}
	mapped, err := precis.UsernameCaseMapped.String(name)
	return err == nil && mapped == name
}
