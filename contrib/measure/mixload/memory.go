//go:build linux

package main

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"mailproxy/contrib/measure/resident"
	"mailproxy/mixnet/directory"
)

// tagSize is what a tag takes in the files of a keyring.
const tagSize = 8

// measureMemory runs a mix that begins with an hour's tags.
func measureMemory(ctx context.Context, w *world, o options) (err error) {
	p := w.doc.Parameters
	hour := int(o.rate * time.Duration(p.Epoch).Seconds())
	grace := int(o.rate * p.KeyGrace().Seconds())
	if err := w.fillTags(w.epoch-1, hour); err != nil {
		return err
	}
	if err := w.fillTags(w.epoch, grace); err != nil {
		return err
	}
	n := int(o.rate*1.02*o.length.Seconds()) + 1000
	fmt.Printf("making %d packets\n", n)
	packets, err := w.makePackets(n)
	if err != nil {
		return err
	}
	m, err := w.startMix(-1, p.EpochStart(w.epoch).Add(startIn))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Stop()) }()
	pid := m.PID()
	opened, err := resident.Sizes(pid)
	if err != nil {
		return err
	}
	// Two of the random ones may be the same.
	if missing := hour + grace - m.up.Tags; missing < 0 || missing > 10 {
		return fmt.Errorf("the mix has %d tags of %d", m.up.Tags, hour+grace)
	}
	fmt.Printf("the mix is process %d; %d tags were loaded in %.1f s, and it has %.0f MiB\n", pid, m.up.Tags, m.up.Opened.Seconds(), resident.MiB(opened["VmRSS"]))
	l, err := w.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	f := newFlow(w, packets, l.conns)
	l.use(f)
	sending, stop := context.WithTimeout(ctx, o.length)
	defer stop()
	fmt.Printf("%.0f packets a second for %v\n", o.rate, o.length)
	if err := f.pour(sending, o.rate); err != nil {
		return err
	}
	last, err := resident.Sizes(pid)
	if err != nil {
		return err
	}
	f.settle(ctx)
	after, err := m.ask(request{})
	if err != nil {
		return err
	}
	late, _, lost, err := f.errorsOf(nil)
	if err != nil {
		return err
	}
	if len(late) == 0 {
		return errors.New("nothing arrived")
	}
	fmt.Printf("%d packets arrived and %d did not, %.0f a second were sent, 99 %% were at most %s late; %d tags, %d collections\n",
		len(late), lost, float64(f.sentCount())/o.length.Seconds(), ms(quantile(late, 0.99)), after.Tags, after.Collections)
	fmt.Printf("resident: %.0f MiB when opened, %.0f at the end, %.0f at most\n\n", resident.MiB(opened["VmRSS"]), resident.MiB(last["VmRSS"]), resident.MiB(last["VmHWM"]))
	fmt.Printf("rss_mib=%.0f tags=%d load_s=%.1f dropped=%d\n", resident.MiB(last["VmHWM"]), after.Tags, m.up.Opened.Seconds(), lost)
	return ctx.Err()
}

// fillTags writes n random tags into the file of a key, which has none.
func (w *world) fillTags(e directory.Epoch, n int) (err error) {
	f, err := os.OpenFile(filepath.Join(w.keyDir, strconv.FormatUint(uint64(e), 10)+".tags"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	random := mathrand.NewChaCha8(seed)
	b := make([]byte, tagSize<<16)
	for left := n * tagSize; left > 0; left -= len(b) {
		b = b[:min(len(b), left)]
		random.Read(b) // never fails
		if _, err := f.Write(b); err != nil {
			return err
		}
	}
	return nil
}
