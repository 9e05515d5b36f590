# offlineimap3: two-way sync of a tree of folders.

# offlineimap_rc DIR ADDRESS PASSWORD FILTER: a Python expression of the folder's name f.
offlineimap_rc() {
	private "$work/offlineimaprc" <<-END
		[general]
		accounts = account
		metadata = $1.state
		maxsyncaccounts = 1
		[Account account]
		localrepository = near
		remoterepository = far
		[Repository near]
		type = Maildir
		localfolders = $1
		sep = /
		[Repository far]
		type = IMAP
		remotehost = localhost
		remoteport = $imap_port
		remoteuser = $2
		remotepass = ${3//%/%%}
		ssl = no
		starttls = yes
		sslcacertfile = $ca
		auth_mechanisms = PLAIN
		maxconnections = 3
		folderfilter = lambda f: $4
	END
}

# offlineimap_run syncs once.
offlineimap_run() {
	limited offlineimap -o -c "$work/offlineimaprc" -u basic
}

offlineimap_pull() { # DIR ADDRESS PASSWORD
	offlineimap_rc "$@" "f == 'INBOX'"
	offlineimap_run
}

offlineimap_both() { # DIR FOLDER
	offlineimap_rc "$1" "$alice" "$alice_password" "f.split('/')[0] == '$2'"
}

offlineimap_checks() { sync_checks offlineimap; }
