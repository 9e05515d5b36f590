# mbsync (isync): two-way sync of a tree of folders.

# mbsync_rc DIR ADDRESS PASSWORD LINE...: the lines end the channel.
mbsync_rc() {
	private "$work/mbsyncrc" <<-END
		IMAPAccount account
		Host localhost
		Port $imap_port
		User $2
		Pass "$3"
		SSLType STARTTLS
		CertificateFile $ca

		IMAPStore far
		Account account

		MaildirStore near
		Path $1/
		Inbox $1/INBOX
		SubFolders Verbatim

		Channel all
		Far :far:
		Near :near:
		SyncState *
		$(printf '%s\n' "${@:4}")
	END
}

mbsync_run() { limited mbsync -c "$work/mbsyncrc" all; }

mbsync_pull() { # DIR ADDRESS PASSWORD
	mbsync_rc "$@" 'Patterns INBOX' 'Create Near' 'Sync Pull'
	mbsync_run
}

mbsync_both() { # DIR FOLDER
	mbsync_rc "$1" "$alice" "$alice_password" "Patterns \"$2\" \"$2/*\"" 'Create Both' 'Remove Both' 'Expunge Both' 'Sync Full' \
		'CopyArrivalDate yes'
}

mbsync_checks() {
	sync_checks mbsync
	check mbsync 'two-way sync: marked as deleted on one side, expunged on both' mbsync_marked
	check mbsync 'two-way sync: folders renamed and removed' mbsync_folders
}

mbsync_marked() {
	near_flags mbsync mbsync-8 ST
	other flag mbsync T mbsync-9
	mbsync_run
	other tree "$near" mbsync
	holds mbsync mbsync-{5,5,7}
}

mbsync_folders() {
	other rename mbsync/far-made mbsync/renamed
	mbsync_run
	mbsync_run
	other tree "$near" mbsync mbsync/sub mbsync/near-made mbsync/renamed
}
