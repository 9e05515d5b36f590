package main

import (
	"mailproxy/internal/command"
	"mailproxy/internal/command/manual"
	"mailproxy/proxy/storekey"
)

var _ command.Documented = (*cli)(nil)

// Manual implements command.Documented.
func (*cli) Manual() []manual.Section {
	return []manual.Section{
		{Title: "Exit status", Paras: []manual.Para{
			{Tag: "0", Text: "All is done."},
			{Tag: "1", Text: "Something failed, or a check found something wrong."},
			{Tag: "4", Text: "The store's passphrase is wrong."},
			{Tag: "5", Text: "What opens the store (passphrase, key file, keychain) is not to be had."},
			{Tag: "6", Text: "The accounts were moved to another computer, and \"run\" does not start with them."},
			{Tag: "80", Text: "The command line is wrong."},
			{Text: "With --json an error is written as JSON as well, to the error output: its words and this status."},
		}},
		{Title: "Environment", Paras: []manual.Para{
			{Tag: passphraseEnv, Text: "File whose first line is the store's passphrase; others must not be able to read it."},
			{Tag: newPassphraseEnv, Text: "The same for the passphrase that \"store key --passphrase\" sets."},
			{Tag: storekey.KeyFileEnv, Text: "Where the key file is, if it is not where it was when it was chosen."},
			{Tag: credentialsEnv, Text: "Set by systemd. Of its credentials, " + credential + " is the passphrase and " + keyCredential + " the key file."},
		}},
		{Title: "Files", Paras: []manual.Para{
			{Tag: "mailproxy/mailproxy.toml", Text: "The configuration, in the user's configuration directory (on Linux ~/.config); \"config path\" prints it."},
			{Text: "Mail, accounts and keys are in the directory that the configuration names, encrypted."},
		}},
		{Title: "See also", Paras: []manual.Para{{Text: "mailspool(1), mixnode(1)"}}},
	}
}
