package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"mailproxy/internal/control"
	"mailproxy/internal/durable"
	"mailproxy/internal/nodedir"
	"mailproxy/internal/store"
	"mailproxy/spool/badgerstore"
)

type verifyCmd struct {
	at
	DropDamaged bool `help:"Remove the blocks that are not what was appended, so that their spools can be read on. They are lost."`
}

// Run checks the store, of the running service or of one that is stopped.
func (v *verifyCmd) Run(ctx context.Context, c *cli) error {
	return v.keep(ctx, c, func(k keeper) error {
		r, err := k.verify(ctx, v.DropDamaged)
		if err != nil {
			return err
		}
		err = show(v.JSON, r, func(w *tabwriter.Writer) {
			took := max(float64(r.Millis)/1000, 0.001)
			fmt.Fprintf(w, "read %d blocks, %s, in %.1f s: %.0f MiB/s\n", r.Blocks, size(r.Bytes), took, float64(r.Bytes)/(1<<20)/took)
			fmt.Fprintf(w, "%d names, %d spools, %d remembered ids, %d records in the key log, %d open invitations\n",
				r.Names, r.Spools, r.Remembered, r.LogRecords, r.Invites)
			if r.Wrong == 0 {
				fmt.Fprintln(w, "nothing is wrong")
			}
			for _, p := range r.Problems {
				fmt.Fprintf(w, "wrong: %s\n", p)
			}
			if r.Wrong > len(r.Problems) {
				fmt.Fprintf(w, "and %d more\n", r.Wrong-len(r.Problems))
			}
			if r.Dropped > 0 {
				fmt.Fprintf(w, "dropped %d damaged blocks\n", r.Dropped)
			}
		})
		switch {
		case err != nil || r.Wrong == 0:
			return err
		case r.Damaged > r.Dropped:
			return exit{fmt.Errorf("%d things are wrong with the store; %d blocks are damaged, and --drop-damaged gives them up", r.Wrong, r.Damaged), exitWrong}
		case r.Dropped > 0:
			return exit{fmt.Errorf("%d things were wrong with the store: verify it again", r.Wrong), exitWrong}
		}
		return exit{fmt.Errorf("%d things are wrong with the store; see \"A store that is damaged\" in docs/operating.md", r.Wrong), exitWrong}
	})
}

type gcCmd struct {
	at
	TrustClock bool `help:"Have the running service remove at once what is too old by its clock, which had jumped: look first that it is right."`
}

// Run gives back room, of the running service or of one that is stopped.
func (g *gcCmd) Run(ctx context.Context, c *cli) error {
	if g.TrustClock {
		var out collected
		if err := g.ask(ctx, http.MethodPost, pathGC, collect{true}, &out); err != nil {
			return err
		}
		return show(g.JSON, out, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "removed %d old blocks, freed %s\n", out.Removed, size(out.Freed))
		})
	}
	return g.keep(ctx, c, func(k keeper) error {
		out, err := k.gc(ctx)
		if err != nil {
			return err
		}
		return show(g.JSON, out, func(w *tabwriter.Writer) { fmt.Fprintf(w, "freed %s\n", size(out.Freed)) })
	})
}

type backupCmd struct {
	at
	File string `arg:"" help:"File to write, which must not be there; - for standard output."`
}

// Run writes a backup, of the running service or of one that is stopped.
func (b *backupCmd) Run(ctx context.Context, c *cli) error {
	if b.File == "-" {
		if info, err := os.Stdout.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return errors.New("a backup is nothing to look at: send it into a file or another program")
		}
	} else if _, err := os.Lstat(b.File); err == nil {
		return fmt.Errorf("%s is there already: no backup takes another's place", b.File)
	}
	return b.keep(ctx, c, func(k keeper) error {
		if b.File == "-" {
			out, err := k.backup(ctx, os.Stdout)
			if out.File = "-"; err == nil && b.JSON {
				err = json.NewEncoder(os.Stderr).Encode(out)
			}
			return err
		}
		out, err := intoFile(b.File, func(w io.Writer) (saved, error) { return k.backup(ctx, w) })
		if err != nil {
			return err
		}
		return show(b.JSON, out, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "wrote %d blocks, %s, to %s; it opens with this service's %s only, which is not in it\n", out.Blocks, size(out.Bytes), out.File, storeKey)
		})
	})
}

// intoFile makes a file that only its owner reads of what fn writes: all of it, synced,
// or none.
func intoFile(file string, fn func(io.Writer) (saved, error)) (out saved, err error) {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".part-*") // made with mode 0600
	if err != nil {
		return out, fmt.Errorf("backup: %w", err)
	}
	out, err = fn(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return out, errors.Join(err, os.Remove(f.Name()))
	}
	out.File = file
	return out, durable.SyncDir(filepath.Dir(file))
}

type restoreCmd struct {
	at
	File string `arg:"" help:"Backup to read; - for standard input."`
}

// Run makes the store of a service that is stopped and has none.
func (r *restoreCmd) Run(ctx context.Context, c *cli) (err error) {
	dir, err := r.dir()
	if err != nil {
		return err
	}
	client := socket(dir).Client()
	switch err := client.Do(ctx, "GET", pathWork, nil, new(price)); {
	case err == nil:
		return exit{errors.New("the service runs: a backup is restored into a directory where none does"), exitRunning}
	case !errors.Is(err, control.ErrNotRunning):
		return err
	}
	if err := sameOwner(dir); err != nil {
		return err
	}
	files := filepath.Join(dir, storeDir)
	if list, err := os.ReadDir(files); len(list) > 0 {
		return fmt.Errorf("%s has a store: move it away, or restore into another directory", files)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	keyFile := filepath.Join(dir, storeKey)
	if _, err := os.Stat(keyFile); err != nil {
		return fmt.Errorf("%w: copy here the %s of the service that the backup is of", err, storeKey)
	}
	key, err := nodedir.Key(keyFile, store.KeySize, dir)
	if err != nil {
		return err
	}
	in := io.Reader(os.Stdin)
	if r.File != "-" {
		f, err := os.Open(r.File)
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		defer f.Close()
		in = f
	}
	// Beside its place until it is whole. What another restore left is no store.
	began, part := time.Now(), files+".restoring"
	if err := os.RemoveAll(part); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	counted := &counter{w: io.Discard}
	in = io.TeeReader(bufio.NewReaderSize(in, 1<<20), counted)
	blocks, err := badgerstore.Restore(ctx, badgerstore.Options{Dir: part, Key: key, Logger: c.Logger()}, in, nil)
	if err != nil {
		if errors.Is(err, badgerstore.ErrBackup) {
			err = fmt.Errorf("%w; is %s that of the service that it is a backup of?", err, storeKey)
		}
		return errors.Join(err, os.RemoveAll(part))
	}
	if err := errors.Join(removeEmpty(files), os.Rename(part, files), durable.SyncDir(dir)); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	out := saved{File: r.File, Blocks: blocks, Bytes: counted.n, Millis: time.Since(began).Milliseconds()}
	return show(r.JSON, out, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "restored %d blocks from %s; start the service, and run \"mailspool verify\"\n", blocks, size(counted.n))
	})
}

// removeEmpty removes a directory if it is there and empty.
func removeEmpty(dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
