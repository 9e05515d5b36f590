package main

import (
	"context"
	"fmt"

	"mailproxy/internal/command"
	"mailproxy/proxy"
	"mailproxy/proxy/storekey"
)

type storeCmd struct {
	Key storeKeyCmd `cmd:"" help:"Say or change how the key that encrypts mail, accounts and keys on this computer is kept."`
}

type storeKeyCmd struct {
	configFlag
	Passphrase bool   `help:"Seal it by a passphrase, which is asked for now and at each start; also to change the passphrase." xor:"way"`
	KeyFile    string `help:"Seal it by a key file, which is needed at each start: for example on a USB stick. It is made if it is not there." type:"path" xor:"way" placeholder:"FILE"`
	Keychain   bool   `help:"Seal it by a key in the system's keychain, which opens when you log in." xor:"way"`
	Plain      bool   `help:"Keep it as it is beside the store, as a new store does: whoever has your disk reads your mail." xor:"way"`
	command.JSONFlag
}

// Run changes how the key is kept, or says it. A daemon may run meanwhile.
func (s *storeKeyCmd) Run(ctx context.Context) error {
	cfg, err := proxy.LoadConfig(s.Config)
	if err != nil {
		return err
	}
	to := storekey.To{Passphrase: func() (string, error) { return newPassphrase(ctx) }, KeyFile: s.KeyFile}
	switch {
	case s.Passphrase:
		to.Way = storekey.Passphrase
	case s.KeyFile != "":
		to.Way = storekey.KeyFile
	case s.Keychain:
		to.Way = storekey.Keychain
	case s.Plain:
		to.Way = storekey.Plain
	}
	if to.Way != "" {
		if err := storekey.Change(cfg.Dir, keySources(ctx), to); err != nil {
			return keyStatus(err)
		}
	}
	info, err := storekey.Inspect(cfg.Dir)
	if err != nil {
		return err
	}
	if s.JSON {
		return printJSON(info)
	}
	fmt.Println(keyWords(info, s.Config))
	if to.Way != "" && to.Way != storekey.Plain {
		fmt.Println("Who had the key or an unprotected copy of this directory before can still open the mail: delete old copies.")
	}
	return nil
}

// keyWords says how the key is kept.
func keyWords(i storekey.Info, config string) string {
	switch i.Way {
	case storekey.Passphrase:
		return fmt.Sprintf("The store's key is sealed by a passphrase (Argon2id, %d MiB). It is asked for at each start; nobody can restore it.", i.Cost.Memory>>10)
	case storekey.KeyFile:
		return fmt.Sprintf("The store's key is sealed by the key file %s. It is needed at each start: keep a copy of it apart from this computer.", i.KeyFile)
	case storekey.Keychain:
		return fmt.Sprintf("The store's key is sealed by a key in the system's keychain, under %q of mailproxy. Without that keychain nobody opens the mail.", i.Keychain)
	}
	made := "lies"
	if !i.Exists {
		made = "will lie, once it is made,"
	}
	return fmt.Sprintf("The store's key %s unprotected beside the store: whoever has this disk reads the mail.\n"+
		"Protect it: mailproxy store key --passphrase --config %s (or --keychain, or --key-file FILE)", made, config)
}
