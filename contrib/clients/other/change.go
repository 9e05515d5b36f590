package main

import (
	"fmt"
	"os"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
)

// letters are the flags as Maildir writes them, in its order.
var letters = []struct {
	letter byte
	flag   goimap.Flag
}{
	{'D', goimap.FlagDraft}, {'F', goimap.FlagFlagged}, {'R', goimap.FlagAnswered},
	{'S', goimap.FlagSeen}, {'T', goimap.FlagDeleted},
}

// flagsOf returns the flags that letters name.
func flagsOf(s string) ([]goimap.Flag, error) {
	if s == "-" {
		return nil, nil
	}
	var flags []goimap.Flag
	for _, l := range letters {
		if strings.IndexByte(s, l.letter) >= 0 {
			flags = append(flags, l.flag)
		}
	}
	if len(flags) != len(s) {
		return nil, fmt.Errorf("%q has something else than one each of D, F, R, S and T", s)
	}
	return flags, nil
}

// lettersOf is the reverse. Flags without a letter are left out.
func lettersOf(flags []goimap.Flag) string {
	var b strings.Builder
	for _, l := range letters {
		for _, f := range flags {
			if strings.EqualFold(string(f), string(l.flag)) {
				b.WriteByte(l.letter)
				break
			}
		}
	}
	if b.Len() == 0 {
		return "-"
	}
	return b.String()
}

func (o *other) append(args []string) error {
	flags, err := flagsOf(args[1])
	if err != nil {
		return err
	}
	for _, file := range args[2:] {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		w := o.c.Append(args[0], int64(len(raw)), &goimap.AppendOptions{Flags: flags})
		if _, err := w.Write(raw); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		if _, err := w.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func (o *other) flag(args []string) error {
	flags, err := flagsOf(args[1])
	if err != nil {
		return err
	}
	uids, err := o.find(args[0], args[2:])
	if err != nil {
		return err
	}
	return o.c.Store(uids, &goimap.StoreFlags{Op: goimap.StoreFlagsSet, Silent: true, Flags: flags}, nil).Close()
}

func (o *other) move(args []string) error {
	uids, err := o.find(args[0], args[2:])
	if err != nil {
		return err
	}
	_, err = o.c.Move(uids, args[1]).Wait()
	return err
}

func (o *other) delete(args []string) error {
	uids, err := o.find(args[0], args[1:])
	if err != nil {
		return err
	}
	return o.expunge(uids)
}

func (o *other) expunge(uids goimap.UIDSet) error {
	add := &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Silent: true, Flags: []goimap.Flag{goimap.FlagDeleted}}
	if err := o.c.Store(uids, add, nil).Close(); err != nil {
		return err
	}
	return o.c.UIDExpunge(uids).Close()
}

// empty deletes all messages of a folder.
func (o *other) empty(args []string) error {
	list, err := o.fetch(args[0], false)
	if err != nil || len(list) == 0 {
		return err
	}
	var uids goimap.UIDSet
	for _, m := range list {
		uids.AddNum(m.uid)
	}
	return o.expunge(uids)
}

// find selects a folder and returns the UIDs of the messages with these subjects.
func (o *other) find(folder string, subjects []string) (goimap.UIDSet, error) {
	list, err := o.fetch(folder, false)
	if err != nil {
		return nil, err
	}
	var uids goimap.UIDSet
	for _, s := range subjects {
		found := 0
		for _, m := range list {
			if m.subject == s {
				uids.AddNum(m.uid)
				found++
			}
		}
		if found != 1 {
			return nil, fmt.Errorf("%s is in %s %d times", s, folder, found)
		}
	}
	return uids, nil
}

func (o *other) create(args []string) error {
	for _, name := range args {
		if err := o.c.Create(name, nil).Wait(); err != nil {
			return err
		}
		if err := o.c.Subscribe(name).Wait(); err != nil {
			return err
		}
	}
	return nil
}

func (o *other) remove(args []string) error {
	for _, name := range args {
		if err := o.c.Delete(name).Wait(); err != nil {
			return err
		}
	}
	return nil
}

func (o *other) rename(args []string) error {
	return o.c.Rename(args[0], args[1], nil).Wait()
}
