package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// An Arrival is a message that IMAP told of.
type Arrival struct {
	Seen time.Time // when EXISTS was there
	Raw  []byte
}

// A Watcher is a mail program that waits for new mail in INBOX with IDLE (RFC
// 2177) and fetches it, over TLS. It is for measuring when a user sees mail.
type Watcher struct {
	client *imapclient.Client

	mu   sync.Mutex // guards seen
	seen []time.Time
	more chan struct{} // holds a token after seen has grown
	read int           // messages that Next has returned; Next's own
}

// Watch logs in to account and watches its INBOX. What is in it already counts as
// having arrived now.
func (w *World) Watch(account Account) (*Watcher, error) {
	trust, err := w.ClientTLS()
	if err != nil {
		return nil, err
	}
	watch := &Watcher{more: make(chan struct{}, 1)}
	watch.client, err = imapclient.DialStartTLS(w.Daemon.Address("imap").String(), &imapclient.Options{
		TLSConfig: trust,
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				watch.exists(*d.NumMessages)
			}
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("watch INBOX: %w", err)
	}
	if err := watch.begin(account); err != nil {
		return nil, errors.Join(fmt.Errorf("watch INBOX: %w", err), watch.client.Close())
	}
	return watch, nil
}

func (w *Watcher) begin(account Account) error {
	if err := w.client.Login(account.Username, account.Password).Wait(); err != nil {
		return err
	}
	in, err := w.client.Select("INBOX", &goimap.SelectOptions{ReadOnly: true}).Wait()
	if err == nil {
		w.exists(in.NumMessages)
	}
	return err
}

// exists notes that INBOX has n messages.
func (w *Watcher) exists(n uint32) {
	now := time.Now()
	w.mu.Lock()
	for uint32(len(w.seen)) < n {
		w.seen = append(w.seen, now)
	}
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// Next waits in IDLE for the next message and fetches it. It is for one goroutine;
// between its calls a message is seen late, so they should follow each other.
func (w *Watcher) Next(ctx context.Context) (Arrival, error) {
	if _, ok := w.next(); !ok {
		if err := w.idle(ctx); err != nil {
			return Arrival{}, fmt.Errorf("watch INBOX: %w", err)
		}
	}
	seen, _ := w.next()
	whole := &goimap.FetchItemBodySection{Peek: true}
	list, err := w.client.Fetch(goimap.SeqSetNum(uint32(w.read+1)), &goimap.FetchOptions{
		BodySection: []*goimap.FetchItemBodySection{whole},
	}).Collect()
	if err != nil {
		return Arrival{}, fmt.Errorf("fetch message %d: %w", w.read+1, err)
	}
	if len(list) != 1 {
		return Arrival{}, fmt.Errorf("fetch message %d: there are %d", w.read+1, len(list))
	}
	w.read++
	return Arrival{Seen: seen, Raw: list[0].FindBodySection(whole)}, nil
}

// next returns when the next message was seen, or false while it was not.
func (w *Watcher) next() (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) <= w.read {
		return time.Time{}, false
	}
	return w.seen[w.read], true
}

// idle is in IDLE until there is a message that Next has not returned.
func (w *Watcher) idle(ctx context.Context) error {
	idle, err := w.client.Idle()
	if err != nil {
		return err
	}
	for {
		if _, ok := w.next(); ok {
			break
		}
		select {
		case <-w.more:
			continue
		case <-w.client.Closed():
			err = errors.New("the connection ended")
		case <-ctx.Done():
			err = ctx.Err()
		}
		break
	}
	if closed := idle.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return idle.Wait()
}

// Close logs out.
func (w *Watcher) Close() error {
	if err := w.client.Logout().Wait(); err != nil {
		_ = w.client.Close() // err says what is wrong with it
		return fmt.Errorf("watch INBOX: log out: %w", err)
	}
	return nil
}
