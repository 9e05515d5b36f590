package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"mailproxy/internal/nodedir"
	"mailproxy/mixnet/directory"
)

type networkCmd struct {
	Key    keyCmd    `cmd:"" help:"Make an operator's key, with which documents are signed, and print its public half."`
	New    newCmd    `cmd:"" help:"Begin a network document, as a draft without nodes or from an older document."`
	Add    addCmd    `cmd:"" help:"Add nodes' entries to a draft."`
	Remove removeCmd `cmd:"" help:"Take nodes out of a draft."`
	Sign   signCmd   `cmd:"" help:"Sign a draft, or a document that others have signed, with an operator's key."`
	Verify verifyCmd `cmd:"" help:"Say who has signed a document, and whether that is enough."`
}

type keyCmd struct {
	Name string `help:"The operator's name; no spaces, no plus signs." required:""`
	Out  string `help:"File for the secret key. One that is there is kept." required:"" type:"path" placeholder:"FILE"`
}

// Run makes an operator's key, or finds that it is made.
func (k *keyCmd) Run() error {
	skey, err := readSigner(k.Out)
	if errors.Is(err, fs.ErrNotExist) {
		if skey, _, err = note.GenerateKey(rand.Reader, k.Name); err != nil {
			return fmt.Errorf("make operator key: %w", err)
		}
		// note.GenerateKey takes any name; a key of a bad one signs nothing.
		if _, err := note.NewSigner(skey); err != nil {
			return fmt.Errorf("the name %q cannot stand in a signature: it must have no spaces and no plus signs", k.Name)
		}
		var made bool
		if made, err = nodedir.WriteNew(k.Out, []byte(skey+"\n")); err == nil && !made {
			skey, err = readSigner(k.Out) // another process was faster
		}
	}
	if err != nil {
		return err
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		return fmt.Errorf("key file %s: %w", k.Out, err)
	}
	if s.Name() != k.Name {
		return fmt.Errorf("%s is the key of %q; it stays as it was", k.Out, s.Name())
	}
	vkey, err := directory.VerifierKey(skey)
	if err != nil {
		return fmt.Errorf("key file %s: %w", k.Out, err)
	}
	fmt.Println(vkey)
	return nil
}

func readSigner(file string) (string, error) {
	b, err := nodedir.ReadSecret(file)
	if err != nil {
		return "", err
	}
	defer clear(b)
	return strings.TrimSpace(string(b)), nil
}

type newCmd struct {
	Out               string         `help:"File for the draft. One that is there is kept." required:"" type:"path" placeholder:"FILE"`
	From              string         `help:"Begin with the nodes and parameters of this document or draft." type:"existingfile" placeholder:"FILE"`
	Name              string         `help:"Name of the network."`
	SnapshotThreshold *int           `help:"How many directories must sign a snapshot: more than half of them (2)." placeholder:"N"`
	MixDelay          *time.Duration `help:"Mean delay at a mix (400ms)." placeholder:"TIME"`
	QueryRate         *float64       `help:"Queries or loops of a client per second (0.6)." placeholder:"N"`
	ReadRate          *float64       `help:"Reads of a client per second (0.8)." placeholder:"N"`
	LoopRate          *float64       `help:"Loops of a client that measure loss, per second (0.1)." placeholder:"N"`
	NodeLoopRate      *float64       `help:"Loops of each node's own per second (0.2)." placeholder:"N"`
	Request           *int           `help:"Bytes that a query carries (8512)." placeholder:"N"`
	Epoch             *time.Duration `help:"Life of a mix key (1h)." placeholder:"TIME"`
}

// Run writes a new draft.
func (n *newCmd) Run() error {
	d := &directory.Document{Format: directory.Format, Parameters: directory.DefaultParameters(), SnapshotThreshold: 2}
	if n.From != "" {
		var err error
		if d, _, err = readDraft(n.From); err != nil {
			return err
		}
	}
	if n.Name != "" {
		d.Network = n.Name
	}
	if d.Network == "" {
		return errors.New("a new network needs a name: --name")
	}
	p := &d.Parameters
	set(&d.SnapshotThreshold, n.SnapshotThreshold)
	set((*time.Duration)(&p.MixDelay), n.MixDelay)
	set(&p.QueryRate, n.QueryRate)
	set(&p.ReadRate, n.ReadRate)
	set(&p.LoopRate, n.LoopRate)
	set(&p.NodeLoopRate, n.NodeLoopRate)
	set(&p.Request, n.Request)
	set((*time.Duration)(&p.Epoch), n.Epoch)
	d.Made = now()
	if err := p.Check(); err != nil {
		return err
	}
	text, err := directory.EncodeDraft(d)
	if err != nil {
		return err
	}
	made, err := nodedir.WriteNew(n.Out, text)
	if err != nil {
		return err
	}
	if !made {
		return fmt.Errorf("%s is there already, and stays as it was", n.Out)
	}
	sayDraft(n.Out, d)
	return nil
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// now is the time of making, without what nobody needs to know.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// readDraft reads a draft or a signed document, whose signatures it drops.
func readDraft(file string) (d *directory.Document, signed bool, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, false, fmt.Errorf("read network document: %w", err)
	}
	if signed = directory.Signed(text); signed {
		if text, err = directory.Text(text); err != nil {
			return nil, false, fmt.Errorf("%s: %w", file, err)
		}
	}
	if d, err = directory.ParseDraft(text); err != nil {
		return nil, false, fmt.Errorf("%s: %w", file, err)
	}
	return d, signed, nil
}

// editDraft reads a draft, has it changed, and writes it.
func editDraft(file string, edit func(*directory.Document) error) error {
	d, signed, err := readDraft(file)
	if err != nil {
		return err
	}
	if signed {
		return fmt.Errorf("%s is signed, and a change would make its signatures false: begin a new draft with \"mixnode network new --from %s\"", file, file)
	}
	if err := edit(d); err != nil {
		return err
	}
	d.Made = now()
	text, err := directory.EncodeDraft(d)
	if err != nil {
		return err
	}
	if err := nodedir.Replace(file, text); err != nil {
		return err
	}
	sayDraft(file, d)
	return nil
}

// sayDraft says what a draft holds, and what it lacks.
func sayDraft(file string, d *directory.Document) {
	fmt.Printf("%s: %s\n", file, describe(d))
	if err := d.Check(); err != nil {
		fmt.Printf("not complete yet: %s\n", strings.TrimPrefix(err.Error(), directory.ErrDocument.Error()+": "))
	}
}

// describe says in a sentence what a document holds.
func describe(d *directory.Document) string {
	mixes := make([]string, directory.Layers)
	for l := range mixes {
		mixes[l] = fmt.Sprint(len(d.Layer(l + 1)))
	}
	return fmt.Sprintf("network %q of %s: gateways %d, mixes %s, service nodes %d, directories %d",
		d.Network, d.Made.Format(time.DateTime), len(d.WithRole(directory.RoleGateway)), strings.Join(mixes, "+"),
		len(d.WithRole(directory.RoleService)), len(d.WithRole(directory.RoleDirectory)))
}

type addCmd struct {
	Draft   string   `arg:"" help:"The draft." type:"existingfile"`
	Entries []string `arg:"" help:"Files with nodes' entries, as init printed them." type:"existingfile" name:"entry"`
}

// Run adds entries.
func (a *addCmd) Run() error {
	return editDraft(a.Draft, func(d *directory.Document) error {
		for _, file := range a.Entries {
			text, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("read entry: %w", err)
			}
			nodes, err := directory.ParseEntries(text)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			for _, n := range nodes {
				if err := d.AddNode(n); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
			}
		}
		return nil
	})
}

type removeCmd struct {
	Draft string   `arg:"" help:"The draft." type:"existingfile"`
	Names []string `arg:"" help:"Names of nodes." name:"node"`
}

// Run removes nodes.
func (r *removeCmd) Run() error {
	return editDraft(r.Draft, func(d *directory.Document) error {
		for _, name := range r.Names {
			if !d.RemoveNode(name) {
				return fmt.Errorf("%s has no node %q", r.Draft, name)
			}
		}
		return nil
	})
}

type signCmd struct {
	Key   string   `help:"The operator's secret key." required:"" type:"existingfile" placeholder:"FILE"`
	Out   string   `help:"File for the signed document; it may be the one that is signed." required:"" type:"path" placeholder:"FILE"`
	Trust []string `help:"Keys of other operators, whose signatures are checked if they are there; may be given several times." sep:"none" placeholder:"KEY"`
	Input string   `arg:"" help:"A draft, or a document that others have signed." type:"existingfile" name:"document"`
}

// Run adds a signature.
func (s *signCmd) Run() error {
	key, err := readSigner(s.Key)
	if err != nil {
		return err
	}
	vkey, err := directory.VerifierKey(key)
	if err != nil {
		return fmt.Errorf("key file %s: %w", s.Key, err)
	}
	msg, err := os.ReadFile(s.Input)
	if err != nil {
		return fmt.Errorf("read network document: %w", err)
	}
	checked := s.Trust // and the own key, which may be among them
	if !slices.Contains(checked, vkey) {
		checked = append(slices.Clone(checked), vkey)
	}
	signed, err := directory.AddSignature(msg, key, s.Trust...)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Input, err)
	}
	// What everybody will check, before anybody gets it.
	d, err := directory.Open(signed, directory.Trust{Keys: []string{vkey}, Threshold: 1})
	if err != nil {
		return fmt.Errorf("%s: %w", s.Input, err)
	}
	if err := nodedir.Replace(s.Out, signed); err != nil {
		return err
	}
	report, err := directory.Inspect(signed, checked)
	if err != nil {
		return err
	}
	there := report.Good
	for _, name := range report.Other {
		there = append(there, name+" (not checked)")
	}
	name, _, _ := strings.Cut(vkey, "+")
	fmt.Printf("%s\n%s signed it; %s is there: %s\n", describe(d), name, s.Out, strings.Join(there, ", "))
	if len(report.Other) > 0 {
		fmt.Println("what is not checked may be false: give those operators' keys with --trust, or check the document with \"mixnode network verify\"")
	}
	return nil
}

type verifyCmd struct {
	Trust     []string `help:"A key that may have signed the document; may be given several times." sep:"none" placeholder:"KEY" required:""`
	Threshold int      `help:"How many of these keys must have signed it; more than half of them if not given."`
	Document  string   `arg:"" help:"The signed document." type:"existingfile"`
}

// Run checks a document as nodes and clients do.
func (v *verifyCmd) Run() error {
	msg, err := os.ReadFile(v.Document)
	if err != nil {
		return fmt.Errorf("read network document: %w", err)
	}
	threshold := v.Threshold
	if threshold == 0 {
		threshold = len(v.Trust)/2 + 1
	}
	if !directory.Signed(msg) {
		return fmt.Errorf("%s is a draft that nobody has signed", v.Document)
	}
	report, err := directory.Inspect(msg, v.Trust)
	if err != nil {
		return fmt.Errorf("%s: %w", v.Document, err)
	}
	if err := report.Err(threshold); err != nil {
		return fmt.Errorf("%s: %w", v.Document, err)
	}
	d, err := directory.Open(msg, directory.Trust{Keys: v.Trust, Threshold: threshold})
	if err != nil {
		return fmt.Errorf("%s: %w", v.Document, err)
	}
	fmt.Printf("%s\nsigned by %s: %d of %d needed\n", describe(d), strings.Join(report.Good, ", "), len(report.Good), threshold)
	return nil
}
