// Package refusal is a reason not to take a message that its sender may read:
// what SMTP answers, apart from the cause, which is for the log.
//
// It is a leaf. The outbox and the header policy make refusals, smtp passes them
// on.
package refusal

import "fmt"

// An Error is a refusal. Text is one plain sentence for the user; Err is the
// cause, may quote the mail, and is never shown to the client or logged with it.
// It may be nil.
type Error struct {
	Code     int    // SMTP reply code, 400 to 599 (RFC 5321 section 4.2)
	Enhanced [3]int // enhanced status code (RFC 3463)
	Text     string
	Err      error
}

// New returns a refusal without a cause; format and args make its Text.
func New(code int, enhanced [3]int, format string, args ...any) *Error {
	return &Error{Code: code, Enhanced: enhanced, Text: fmt.Sprintf(format, args...)}
}

// Error returns codes, text and cause, for tests.
func (r *Error) Error() string {
	s := fmt.Sprintf("%d %d.%d.%d %s", r.Code, r.Enhanced[0], r.Enhanced[1], r.Enhanced[2], r.Text)
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (r *Error) Unwrap() error { return r.Err }

// Temporary reports whether trying again later may succeed.
func (r *Error) Temporary() bool { return r.Code/100 == 4 }
