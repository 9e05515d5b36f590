package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// maxMessages is with how many messages a client begins to remove rather than add.
const maxMessages = 40

// A folder is one that a client knows: its own, or a shared one.
type folder struct {
	name     string
	validity uint32 // 0 until it is known
	own      bool
}

// An instance is one message in one folder.
type instance struct {
	folder *folder
	uid    uint32
	n      int
	flags  []goimap.Flag // sorted
}

func (i *instance) place() place { return place{i.folder.validity, i.uid} }

// An op is a command that changes something. While it is a client's pending one,
// both states may be found.
type op struct {
	name  string      // of the command
	msgs  []*instance // that it is about
	dest  *folder
	to    string        // RENAME: new name
	n     int           // APPEND: number
	flags []goimap.Flag // STORE: as they are to be
}

// A client has messages and folders that no other touches. It lives on from one
// connection to the next.
type client struct {
	t       *torturer
	id      int
	next    int // of its message numbers
	made    int // of its folder names
	folders []*folder
	msgs    []*instance
	pending *op

	c *imapclient.Client // of this life
}

// owner returns who has message n.
func (t *torturer) owner(n int) *client { return t.clients[n%len(t.clients)] }

func (c *client) number() int {
	c.next++
	return c.next*len(c.t.clients) + c.id
}

// connect logs in; nil if the server is gone.
func (c *client) connect(conn net.Conn) error {
	c.c = imapclient.New(conn, nil)
	if err := c.c.Login(account, password).Wait(); err != nil {
		return err
	}
	for _, f := range c.folders {
		if f.validity == 0 {
			if err := c.learn(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// learn asks for a folder's UIDVALIDITY.
func (c *client) learn(f *folder) error {
	d, err := c.c.Status(f.name, &goimap.StatusOptions{UIDValidity: true}).Wait()
	if err != nil {
		return c.lost("STATUS "+f.name, err)
	}
	c.t.ledger.mu.Lock()
	defer c.t.ledger.mu.Unlock()
	f.validity = d.UIDValidity
	return nil
}

// lost tells a refusal, which must not be, from a connection that a kill ended.
func (c *client) lost(what string, err error) error {
	var answer *goimap.Error
	if errors.As(err, &answer) {
		c.t.ledger.mu.Lock()
		defer c.t.ledger.mu.Unlock()
		if len(c.t.ledger.refused) < 20 {
			c.t.ledger.refused = append(c.t.ledger.refused, fmt.Sprintf("client %d: %s: %v", c.id, what, err))
		}
	}
	return err
}

// do runs a command, and applies it once it is acknowledged. run's commit is called
// with the ledger held.
func (c *client) do(o *op, run func() (commit func(), err error)) error {
	c.t.ledger.mu.Lock()
	c.pending = o
	c.t.ledger.mu.Unlock()
	commit, err := run()
	if err != nil {
		return c.lost(o.name, err) // it stays pending
	}
	c.t.ledger.mu.Lock()
	defer c.t.ledger.mu.Unlock()
	commit()
	c.pending = nil
	c.t.ledger.acked[o.name]++
	c.t.Acknowledged()
	return nil
}

// step does something.
func (c *client) step() error {
	switch k := rand.IntN(100); {
	case len(c.msgs) == 0 || k < 30 && len(c.msgs) < maxMessages:
		return c.append()
	case k < 45:
		return c.store()
	case k < 58 && len(c.msgs) < maxMessages:
		return c.copy()
	case k < 72:
		return c.move()
	case k < 86 || len(c.msgs) >= maxMessages:
		return c.expunge()
	case k < 92:
		return c.create()
	case k < 96:
		return c.rename()
	default:
		return c.delete()
	}
}

// anyFolder is a shared one or one of its own.
func (c *client) anyFolder() *folder { return c.folders[rand.IntN(len(c.folders))] }

func (c *client) ownFolder() *folder {
	var own []*folder
	for _, f := range c.folders {
		if f.own {
			own = append(own, f)
		}
	}
	if len(own) == 0 {
		return nil
	}
	return own[rand.IntN(len(own))]
}

func (c *client) append() error {
	o := &op{name: "APPEND", dest: c.anyFolder(), n: c.number()}
	return c.do(o, func() (func(), error) {
		raw := message(o.n)
		cmd := c.c.Append(o.dest.name, int64(len(raw)), nil)
		_, werr := cmd.Write(raw)
		if err := cmd.Close(); werr == nil {
			werr = err
		}
		d, err := cmd.Wait()
		if err == nil {
			err = werr
		}
		if err != nil {
			return nil, err
		}
		return func() {
			if d.UIDValidity != o.dest.validity {
				c.t.ledger.blame("APPEND to %s says UIDVALIDITY %d, and it is %d", o.dest.name, d.UIDValidity, o.dest.validity)
			}
			c.add(o.dest, uint32(d.UID), o.n, nil)
		}, nil
	})
}

// add notes an instance. The ledger is held.
func (c *client) add(f *folder, uid uint32, n int, flags []goimap.Flag) {
	i := &instance{folder: f, uid: uid, n: n, flags: flags}
	c.t.ledger.give(i.place(), n)
	c.msgs = append(c.msgs, i)
}

// drop forgets instances. The ledger is held.
func (c *client) drop(gone []*instance) {
	c.msgs = slices.DeleteFunc(c.msgs, func(i *instance) bool { return slices.Contains(gone, i) })
}

// some selects a folder and returns some of the client's messages in it.
func (c *client) some() ([]*instance, goimap.UIDSet, error) {
	f := c.msgs[rand.IntN(len(c.msgs))].folder
	if _, err := c.c.Select(f.name, nil).Wait(); err != nil {
		return nil, nil, c.lost("SELECT "+f.name, err)
	}
	var list []*instance
	var set goimap.UIDSet
	most := 1 + rand.IntN(8)
	for _, i := range c.msgs {
		if i.folder == f && len(list) < most {
			list = append(list, i)
			set.AddNum(goimap.UID(i.uid))
		}
	}
	return list, set, nil
}

var someFlags = []goimap.Flag{goimap.FlagSeen, goimap.FlagFlagged, goimap.FlagAnswered, "crash"}

func (c *client) store() error {
	msgs, set, err := c.some()
	if err != nil {
		return err
	}
	var flags []goimap.Flag
	for _, f := range someFlags {
		if rand.IntN(2) == 0 {
			flags = append(flags, f)
		}
	}
	return c.setFlags(msgs, set, flags)
}

func (c *client) setFlags(msgs []*instance, set goimap.UIDSet, flags []goimap.Flag) error {
	slices.Sort(flags)
	return c.do(&op{name: "STORE", msgs: msgs, flags: flags}, func() (func(), error) {
		err := c.c.Store(set, &goimap.StoreFlags{Op: goimap.StoreFlagsSet, Flags: flags}, nil).Close()
		return func() {
			for _, i := range msgs {
				i.flags = flags
			}
		}, err
	})
}

// copied applies what COPYUID says.
func (c *client) copied(o *op, validity uint32, source, dest goimap.NumSet) {
	s, d := numbers(source), numbers(dest)
	if validity != o.dest.validity || len(s) != len(o.msgs) || len(d) != len(s) {
		c.t.ledger.blame("%s of %d messages to UIDVALIDITY %d: COPYUID says %d, %v, %v", o.name, len(o.msgs), o.dest.validity, validity, source, dest)
		return
	}
	for _, i := range o.msgs {
		k := slices.Index(s, i.uid)
		if k < 0 {
			c.t.ledger.blame("%s: COPYUID lacks UID %d", o.name, i.uid)
			continue
		}
		c.add(o.dest, d[k], i.n, i.flags)
	}
}

func numbers(set goimap.NumSet) []uint32 {
	uids, ok := set.(goimap.UIDSet)
	if !ok {
		return nil
	}
	list, _ := uids.Nums()
	var n []uint32
	for _, u := range list {
		n = append(n, uint32(u))
	}
	return n
}

func (c *client) copy() error {
	msgs, set, err := c.some()
	if err != nil {
		return err
	}
	o := &op{name: "COPY", msgs: msgs, dest: c.anyFolder()}
	return c.do(o, func() (func(), error) {
		d, err := c.c.Copy(set, o.dest.name).Wait()
		return func() { c.copied(o, d.UIDValidity, d.SourceUIDs, d.DestUIDs) }, err
	})
}

func (c *client) move() error {
	msgs, set, err := c.some()
	if err != nil {
		return err
	}
	o := &op{name: "MOVE", msgs: msgs, dest: c.anyFolder()}
	if o.dest == msgs[0].folder {
		return nil
	}
	return c.do(o, func() (func(), error) {
		d, err := c.c.Move(set, o.dest.name).Wait()
		return func() {
			c.copied(o, d.UIDValidity, d.SourceUIDs, d.DestUIDs)
			c.drop(msgs)
		}, err
	})
}

func (c *client) expunge() error {
	msgs, set, err := c.some()
	if err != nil {
		return err
	}
	if err := c.setFlags(msgs, set, []goimap.Flag{goimap.FlagDeleted}); err != nil {
		return err
	}
	return c.do(&op{name: "EXPUNGE", msgs: msgs}, func() (func(), error) {
		return func() { c.drop(msgs) }, c.c.UIDExpunge(set).Close()
	})
}

// create makes a folder, often under a name that one had before: it must be another.
func (c *client) create() error {
	name := fmt.Sprintf("own%d/%d", c.id, rand.IntN(6))
	if slices.ContainsFunc(c.folders, func(f *folder) bool { return f.name == name }) {
		return nil
	}
	f := &folder{name: name, own: true}
	err := c.do(&op{name: "CREATE", dest: f}, func() (func(), error) {
		return func() { c.folders = append(c.folders, f) }, c.c.Create(name, nil).Wait()
	})
	if err != nil {
		return err
	}
	return c.learn(f)
}

func (c *client) rename() error {
	f := c.ownFolder()
	if f == nil {
		return nil
	}
	c.made++
	to := fmt.Sprintf("own%d/renamed%d", c.id, c.made)
	return c.do(&op{name: "RENAME", dest: f, to: to}, func() (func(), error) {
		return func() { f.name = to }, c.c.Rename(f.name, to, nil).Wait()
	})
}

func (c *client) delete() error {
	f := c.ownFolder()
	if f == nil {
		return nil
	}
	return c.do(&op{name: "DELETE", dest: f}, func() (func(), error) {
		if err := c.c.Unselect().Wait(); err != nil { // which is refused if nothing is selected
			var answer *goimap.Error
			if !errors.As(err, &answer) {
				return nil, err
			}
		}
		return func() { c.forget(f) }, c.c.Delete(f.name).Wait()
	})
}

// forget takes a folder out with its messages. The ledger is held.
func (c *client) forget(f *folder) {
	c.folders = slices.DeleteFunc(c.folders, func(g *folder) bool { return g == f })
	c.msgs = slices.DeleteFunc(c.msgs, func(i *instance) bool { return i.folder == f })
}
