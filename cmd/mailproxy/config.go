package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"mailproxy/internal/command"
	"mailproxy/internal/control"
	"mailproxy/mixnet/directory"
	"mailproxy/proxy"
)

type configCmd struct {
	Show  configShowCmd  `cmd:"" help:"Print the configuration as it counts, defaults and all."`
	Set   configSetCmd   `cmd:"" help:"Change one setting in the file, whose other lines and comments stay."`
	Check configCheckCmd `cmd:"" help:"Say what is wrong with a configuration file, and with the network document that it names."`
	Path  configPathCmd  `cmd:"" help:"Print where the configuration file is."`
}

type configShowCmd struct {
	configFlag
	command.JSONFlag
	Key string `arg:"" optional:"" help:"Only this setting, such as listen.smtp."`
}

// Run shows the configuration.
func (c *configShowCmd) Run() error {
	cfg, err := proxy.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	text, err := toml.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("show configuration: %w", err)
	}
	var values map[string]any
	if err := toml.Unmarshal(text, &values); err != nil {
		return fmt.Errorf("show configuration: %w", err)
	}
	if c.Key == "" {
		return c.Say(values, func() { fmt.Printf("# %s\n%s", c.Config, text) })
	}
	if _, err := proxy.FindSetting(c.Key); err != nil {
		return err
	}
	v := valueAt(values, c.Key)
	return c.Say(map[string]any{c.Key: v}, func() { printValue(v) })
}

// valueAt returns a setting's value. One that is left out because it is empty is "".
func valueAt(values map[string]any, key string) any {
	var v any = values
	for part := range strings.SplitSeq(key, ".") {
		in, _ := v.(map[string]any)
		v = in[part]
	}
	if v == nil {
		return ""
	}
	return v
}

// printValue prints a value as it is given to config set.
func printValue(v any) {
	if list, ok := v.([]any); ok {
		for _, one := range list {
			fmt.Println(one)
		}
		return
	}
	fmt.Println(v)
}

type configSetCmd struct {
	configFlag
	command.JSONFlag
	Key    string   `arg:"" help:"The setting, such as listen.smtp; config show names all."`
	Values []string `arg:"" name:"value" help:"Its value; several for a list. For an empty one, give \"\" (two quotation marks with nothing between)."`
}

// A configChange is what came of config set.
type configChange struct {
	Key     string `json:"key"`
	File    string `json:"file"`
	Changed bool   `json:"changed"`
	// Takes says what has to happen until a daemon goes by it: "nothing", "start",
	// "reload" or "restart".
	Takes string `json:"takes"`
}

// Run changes a setting.
func (c *configSetCmd) Run(ctx context.Context) error {
	s, err := proxy.FindSetting(c.Key)
	if err != nil {
		return err
	}
	before, after, err := proxy.SetConfig(c.Config, s, c.Values)
	if err != nil {
		return err
	}
	out := configChange{Key: s.Key, File: c.Config, Changed: !sameConfig(before, after), Takes: "nothing"}
	if out.Changed {
		out.Takes = "start"
		// The directory may be what was changed.
		if _, err := proxy.Control(before.Dir).Status(ctx); !errors.Is(err, control.ErrNotRunning) {
			out.Takes = "restart"
			if s.Reload {
				out.Takes = "reload"
			}
		}
	}
	return c.Say(out, func() { fmt.Println(changeWords(out, before)) })
}

func sameConfig(a, b proxy.Config) bool {
	x, err := toml.Marshal(a)
	y, yerr := toml.Marshal(b)
	return err == nil && yerr == nil && slices.Equal(x, y)
}

// changeWords says what a change takes.
func changeWords(c configChange, before proxy.Config) string {
	if !c.Changed {
		return fmt.Sprintf("%s had this value before; %s is as it was.", c.Key, c.File)
	}
	words := fmt.Sprintf("%s is changed in %s. ", c.Key, c.File)
	switch c.Takes {
	case "start":
		words += "It counts when the daemon is started."
	case "reload":
		words += "The running daemon takes it up when it is restarted, or when it gets the signal HUP."
	default:
		words += "The running daemon goes on as before until it is restarted."
	}
	switch {
	case c.Key == "dir":
		words += fmt.Sprintf("\nWhat is in %s is not moved: stop the daemon and move it yourself, else it begins without your accounts and mail.", before.Dir)
	case c.Key == "listen.allow_plaintext", c.Key == "listen.web":
	case strings.HasPrefix(c.Key, "listen."):
		words += "\nTell your mail program the new address as well; \"mailproxy account settings\" says all that it needs."
	}
	return words
}

type configCheckCmd struct {
	configFlag
	command.JSONFlag
}

// A configReport says what config check found.
type configReport struct {
	File     string   `json:"file"`
	Problems []string `json:"problems"`
}

// Run checks a configuration.
func (c *configCheckCmd) Run() error {
	r := configReport{File: c.Config, Problems: configProblems(c.Config)}
	err := c.Say(r, func() {
		for _, p := range r.Problems {
			fmt.Println(p)
		}
		if len(r.Problems) == 0 {
			fmt.Println(c.Config, "is in order, and so is the network document that it names.")
		}
	})
	if err == nil && len(r.Problems) > 0 {
		err = fmt.Errorf("%s wrong with %s", thingsAre(len(r.Problems)), c.Config)
	}
	return err
}

// configProblems returns what is wrong with a file, each with what to do.
func configProblems(file string) []string {
	problems := []string{}
	cfg, err := proxy.LoadConfig(file)
	if err != nil {
		return append(problems, err.Error())
	}
	if err := cfg.Check(); err != nil {
		problems = append(problems, strings.Split(err.Error(), "\n")...)
	}
	if len(cfg.Network.Keys) == 0 { // without them no document can be looked at
		return problems
	}
	doc, err := loadNetwork(cfg)
	if err != nil {
		return append(problems, err.Error())
	}
	if name := cfg.Network.Gateway; name != "" {
		if _, err := doc.Named(name, directory.RoleGateway); err != nil {
			var have []string
			for _, n := range doc.WithRole(directory.RoleGateway) {
				have = append(have, n.Name)
			}
			problems = append(problems, fmt.Sprintf("network.gateway is %q, and the network has %s: choose one of these, or leave the setting out", name, strings.Join(have, ", ")))
		}
	}
	return problems
}

type configPathCmd struct {
	configFlag
	command.JSONFlag
}

// Run prints the file's path, whether it is there or not.
func (c *configPathCmd) Run() error {
	_, err := os.Stat(c.Config)
	return c.Say(map[string]any{"path": c.Config, "exists": err == nil}, func() { fmt.Println(c.Config) })
}
