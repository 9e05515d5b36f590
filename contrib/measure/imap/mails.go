package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// What is searched for, and in how many messages it stands.
const (
	subjectWord  = "heliograph" // in the subject of every 20th message
	subjectEvery = 20
	bodyWord     = "quicksilver" // at the end of every 50th message
	bodyEvery    = 50
	unreadEvery  = 20 // of the messages one stays unread
)

// makeMails returns n messages of about size bytes: a header as mail programs
// write it, and text. The seed is fixed, so that all runs have the same ones.
func makeMails(n, size int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	mails := make([][]byte, n)
	for i := range mails {
		mails[i] = makeMail(r, i, size)
	}
	return mails
}

func makeMail(r *rand.Rand, i, size int) []byte {
	var b bytes.Buffer
	subject := sentence(r, 5)
	if i%subjectEvery == 0 {
		subject += " " + subjectWord
	}
	field := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	field("Return-Path: <%s@example.org>", word(r))
	field("Received: from mail.example.org (mail.example.org [192.0.2.%d])", i%250+1)
	field("\tby mx.example.net with ESMTPS id %08x%08x", r.Uint32(), r.Uint32())
	field("\tfor <user@example.net>; Mon, 02 Nov 2026 %02d:%02d:%02d +0000", i/3600%24, i/60%60, i%60)
	field("Date: Mon, 02 Nov 2026 %02d:%02d:%02d +0100", i/3600%24, i/60%60, i%60)
	field("From: %s %s <%s@example.org>", name(r), name(r), word(r))
	field("To: %s %s <user@example.net>, <%s@example.net>", name(r), name(r), word(r))
	field("Cc: <%s@example.com>", word(r))
	field("Subject: %s", subject)
	field("Message-ID: <%08x.%08x@example.org>", r.Uint32(), i)
	field("In-Reply-To: <%08x.%08x@example.net>", r.Uint32(), i)
	field("References: <%08x.%08x@example.net>", r.Uint32(), i)
	field("User-Agent: Mozilla Thunderbird")
	field("MIME-Version: 1.0")
	field("Content-Type: text/plain; charset=UTF-8; format=flowed")
	field("Content-Transfer-Encoding: 7bit")
	field("")
	for b.Len() < size-80 {
		field("%s", sentence(r, 9))
	}
	if i%bodyEvery == 0 {
		field("%s", bodyWord)
	}
	return b.Bytes()
}

var syllables = strings.Fields("ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo zu")

func word(r *rand.Rand) string {
	var s string
	for range 2 + r.IntN(3) {
		s += syllables[r.IntN(len(syllables))]
	}
	return s
}

func name(r *rand.Rand) string {
	w := word(r)
	return strings.ToUpper(w[:1]) + w[1:]
}

func sentence(r *rand.Rand, words int) string {
	s := make([]string, words)
	for i := range s {
		s[i] = word(r)
	}
	return strings.Join(s, " ")
}
