package server

import (
	"strings"

	"mailproxy/spool"
)

// A Policy says who may do what, beyond what the protocol itself demands. Its
// methods return spool.StatusOK or the status to refuse with. They are called
// from several goroutines and must not block.
type Policy interface {
	// Register is asked before a name is registered whose request is otherwise
	// in order.
	Register(name string) spool.Status
	// Append is asked before a block is stored; lane is nil for the open lane. It
	// also says how much of the spool the lane may fill.
	Append(id spool.ID, lane *spool.LaneProof) (spool.Status, Quota)
}

// A Quota bounds what a spool may hold.
type Quota struct {
	Blocks int
	Bytes  int64
}

// Open is the Policy of a service that whoever wants may use: any name that is
// not reserved, and the open lane only.
type Open struct{ Quota Quota }

// Register implements Policy.
func (Open) Register(name string) spool.Status {
	if reserved[name] {
		return spool.StatusReserved
	}
	return spool.StatusOK
}

// Append implements Policy.
func (o Open) Append(_ spool.ID, lane *spool.LaneProof) (spool.Status, Quota) {
	if lane != nil {
		return spool.StatusLane, Quota{}
	}
	return spool.StatusOK, o.Quota
}

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
func validName(name string) bool {
	between := true // at the start or after punctuation
	for _, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (between || c != '.' && c != '-' && c != '_') {
			return false
		}
		between = !letter
	}
	return !between
}
