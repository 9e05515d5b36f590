package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"mailproxy/contrib/measure/torture"
	"mailproxy/internal/child"
	"mailproxy/spool/badgerstore"
	"mailproxy/spool/server"
)

// servicePart is the part of the process that is killed.
const servicePart = "spoolcrash"

var parts = map[string]child.Part{servicePart: child.Func(serve)}

// provider is whose spool it is.
const provider = "north.test"

func storeOptions(dir string) badgerstore.Options {
	return badgerstore.Options{Dir: dir, Key: make([]byte, 32), FileBlocks: 64, Slack: 1}
}

// serve runs the service until it is killed, or returns why it cannot.
func serve(at torture.Service) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	o := storeOptions(at.Store)
	o.Logger = log
	st, err := badgerstore.Open(o)
	if err != nil {
		return err
	}
	s, err := server.New(server.Options{Store: st, Provider: provider, Logger: log})
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", at.Socket)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			r := bufio.NewReaderSize(c, 16<<10)
			for {
				request, err := receive(r)
				if err != nil {
					return
				}
				if err := send(c, s.Answer(context.Background(), request)); err != nil {
					return
				}
			}
		}()
	}
}

// send and receive are the frames on the socket: length (4, big-endian), bytes.
func send(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...))
	return err
}

func receive(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head)
	if n > 1<<20 {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}
