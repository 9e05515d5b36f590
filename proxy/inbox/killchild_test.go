package inbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/mixclient/memory"
	"mailproxy/proxy/mailbox"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/client"
	"mailproxy/spool/server"
)

// killChild reads bob's spool through a lossy network in memory until it is
// killed, or all is delivered.
func killChild(dir string) error {
	fmt.Println("opening")
	st, err := store.Open(store.Options{Dir: filepath.Join(dir, "user")})
	if err != nil {
		return err
	}
	mail, err := mailbox.Open(st, mailbox.Options{})
	if err != nil {
		return err
	}
	to, err := person(st, mail, bob)
	if err != nil {
		return err
	}
	in, err := Open(Config{Store: st, Mailbox: mail, Account: to})
	if err != nil {
		return err
	}
	blocks, err := badgerstore.Open(badgerstore.Options{Dir: filepath.Join(dir, "spool")})
	if err != nil {
		return err
	}
	answerer, err := server.New(server.Options{Store: blocks, Provider: "north.test"})
	if err != nil {
		return err
	}
	service := mixclient.Service{Kind: mixclient.KindSpool, Provider: "north.test", Node: "n"}
	network := memory.New(memory.Config{
		Services: map[mixclient.Service]memory.Handler{service: answerer},
		Limits:   mixclient.Limits{Request: 8192 + 320, Reply: 8192 + 320},
		Slot:     time.Millisecond, Latency: 3 * time.Millisecond, Pad: true,
	})
	network.SetLoss(0.05)
	cursor, err := in.Cursor()
	if err != nil {
		return err
	}
	var reader *client.Reader
	reader, err = client.NewReader(client.ReaderOptions{
		Service: service, Key: to.keys.ReadKey(), Cursor: cursor,
		Signing: client.Signing{Instance: spool.Instance(to.keys.Instance()), Nonce: to.keys.Nonce},
		Deliver: func(_ uint64, block []byte) error { return in.Store(block, reader.Cursor(), mixclient.Timing{}) },
		Failed: func(err error) {
			if !errors.Is(err, spool.StatusBusy) { // it is read again
				fmt.Fprintln(os.Stderr, err)
			}
		},
	})
	if err != nil {
		return err
	}
	replies := make(chan func(), 64)
	network.SetReads(func() (mixclient.Read, bool) {
		request, done := reader.Next(time.Now())
		return mixclient.Read{To: service, Request: request, Done: func(reply []byte, _ mixclient.Timing, err error) {
			select {
			case replies <- func() { done(reply, err) }:
			default:
				done(nil, mixclient.ErrLost)
			}
		}}, true
	})
	var until int
	if s := os.Getenv(killUntil); s != "" {
		if _, err := fmt.Sscan(s, &until); err != nil {
			return err
		}
	}
	var end <-chan time.Time // some reads after all is there
	for {
		select {
		case f := <-replies:
			f()
		case <-end:
			return errors.Join(network.Close(), answerer.Close(), blocks.Close(), st.Close())
		}
		if until > 0 && end == nil {
			n, err := delivered(mail)
			if err != nil {
				return err
			}
			if n >= until {
				end = time.After(100 * time.Millisecond)
			}
		}
	}
}

func delivered(mail *mailbox.Store) (int, error) {
	account, err := mail.Account(bob)
	if err != nil {
		return 0, err
	}
	folder, err := account.Folder(mailbox.Inbox)
	if err != nil {
		return 0, err
	}
	s, err := folder.Status()
	return int(s.Messages), err
}
