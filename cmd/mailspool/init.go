package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"mailproxy/internal/address"
	"mailproxy/internal/metrics"
	"mailproxy/internal/nodedir"
	"mailproxy/internal/store"
	"mailproxy/mixclient"
	"mailproxy/mixnet/directory"
)

type initCmd struct {
	Dir          string   `help:"Directory of the service; it is made." required:"" type:"path" placeholder:"DIR"`
	Config       string   `help:"Where the configuration goes, if not into that directory." type:"path" short:"c" placeholder:"FILE"`
	Name         string   `help:"Name of the node, unique in the network; \"service.\" and the provider if not given."`
	Provider     string   `help:"The domain of its users." required:"" placeholder:"DOMAIN"`
	Operator     string   `help:"Who runs it; no operator of a gateway." required:""`
	Address      string   `help:"Where others reach it." required:"" placeholder:"HOST:PORT"`
	Listen       string   `help:"Where to listen, if not on the address's port of all interfaces." placeholder:"[HOST]:PORT"`
	Registration string   `help:"Who may make a name: ${enum} (${default})." enum:"invite,open" default:"invite"`
	Document     string   `help:"The signed network document, relative to the configuration (${default})." default:"network.note" placeholder:"FILE"`
	Trust        []string `help:"A key that may have signed the network document; may be given several times." sep:"none" placeholder:"KEY"`
	Threshold    int      `help:"How many of these keys must have signed it; more than half of them if not given."`
	Metrics      string   `help:"Where Prometheus may ask for figures, such as :9465 for that port of loopback; nowhere if not given." placeholder:"[HOST]:PORT"`
	JSON         bool     `help:"Answer in JSON."`
}

// Run makes the service's directory, or finds that it is made.
func (i *initCmd) Run() error {
	// A domain is good if somebody can have an address there.
	someone, err := address.Canonical("someone@" + i.Provider)
	if err != nil {
		return fmt.Errorf("%q cannot be a provider's domain: %w", i.Provider, err)
	}
	_, provider := address.Split(someone)
	name, listen, threshold := i.Name, i.Listen, i.Threshold
	if name == "" {
		name = "service." + provider
	}
	if listen == "" {
		listen = nodedir.ListenAt(i.Address)
	}
	if threshold == 0 && len(i.Trust) > 0 {
		threshold = len(i.Trust)/2 + 1
	}
	file, state, err := nodedir.Place(i.Dir, configName, i.Config)
	if err != nil {
		return err
	}
	cfg := defaults()
	cfg.Config = nodedir.Config{
		Version: nodedir.ConfigVersion, Role: directory.RoleService, Listen: listen, State: state,
		Network: nodedir.NetworkConfig{Document: i.Document, Keys: i.Trust, Threshold: threshold},
		Metrics: metrics.Config{Listen: i.Metrics},
	}
	cfg.Spool.Provider = provider
	cfg.Registration.Policy = i.Registration
	made, err := nodedir.Make(i.Dir, file, directory.Node{
		Name: name, Operator: i.Operator, Role: directory.RoleService, Provider: provider,
		Services: []string{mixclient.KindEcho, mixclient.KindSpool}, Address: i.Address,
	}, cfg)
	if err != nil {
		return err
	}
	// With the other, so that there is one moment to copy keys.
	key, err := nodedir.Key(filepath.Join(i.Dir, storeKey), store.KeySize, filepath.Join(i.Dir, storeDir))
	if err != nil {
		return err
	}
	clear(key)
	entry := filepath.Join(i.Dir, "node.toml")
	if i.JSON {
		return json.NewEncoder(os.Stdout).Encode(initReport{
			Config: made.Config, KeptConfig: made.Kept, NewKey: made.NewKey, EntryFile: entry, Entry: string(made.Entry),
			Keys: []string{filepath.Join(i.Dir, "identity.key"), filepath.Join(i.Dir, storeKey)},
		})
	}
	// The entry alone on standard output, so that it can go into a file.
	fmt.Fprint(os.Stderr, made.Say("mailspool"))
	fmt.Fprintf(os.Stderr, "The entry is below and in %s. Nothing else has to leave this machine for it.\n", entry)
	fmt.Fprintf(os.Stderr, "Backups are encrypted with %s and do not have it: keep a copy of it apart from them.\n", filepath.Join(i.Dir, storeKey))
	_, err = os.Stdout.Write(made.Entry)
	return err
}

// initReport is what init says in JSON.
type initReport struct {
	Config     string   `json:"config"`
	KeptConfig bool     `json:"kept_config"` // it was there
	NewKey     bool     `json:"new_key"`
	EntryFile  string   `json:"entry_file"`
	Entry      string   `json:"entry"` // TOML, for the network's operators
	Keys       []string `json:"keys"`  // files to keep a copy of
}
