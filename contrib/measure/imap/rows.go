package main

import (
	"fmt"
	"io"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// A row is one thing that is measured. Its slices are run in turn on each server;
// their times are added up.
type row struct {
	name   string
	key    string  // in the last line, or ""
	most   float64 // the ratio that is aimed at
	slices int
	warm   bool // slice 0 is run before, untimed
	mean   bool // slices are repetitions: the mean counts, not the sum
	// run does a slice. before, where there is one, is run first, untimed.
	run    func(s *session, slice int) error
	before func(s *session, slice int) error
}

// idleMessages is how many messages an IDLE client is woken by.
const idleMessages = 5

// repeats is how often a row of one command that changes nothing is run.
const repeats = 5

// rows lists what is measured, in the order in which a folder is filled, read,
// changed and emptied.
func rows(o options) []row {
	each := (o.messages + o.slice - 1) / o.slice
	// perMessage runs one command for each of a slice's messages, from 1.
	perMessage := func(do func(s *session, i int) error) func(*session, int) error {
		return func(s *session, slice int) error {
			for i := slice*o.slice + 1; i <= min((slice+1)*o.slice, o.messages); i++ {
				if err := do(s, i); err != nil {
					return fmt.Errorf("message %d: %w", i, err)
				}
			}
			return nil
		}
	}
	var list []row
	list = append(list,
		row{name: "APPEND, one by one", key: "append", most: 0.5, slices: each, run: perMessage(func(s *session, i int) error {
			return appendTo(s.client, s.folder, s.mails[i-1])
		})},
		row{name: "SELECT", most: 1, slices: repeats, mean: true, warm: true, run: func(s *session, _ int) error {
			data, err := s.client.Select(s.folder, nil).Wait()
			return want(err, "messages", int(data.NumMessages), o.messages)
		}},
	)
	for _, f := range []struct {
		name string
		item goimap.FetchOptions
	}{
		{"envelopes", goimap.FetchOptions{UID: true, Flags: true, Envelope: true}},
		{"headers", goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{{Specifier: goimap.PartSpecifierHeader, Peek: true}}}},
		{"bodies", goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{{Peek: true}}}},
	} {
		list = append(list,
			row{name: "FETCH of all " + f.name + ", one command", most: 1, slices: repeats, mean: true, warm: true, run: func(s *session, _ int) error {
				return s.fetch(1, o.messages, f.item)
			}},
			row{name: "FETCH of all " + f.name + ", a command each", most: 1, slices: each, warm: true, run: perMessage(func(s *session, i int) error {
				return s.fetch(i, i, f.item)
			})},
		)
	}
	return append(list,
		row{name: "STORE, one by one", key: "store", most: 0.5, slices: each, run: perMessage(func(s *session, i int) error {
			flag := goimap.FlagSeen
			if (i-1)%unreadEvery == 0 {
				flag = goimap.FlagFlagged
			}
			return s.store(goimap.SeqSetNum(uint32(i)), flag)
		})},
		row{name: "SEARCH SUBJECT", key: "search_subject", most: 0.5, slices: repeats, mean: true, warm: true, run: func(s *session, _ int) error {
			return s.search(&goimap.SearchCriteria{Header: []goimap.SearchCriteriaHeaderField{{Key: "Subject", Value: subjectWord}}}, every(o.messages, subjectEvery))
		}},
		row{name: "SEARCH UNSEEN", key: "search_unseen", most: 0.5, slices: repeats, mean: true, warm: true, run: func(s *session, _ int) error {
			return s.search(&goimap.SearchCriteria{NotFlag: []goimap.Flag{goimap.FlagSeen}}, every(o.messages, unreadEvery))
		}},
		row{name: "SEARCH BODY", key: "search_body", most: 0.5, slices: repeats, mean: true, warm: true, run: func(s *session, _ int) error {
			return s.search(&goimap.SearchCriteria{Body: []string{bodyWord}}, every(o.messages, bodyEvery))
		}},
		row{name: "MOVE of all", key: "move", most: 0.5, slices: 1, run: func(s *session, _ int) error {
			_, err := s.client.Move(all(o.messages), s.moved).Wait()
			return err
		}},
		row{name: "EXPUNGE of all", most: 1, slices: 1,
			before: func(s *session, _ int) error {
				data, err := s.client.Select(s.moved, nil).Wait()
				if err := want(err, "messages", int(data.NumMessages), o.messages); err != nil {
					return err
				}
				return s.store(all(o.messages), goimap.FlagDeleted)
			},
			run: func(s *session, _ int) error {
				n := 0
				cmd := s.client.Expunge()
				for cmd.Next() != 0 {
					n++
				}
				return want(cmd.Close(), "messages", n, o.messages)
			},
		},
		row{name: fmt.Sprintf("IDLE wake-up, %d messages", idleMessages), key: "idle", most: 0.5, slices: idleMessages,
			before: func(s *session, slice int) error {
				if slice > 0 {
					return nil
				}
				if err := s.client.Create(s.watched, nil).Wait(); err != nil {
					return err
				}
				data, err := s.client.Select(s.watched, nil).Wait()
				if err != nil {
					return err
				}
				s.exists.Store(data.NumMessages)
				s.idle, err = s.client.Idle()
				return err
			},
			run: func(s *session, slice int) error {
				if err := s.wake(s.mails[slice]); err != nil {
					return err
				}
				if slice+1 < idleMessages {
					return nil
				}
				if err := s.idle.Close(); err != nil {
					return err
				}
				return s.idle.Wait()
			},
		},
	)
}

func every(n, step int) int { return (n + step - 1) / step }

func all(n int) goimap.SeqSet {
	var set goimap.SeqSet
	set.AddRange(1, uint32(n))
	return set
}

func want(err error, what string, have, want int) error {
	if err != nil {
		return err
	}
	if have != want {
		return fmt.Errorf("%d %s, want %d", have, what, want)
	}
	return nil
}

func appendTo(c *imapclient.Client, folder string, mail []byte) error {
	cmd := c.Append(folder, int64(len(mail)), nil)
	if _, err := cmd.Write(mail); err != nil {
		return err
	}
	if err := cmd.Close(); err != nil {
		return err
	}
	_, err := cmd.Wait()
	return err
}

// fetch reads the items of messages from to to and throws them away, once it has
// seen that they came.
func (s *session) fetch(from, to int, items goimap.FetchOptions) error {
	var set goimap.SeqSet
	set.AddRange(uint32(from), uint32(to))
	cmd := s.client.Fetch(set, &items)
	n := 0
	for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
		got := false
		for item := msg.Next(); item != nil; item = msg.Next() {
			switch item := item.(type) {
			case imapclient.FetchItemDataEnvelope:
				got = item.Envelope.MessageID != ""
			case imapclient.FetchItemDataBodySection:
				size, err := io.Copy(io.Discard, item.Literal)
				if err != nil {
					return err
				}
				got = size > 300
			}
		}
		if got {
			n++
		}
	}
	return want(cmd.Close(), "messages", n, to-from+1)
}

func (s *session) store(set goimap.SeqSet, flag goimap.Flag) error {
	return s.client.Store(set, &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Silent: true, Flags: []goimap.Flag{flag}}, nil).Close()
}

func (s *session) search(c *goimap.SearchCriteria, hits int) error {
	data, err := s.client.Search(c, nil).Wait()
	if err != nil {
		return err
	}
	return want(nil, "messages found", len(data.AllSeqNums()), hits)
}

// patience is how long a wake-up may take.
const patience = time.Minute

// wake appends a message from the second connection and waits until the first,
// which is in IDLE, hears of it.
func (s *session) wake(mail []byte) error {
	heard := s.exists.Load() + 1
	if err := appendTo(s.second, s.watched, mail); err != nil {
		return err
	}
	stored := time.Now()
	limit := time.After(patience)
	for s.exists.Load() < heard {
		select {
		case <-s.news:
		case <-limit:
			return fmt.Errorf("no word of a new message for %v", patience)
		}
	}
	s.wakes = append(s.wakes, time.Since(stored))
	return nil
}
