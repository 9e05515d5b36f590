package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
)

//go:embed classify.py
var script string

// classifiers are those of the script, by the names it gives them.
var classifiers = []string{"forest", "logistic"}

// A task is for the script: rows to learn from, of which labels says which are
// positive, and rows to give a score. It answers with a list of scores for each
// classifier.
type task struct {
	Train  [][]float64 `json:"train"`
	Labels []int       `json:"labels"`
	Held   [][]float64 `json:"held"`

	negatives int // of Held, which has them first
}

// newTask makes the task of telling windows that are positive from those that are
// negative, in one view.
func newTask(windows []window, v view, negative, positive func(*window) bool) task {
	var t task
	var positives [][]float64
	for i := range windows {
		w := &windows[i]
		label := 0
		switch {
		case negative(w):
		case positive(w):
			label = 1
		default:
			continue
		}
		row := w.features[v]
		switch {
		case w.train:
			t.Train, t.Labels = append(t.Train, row), append(t.Labels, label)
		case label == 0:
			t.Held = append(t.Held, row)
		default:
			positives = append(positives, row)
		}
	}
	t.negatives = len(t.Held)
	t.Held = append(t.Held, positives...)
	return t
}

// python finds an interpreter that has scikit-learn.
func python(ctx context.Context, candidates ...string) (string, error) {
	var all error
	for _, c := range candidates {
		out, err := exec.CommandContext(ctx, c, "-c", "import sklearn").CombinedOutput()
		if err == nil {
			return c, nil
		}
		all = errors.Join(all, fmt.Errorf("%s: %w: %s", c, err, bytes.TrimSpace(out)))
	}
	return "", fmt.Errorf("the classifiers are scikit-learn's: install it (on Debian: apt install python3-sklearn), or name an interpreter that has it with -python\n%w", all)
}

// classify has the script do the tasks.
func classify(ctx context.Context, python string, tasks []task) ([]map[string][]float64, error) {
	in, err := json.Marshal(tasks)
	if err != nil {
		return nil, err
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, python, "-c", script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("classify: %w\n%s", err, said.Bytes())
	}
	var scores []map[string][]float64
	if err := json.Unmarshal(out.Bytes(), &scores); err != nil {
		return nil, fmt.Errorf("classify: %w", err)
	}
	if len(scores) != len(tasks) {
		return nil, fmt.Errorf("classify: %d answers to %d tasks", len(scores), len(tasks))
	}
	for i, s := range scores {
		for _, c := range classifiers {
			if len(s[c]) != len(tasks[i].Held) {
				return nil, fmt.Errorf("classify: %d scores of %s for %d windows", len(s[c]), c, len(tasks[i].Held))
			}
		}
	}
	return scores, nil
}
