// Command storegc measures how much disk the daemon's mailbox takes under hours of
// appends and expunges: it keeps a number of messages, replaces the oldest by new
// ones for as long as it is told to, and looks at the directory.
//
// Time is pressed together: the store is collected, as it does by itself every ten
// minutes, each time that so many bytes were written as -between says. It ends with one
// line of key=value figures, sizes in MiB: live is what the kept messages have, most and
// last are what the files took at most and at the end, ratio is last/live. Badger makes
// two of its files larger than what is in them, some 150 MiB together.
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"time"

	"mailproxy/internal/store"
	"mailproxy/proxy/mailbox"
)

var (
	size    = flag.Int("size", 20<<10, "bytes of a message")
	kept    = flag.Int("kept", 5000, "messages that are kept")
	rounds  = flag.Int("rounds", 6, "how often all of them are replaced")
	between = flag.Int("between", 50<<20, "bytes written between two collections")
)

// batch is how many messages are expunged at once.
const batch = 20

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "storegc:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	dir, err := os.MkdirTemp("", "storegc-")
	if err != nil {
		return err
	}
	defer func() {
		if rmErr := os.RemoveAll(dir); err == nil {
			err = rmErr
		}
	}()
	key := make([]byte, store.KeySize)
	rand.Read(key) // never fails
	st, err := store.Open(store.Options{Dir: dir, Key: key})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := st.Close(); err == nil {
			err = closeErr
		}
	}()
	mail, err := mailbox.Open(st, mailbox.Options{Now: time.Now})
	if err != nil {
		return err
	}
	box, err := mail.CreateAccount("measure@north.test")
	if err != nil {
		return err
	}
	folder, err := box.Folder("INBOX")
	if err != nil {
		return err
	}
	const mib = 1 << 20
	live := int64(*size) * int64(*kept)
	most, last, written, since := int64(0), int64(0), int64(0), 0
	random := make([]byte, *size*3/4)
	var uids []uint32
	for i := range *kept * (*rounds + 1) {
		rand.Read(random)
		message := fmt.Appendf(nil, "From: a@north.test\r\nTo: measure@north.test\r\nSubject: message %d\r\nMessage-ID: <%d@north.test>\r\n\r\n%s\r\n",
			i, i, base64.StdEncoding.EncodeToString(random))
		id, err := box.Deliver("INBOX", message, nil, time.Now())
		if err != nil {
			return err
		}
		uids = append(uids, id.UID)
		if len(uids) >= *kept+batch {
			if _, err := folder.Remove(uids[:batch]); err != nil {
				return err
			}
			uids = uids[batch:]
		}
		written, since = written+int64(len(message)), since+len(message)
		if since < *between {
			continue
		}
		since = 0
		began := time.Now()
		if err := st.Collect(context.Background()); err != nil {
			return err
		}
		took := time.Since(began)
		if last, err = store.SizeOnDisk(dir); err != nil {
			return err
		}
		most = max(most, last)
		fmt.Printf("written %d MiB, live %d MiB, on disk %d MiB, collected in %.1f s\n", written/mib, min(written, live)/mib, last/mib, took.Seconds())
	}
	fmt.Printf("messages=%d size=%d written=%d live=%d most=%d last=%d ratio=%.1f\n",
		*kept, *size, written/mib, live/mib, most/mib, last/mib, float64(last)/float64(live))
	return nil
}
