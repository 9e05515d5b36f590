package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// write writes the windows to a file, for other tools.
func write(file string, windows []window) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write windows: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := csv.NewWriter(f)
	head := []string{"scenario", "client", "train", "half"}
	for v := range views {
		for _, n := range names[v] {
			head = append(head, v.String()+" "+n)
		}
	}
	if err := w.Write(head); err != nil {
		return fmt.Errorf("write windows: %w", err)
	}
	for _, x := range windows {
		row := []string{x.scenario.short(), strconv.Itoa(x.client), strconv.FormatBool(x.train), strconv.Itoa(x.half)}
		for _, features := range x.features {
			for _, value := range features {
				row = append(row, strconv.FormatFloat(value, 'g', 9, 64))
			}
		}
		if err := w.Write(row); err != nil {
			return fmt.Errorf("write windows: %w", err)
		}
	}
	w.Flush()
	return w.Error()
}
