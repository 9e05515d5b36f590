package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"mailproxy/spool"
	"mailproxy/spool/server"
)

// What commands say with --json. The names of fields stay; new ones may come. Times
// are RFC 3339 in UTC, and missing where there is none.

// user is a name and its spool.
type user struct {
	Name           string     `json:"name"`
	Address        string     `json:"address"`
	State          string     `json:"state"`              // active, suspended or revoked
	Withheld       bool       `json:"withheld,omitempty"` // revoked, and suspended as well: its blocks are kept back
	Identity       string     `json:"identity"`           // base64 of the Ed25519 key
	Version        uint64     `json:"version"`            // of its bundle
	Spool          string     `json:"spool"`              // hex
	Blocks         int        `json:"blocks"`
	ContactBlocks  int        `json:"contact_blocks"`
	StrangerBlocks int        `json:"stranger_blocks"`
	Bytes          int64      `json:"bytes"` // of the blocks
	Oldest         *time.Time `json:"oldest_block,omitempty"`
	Since          *time.Time `json:"since,omitempty"`
}

// States of a user.
const (
	active    = "active"
	suspended = "suspended"
	revoked   = "revoked" // by the user or the operator, for good
)

func userOf(u server.User, provider string) user {
	out := user{
		Name: u.Name, Address: u.Name + "@" + provider, State: active, Identity: base64.StdEncoding.EncodeToString(u.Identity),
		Version: u.Version, Spool: hex.EncodeToString(u.Spool[:]),
		ContactBlocks: u.Blocks[spool.LaneContacts], StrangerBlocks: u.Blocks[spool.LaneStrangers],
		Oldest: moment(u.Oldest), Since: moment(u.Since),
	}
	for _, n := range u.Blocks {
		out.Blocks += n
	}
	out.Bytes = int64(out.Blocks) * spool.BlockSize
	switch {
	case u.Revoked:
		out.State, out.Withheld = revoked, u.Suspended
	case u.Suspended:
		out.State = suspended
	}
	return out
}

// invite is an invitation. Its code is known to whom it was given only.
type invite struct {
	ID   string `json:"id"`
	Code string `json:"code,omitempty"` // when it is made
	// Invitation is all that "mailproxy join" needs, the code among it.
	Invitation string     `json:"invitation,omitempty"`
	State      string     `json:"state"` // open, used or expired
	Created    *time.Time `json:"created,omitempty"`
	Expires    *time.Time `json:"expires,omitempty"`
	Note       string     `json:"note,omitempty"`
	UsedBy     string     `json:"used_by,omitempty"` // a name
}

// inviteID is what stands for an invitation where its code must not be seen.
func inviteID(hash [32]byte) string { return hex.EncodeToString(hash[:6]) }

func inviteOf(i server.Invite, now time.Time) invite {
	out := invite{ID: inviteID(i.Hash), State: "open", Created: moment(i.Created), Expires: moment(i.Expires), Note: i.Note, UsedBy: i.UsedBy}
	switch {
	case i.UsedBy != "":
		out.State = "used"
	case !i.Good(now):
		out.State = "expired"
	}
	return out
}

// stats are the service's.
type stats struct {
	Provider      string     `json:"provider"`
	Started       time.Time  `json:"started"`
	Registration  string     `json:"registration"` // invite or open
	Names         int        `json:"names"`        // that are not revoked
	Suspended     int        `json:"suspended"`    // of these
	Revoked       int        `json:"revoked"`
	Spools        int        `json:"spools"`
	Blocks        int        `json:"blocks"`
	Bytes         int64      `json:"bytes"`      // of the blocks
	Remembered    int        `json:"remembered"` // ids of removed blocks
	Oldest        *time.Time `json:"oldest_block,omitempty"`
	OpenInvites   int        `json:"open_invitations"` // that can still be used
	LogRecords    uint64     `json:"log_records"`
	LogHead       string     `json:"log_head"` // hex of the key log's root hash
	DiskBytes     int64      `json:"disk_bytes"`
	DiskFree      int64      `json:"disk_free"` // -1: not known
	Work          price      `json:"work"`
	Appended      uint64     `json:"appended"`          // blocks, since the start
	RefusedFull   uint64     `json:"refused_full"`      // appends to spools that are full
	RefusedWork   uint64     `json:"refused_work"`      // appends without a good proof
	RefusedKey    uint64     `json:"refused_key"`       // appends without a good append key
	RefusedBusy   uint64     `json:"refused_busy"`      // appends beyond a rate
	RefusedTemp   uint64     `json:"refused_temporary"` // requests of any kind that a fault kept from being carried out
	DroppedBlocks uint64     `json:"dropped_blocks"`
	SweptBlocks   uint64     `json:"swept_blocks"`
}

// price is what a block costs strangers.
type price struct {
	Memory uint32     `json:"memory_kib"`
	Passes uint32     `json:"passes"`
	Bits   uint8      `json:"bits"`            // now
	Config uint8      `json:"configured_bits"` // in the configuration
	Set    uint8      `json:"set_bits"`        // by "mailspool work", 0: not
	Until  *time.Time `json:"set_until,omitempty"`
}

// collected is what gc did.
type collected struct {
	Freed   int64 `json:"freed_bytes"`
	Removed int   `json:"removed_blocks"` // that were too old, with --trust-clock
}

// saved is what backup and restore did.
type saved struct {
	File   string `json:"file"`
	Blocks int    `json:"blocks"`
	Bytes  int64  `json:"file_bytes"`
	Millis int64  `json:"took_ms"`
}

// verified is what verify found.
type verified struct {
	Names      int      `json:"names"`
	Spools     int      `json:"spools"`
	Blocks     int      `json:"blocks"`
	Bytes      int64    `json:"bytes"`
	Remembered int      `json:"remembered"`
	LogRecords uint64   `json:"log_records"`
	Invites    int      `json:"open_invitations"`
	Millis     int64    `json:"took_ms"`
	Wrong      int      `json:"wrong"`    // how many things
	Problems   []string `json:"problems"` // the first of them
	Damaged    int      `json:"damaged_blocks"`
	Dropped    int      `json:"dropped_blocks"`
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// show prints v as JSON, or has text print it.
func show(asJSON bool, v any, text func(w *tabwriter.Writer)) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(v)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	text(w)
	return w.Flush()
}

// day is a time in a table.
func day(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format("2006-01-02 15:04Z")
}

// size is a number of bytes in words.
func size(n int64) string {
	switch {
	case n < 0:
		return "unknown"
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}
