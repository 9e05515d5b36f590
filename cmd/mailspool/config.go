package main

import (
	"fmt"
	"time"

	"mailproxy/internal/nodedir"
	"mailproxy/mixnet/directory"
	"mailproxy/spool"
	"mailproxy/spool/server"
	"mailproxy/spool/work"
)

// configName is the configuration's file in the service's directory.
const configName = "mailspool.toml"

// Policies of registration.
const (
	byInvitation = "invite"
	open         = "open"
)

// config is the configuration: what all nodes have, and the spool's own. All but
// listen, role, spool.provider and metrics is taken up on SIGHUP. What a file leaves
// out is as defaults has it.
type config struct {
	nodedir.Config
	Spool        spoolConfig        `toml:"spool"`
	Registration registrationConfig `toml:"registration"`
	Contacts     laneConfig         `toml:"contacts" comment:"blocks from people whom the user has written to: per spool"`
	Strangers    laneConfig         `toml:"strangers" comment:"blocks from all others: per spool"`
	Work         workConfig         `toml:"work"`
	Rates        ratesConfig        `toml:"rates" comment:"how often what may be asked; per_second = 0 is no bound"`
}

type spoolConfig struct {
	Provider  string             `toml:"provider" comment:"the domain of its users; the network document must say the same"`
	MaxAge    directory.Duration `toml:"max_age" comment:"how long a block waits to be fetched"`
	HideUsers bool               `toml:"hide_users" comment:"answer appends to users who are not here as those to users who are; see docs/operating.md for the price"`
}

type registrationConfig struct {
	Policy   string   `toml:"policy" comment:"who may make a name: 'invite' or 'open'"`
	Document string   `toml:"document" comment:"where new users fetch the network document: the https address at which you offer it; invitations carry it"`
	Reserved []string `toml:"reserved" comment:"names that nobody may make, beside postmaster, abuse, admin and the like, which nobody ever may"`
}

type laneConfig struct {
	MaxBlocks int   `toml:"max_blocks" comment:"how many blocks of 8 KiB a spool holds of this lane"`
	MaxBytes  int64 `toml:"max_bytes,omitempty" comment:"how many bytes these may have, if that is less"`
	Rate      rate  `toml:"rate,inline" comment:"of blocks to one spool"`
}

type rate struct {
	PerSecond float64 `toml:"per_second"`
	Burst     int     `toml:"burst"`
}

// workConfig is what a stranger's block costs: see package work.
type workConfig struct {
	Memory uint32 `toml:"memory_kib" comment:"of one evaluation; with passes it is what checking a proof costs: leave both as they are"`
	Passes uint32 `toml:"passes"`
	Bits   uint8  `toml:"bits" comment:"the price: 2^bits evaluations a block; 6 is a quarter of a second"`
	Raise  uint8  `toml:"raise" comment:"by how many bits the price may rise by itself under load"`
	Checks rate   `toml:"checks,inline" comment:"of proofs, good or bad, of all strangers together"`
}

type ratesConfig struct {
	Reads   rate `toml:"reads,inline" comment:"of one spool"`
	Changes rate `toml:"changes,inline" comment:"by one key: bundles, append keys, revocations"`
	Lookups rate `toml:"lookups,inline" comment:"of keys, by all together"`
	New     rate `toml:"new_names,inline" comment:"by all together, where policy = 'open'"`
}

// What a spool keeps unless its operator says otherwise.
const (
	defaultMaxBlocks = 20_000
	strangersBlocks  = defaultMaxBlocks / 10
	defaultMaxAge    = directory.Duration(14 * 24 * time.Hour)
)

// defaults is what a configuration says that says nothing.
func defaults() config {
	p := server.DefaultPolicy()
	return config{
		Spool:        spoolConfig{MaxAge: defaultMaxAge},
		Registration: registrationConfig{Policy: byInvitation, Reserved: []string{}},
		Contacts:     laneConfig{MaxBlocks: defaultMaxBlocks, Rate: rate(p.Contacts.Rate)},
		Strangers:    laneConfig{MaxBlocks: strangersBlocks, Rate: rate(p.Strangers.Rate)},
		Work: workConfig{
			Memory: p.Work.Memory, Passes: p.Work.Time, Bits: p.Work.Bits, Raise: p.Raise, Checks: rate(p.Checks),
		},
		Rates: ratesConfig{Reads: rate(p.Reads), Changes: rate(p.Changes), Lookups: rate(p.Lookups), New: rate(p.New)},
	}
}

// readConfig reads the configuration in file and checks it.
func readConfig(file string) (*config, error) {
	c := defaults()
	if err := nodedir.Read(file, &c.Config, &c); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", file, err)
	}
	return &c, nil
}

// check says what is wrong that the server would not, or would take for a default.
func (c *config) check() error {
	if c.Spool.MaxAge <= 0 {
		return fmt.Errorf("spool.max_age must be above 0")
	}
	if p := c.Registration.Policy; p != byInvitation && p != open {
		return fmt.Errorf("registration.policy is %q, and must be 'invite' or 'open'", p)
	}
	for _, lane := range []struct {
		name string
		laneConfig
	}{{"contacts", c.Contacts}, {"strangers", c.Strangers}} {
		switch {
		case lane.MaxBlocks < 1:
			return fmt.Errorf("%s.max_blocks must be above 0", lane.name)
		case lane.MaxBytes != 0 && lane.MaxBytes < spool.BlockSize:
			return fmt.Errorf("%s.max_bytes is less than a block has, %d", lane.name, spool.BlockSize)
		}
	}
	if c.Work.Checks.PerSecond <= 0 {
		return fmt.Errorf("work.checks must be above 0: whoever sends false proofs would keep all cores busy")
	}
	if err := work.Valid(c.terms()); err != nil {
		return fmt.Errorf("work: %w", err)
	}
	return c.policy().Valid()
}

func (c *config) terms() spool.Terms {
	return spool.Terms{Memory: c.Work.Memory, Time: c.Work.Passes, Bits: c.Work.Bits}
}

// policy is what the configuration says, in the server's words.
func (c *config) policy() server.Policy {
	lane := func(l laneConfig) server.LanePolicy {
		bytes := l.MaxBytes
		if bytes == 0 {
			bytes = int64(l.MaxBlocks) * spool.BlockSize
		}
		return server.LanePolicy{Quota: server.Quota{Blocks: l.MaxBlocks, Bytes: bytes}, Rate: server.Rate(l.Rate)}
	}
	return server.Policy{
		Invite: c.Registration.Policy == byInvitation, Reserved: c.Registration.Reserved, HideUsers: c.Spool.HideUsers,
		Contacts: lane(c.Contacts), Strangers: lane(c.Strangers),
		Work: c.terms(), Raise: c.Work.Raise, Checks: server.Rate(c.Work.Checks),
		Reads: server.Rate(c.Rates.Reads), Changes: server.Rate(c.Rates.Changes),
		Lookups: server.Rate(c.Rates.Lookups), New: server.Rate(c.Rates.New),
		MaxAge: time.Duration(c.Spool.MaxAge),
	}
}

// fixed names the settings in which c and fresh differ that take a restart.
func (c *config) fixed(fresh *config) (names []string) {
	for _, s := range []struct {
		name string
		same bool
	}{
		{"role", c.Role == fresh.Role},
		{"listen", c.Listen == fresh.Listen},
		{"spool.provider", c.Spool.Provider == fresh.Spool.Provider},
		{"metrics", c.Metrics == fresh.Metrics},
	} {
		if !s.same {
			names = append(names, s.name)
		}
	}
	return names
}

// keepFixed takes what fixed names from what runs.
func (c *config) keepFixed(runs *config) {
	c.Role, c.Listen, c.Spool.Provider, c.Metrics = runs.Role, runs.Listen, runs.Spool.Provider, runs.Metrics
}
