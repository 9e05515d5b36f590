package mailclient

import (
	"bytes"
	"os"
	"path/filepath"
)

// Thunderbirds returns the directories in which the Thunderbirds of this computer look
// for autoconfig files before they ask anybody, by the name DOMAIN.xml. They lie where
// the program does, so that only who may change the program can write there; they need
// not exist yet. A snap or a Flatpak cannot be changed at all, and a program in macOS
// not without breaking its signature: these are left out. root is the directory of the
// system's files, system as runtime.GOOS has it.
func Thunderbirds(system, root string) []string {
	var list []string
	for _, dir := range programs[system] {
		dir = filepath.Join(root, filepath.FromSlash(dir))
		// What a program is of is beside it: an empty directory is none.
		if _, err := os.Stat(filepath.Join(dir, "application.ini")); err == nil {
			list = append(list, filepath.Join(dir, "isp"))
		}
	}
	return list
}

var programs = map[string][]string{
	"linux":   {"usr/lib/thunderbird", "usr/lib64/thunderbird", "usr/lib/thunderbird-esr", "usr/local/lib/thunderbird", "usr/local/thunderbird", "opt/thunderbird"},
	"windows": {"Program Files/Mozilla Thunderbird", "Program Files (x86)/Mozilla Thunderbird"},
}

// mark is in each autoconfig file that is made here.
const mark = "made by mailproxy"

// Ours reports whether an autoconfig file was made by Autoconfig. Others are for their
// makers to change.
func Ours(file []byte) bool { return bytes.Contains(file, []byte("<!-- "+mark+" -->")) }
