package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mailproxy/internal/durable"
	"mailproxy/internal/mailclient"
)

type autoconfigCmd struct {
	at
	Out string `help:"Directory to write below; it is made." required:"" type:"path" short:"o" placeholder:"DIR"`
}

// autoconfigFile is where a mail program asks for the file, and where it is.
type autoconfigFile struct {
	URL  string `json:"url"`
	File string `json:"file"`
}

// Run writes what mail programs ask the provider's web server for.
func (a *autoconfigCmd) Run() error {
	cfg, err := readConfig(a.Config)
	if err != nil {
		return err
	}
	domain := cfg.Spool.Provider
	// What users' daemons do that nobody has configured: a provider cannot know more.
	b, err := mailclient.Autoconfig(domain, mailclient.Defaults())
	if err != nil {
		return err
	}
	files := []autoconfigFile{
		{"https://autoconfig." + domain + "/" + mailclient.AutoconfigPath, mailclient.AutoconfigPath},
		{"https://" + domain + "/" + mailclient.AutoconfigKnown, mailclient.AutoconfigKnown},
	}
	for i := range files {
		f := filepath.Join(a.Out, filepath.FromSlash(files[i].File))
		if files[i].File, err = f, os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			return fmt.Errorf("write autoconfig files: %w", err)
		}
		// A web server's directory may hold one that tells of ordinary mail as well.
		switch have, err := os.ReadFile(f); {
		case err == nil && !mailclient.Ours(have):
			return fmt.Errorf("%s is there, and is not of mailspool's making: move it away first, or merge the two by hand", f)
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("write autoconfig files: %w", err)
		}
		if err := durable.WriteFile(f, b, 0o644); err != nil {
			return fmt.Errorf("write autoconfig files: %w", err)
		}
	}
	if a.JSON {
		return json.NewEncoder(os.Stdout).Encode(files)
	}
	fmt.Println("Serve these as they are, as text/xml; one directory can be the root of both hosts:")
	for _, f := range files {
		fmt.Printf("\n  %s\n    %s\n", f.URL, f.File)
	}
	fmt.Println("\nThey tell Thunderbird and others that the servers of your users are on their own computers. Who asks for them" +
		"\ntells that web server his IP address, and Thunderbird adds his e-mail address: switch its log off. Users who" +
		"\ninstall the file beforehand (mailproxy account autoconfig) need none of this.")
	return nil
}
