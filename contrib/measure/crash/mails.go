package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"mailproxy/internal/demo"
)

// stampFormat writes times in this program's logs.
const stampFormat = "15:04:05.000"

// What is in the directory: the child's log of events, what it says on stderr,
// and the state that survives it.
const (
	stateDir   = "state"
	eventsFile = "events.log"
	logFile    = "child.log"
)

const subjectPrefix = "crash test mail "

// numberOf returns the number of the mail with that subject, or -1.
func numberOf(subject string) int {
	s, ok := strings.CutPrefix(subject, subjectPrefix)
	n, err := strconv.Atoi(s)
	if !ok || err != nil {
		return -1
	}
	return n
}

// drawRecipients picks who gets a mail: mostly the other, sometimes oneself, or
// both.
func drawRecipients(r *rand.Rand, from string) []string {
	other := demo.Alice
	if from == demo.Alice {
		other = demo.Bob
	}
	switch r.IntN(10) {
	case 0:
		return []string{from}
	case 1, 2:
		to := []string{from, other}
		r.Shuffle(2, func(i, j int) { to[i], to[j] = to[j], to[i] })
		return to
	}
	return []string{other}
}

// drawBody makes a body: mostly of one block, sometimes of several, rarely of
// about 25: base64 of random bytes, which compression takes back to their size.
func drawBody(r *rand.Rand, number int) []byte {
	var random int
	switch n := r.IntN(100); {
	case n < 70:
		random = r.IntN(4 << 10)
	case n < 98:
		random = 8<<10 + r.IntN(32<<10)
	default:
		random = 150<<10 + r.IntN(50<<10)
	}
	raw := make([]byte, random)
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d\r\n.\r\n..a line that begins with dots\r\n \r\n", number)
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(raw)), 76) {
		b.Write(line)
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

// message puts a header before a body.
func (m *mail) message(body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: %s%d\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n",
		m.from, strings.Join(m.to, ", "), subjectPrefix, m.number)
	b.Write(body)
	return b.Bytes()
}
