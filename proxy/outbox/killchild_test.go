package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/mixclient/memory"
	"mailproxy/proxy/keys"
	"mailproxy/proxy/mailbox"
	"mailproxy/spool"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/client"
	"mailproxy/spool/server"
)

// killChild runs an outbox before a lossy network in memory and a real spool,
// all in one process, until it is killed, or has nothing left to do.
func killChild(dir string) error {
	ctx := context.Background()
	st, err := store.Open(store.Options{Dir: filepath.Join(dir, "outbox")})
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
	network := memory.New(memory.Config{
		Services: map[mixclient.Service]memory.Handler{spoolService: answerer},
		Limits:   mixclient.Limits{Request: 8192 + 320, Reply: 8192 + 320},
		Slot:     time.Millisecond, Latency: 3 * time.Millisecond, Pad: true,
	})
	network.SetLoss(0.1)
	mail, err := mailbox.Open(st, mailbox.Options{})
	if err != nil {
		return err
	}
	var alice *writer
	for _, address := range []string{writerAddress, readerAddress, thirdAddress} {
		if _, err := mail.CreateAccount(address); err != nil && !errors.Is(err, mailbox.ErrExists) {
			return err
		}
		if err := keys.CreateIn(st, address, time.Now()); err != nil && !errors.Is(err, keys.ErrExists) {
			return err
		}
		account, err := keys.Load(st, address, time.Now)
		if err != nil {
			return err
		}
		if address == writerAddress {
			alice = &writer{keys: account, network: network, known: map[string]*spool.Bundle{}}
			continue
		}
		_, bundle := account.Bundle()
		signing := client.Signing{Instance: spool.Instance(account.Instance()), Nonce: account.Nonce}
		err = mixclient.ErrLost
		for errors.Is(err, mixclient.ErrLost) {
			err = client.New(network, spoolService, signing).Register(ctx, account.IdentityKey(), account.ReadKey(), bundle, nil)
		}
		if err != nil {
			return err
		}
	}
	o, err := Open(Config{
		Store: st, Mailbox: mail, Times: DefaultTimes().Scaled(1000),
		Account: func(string) (Account, bool) { return alice, true },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ran := make(chan struct{})
	go func() { defer close(ran); o.Run(ctx, network) }()
	fmt.Println("ready")
	if os.Getenv(killFrom) != "" {
		return submitForever(ctx, o)
	}
	for waiting := 1; waiting > 0; time.Sleep(time.Millisecond) {
		waiting, _ = o.Count()
	}
	cancel()
	<-ran
	o.Close()
	return errors.Join(network.Close(), answerer.Close(), blocks.Close(), st.Close())
}

// submitForever submits messages and tells of each that was accepted.
func submitForever(ctx context.Context, o *Outbox) error {
	n, err := strconv.Atoi(os.Getenv(killFrom))
	if err != nil {
		return err
	}
	for ; ; n++ {
		for waiting, _ := o.Count(); waiting > 10; waiting, _ = o.Count() {
			time.Sleep(time.Millisecond)
		}
		s := &Submission{Account: writerAddress, From: writerAddress}
		for _, address := range killRecipients(n) {
			s.Recipients = append(s.Recipients, Recipient{Address: address})
		}
		if err := o.Submit(ctx, s, bytes.NewReader(killMessage(n))); err != nil {
			return err
		}
		fmt.Printf("accepted %d\n", n)
		if os.Getenv(killWithdraw) != "" && n%2 == 0 {
			if err := withdraw(ctx, o, n); err != nil {
				return err
			}
		}
	}
}

// withdraw withdraws message n, after a moment in which some of it may leave, and tells
// what became of it.
func withdraw(ctx context.Context, o *Outbox, n int) error {
	time.Sleep(time.Duration(n/2%40) * time.Millisecond)
	queue, err := o.Queue(writerAddress)
	if err != nil {
		return err
	}
	for _, m := range queue {
		if m.Subject != strconv.Itoa(n) {
			continue
		}
		fmt.Printf("withdrawing %d\n", n)
		said, err := o.Withdraw(ctx, m.ID, nil)
		if err != nil {
			return err
		}
		for _, s := range said {
			fmt.Printf("withdrew %d %s %s.\n", n, s.Recipient, s.State)
		}
	}
	return nil
}
