# neomutt, driven by keys that its configuration pushes. It wants a terminal.

# neomutt_rc LINE...
neomutt_rc() {
	printf '%s\n' "set ssl_starttls=yes ssl_force_tls=yes ssl_verify_host=yes" \
		"set ssl_ca_certificates_file=\"$ca\" certificate_file=\"$ca\"" \
		"set folder=\"$work\" spoolfile=\"$work\" mbox_type=Maildir" \
		'set confirmappend=no confirmcreate=no wait_key=no quit=yes mark_old=no delete=yes move=no' \
		"set header_cache=\"\" message_cachedir=\"\" tmpdir=\"$work\"" "$@" | private "$work/muttrc"
}

# neomutt_keys ADDRESS PASSWORD FOLDER KEYS
neomutt_keys() {
	neomutt_rc "set imap_user=\"$1\" imap_pass=\"$2\"" "push \"$4<exit>\""
	limited script -qec "neomutt -n -F '$work/muttrc' -f 'imap://localhost:$imap_port/$3'" "$work/neomutt.txt" >"$work/neomutt.screen"
}

neomutt_copy() { # DIR ADDRESS PASSWORD
	mkdir -p "$1/box/"{cur,new,tmp}
	neomutt_keys "$2" "$3" INBOX "<tag-pattern>~A<enter><tag-prefix><copy-message>$1/box<enter>"
}

neomutt_checks() {
	check neomutt 'IMAP: flags, moved to a folder, copied, deleted' neomutt_work
	check neomutt 'IMAP: moved from a Maildir into a folder' neomutt_upload
}

neomutt_work() {
	local to=imap://localhost:$imap_port/neomutt/to
	other create neomutt neomutt/to
	put neomutt - neomutt-{0,1,2,3,4,5}
	put neomutt S neomutt-6
	neomutt_keys "$alice" "$alice_password" neomutt \
		"$(tagged neomutt-1 '<set-flag>!')$(tagged neomutt-6 '<set-flag>N')$(tagged '"neomutt-[23]"' "<save-message>$to<enter>"
		)$(tagged neomutt-4 "<copy-message>$to<enter>")<delete-pattern>~s neomutt-5<enter><sync-mailbox>"
	holds neomutt neomutt-{0,1,4,6}
	holds neomutt/to neomutt-{2,3,4}
	other list neomutt | grep ' F[RS]* .* neomutt-1$'
	other list neomutt | grep ' - .* neomutt-6$'
}

# tagged PATTERN KEYS does what the keys say to the messages with such a subject.
tagged() { printf '%s' "<tag-pattern>~s ${1//\"/\\\"}<enter><tag-prefix>$2<untag-pattern>~A<enter>"; }

neomutt_upload() {
	local box=$work/neomutt-box
	mkdir -p "$box/"{cur,new,tmp}
	other create neomutt/up
	compose neomutt-7 neomutt-8
	cp "$work/mail/neomutt-7" "$box/new/1700000000.7.here"
	cp "$work/mail/neomutt-8" "$box/new/1700000000.8.here"
	neomutt_rc "set imap_user=\"$alice\" imap_pass=\"$alice_password\"" \
		"push \"<tag-pattern>~A<enter><tag-prefix><save-message>imap://localhost:$imap_port/neomutt/up<enter><sync-mailbox><exit>\""
	limited script -qec "neomutt -n -F '$work/muttrc' -f '$box'" "$work/neomutt.txt" >"$work/neomutt.screen"
	fresh "$work/read"
	other save neomutt/up "$work/read"
	arrived "$work/read" neomutt-7 neomutt-8 # it adds header fields of its own
	refute grep -alr 'Subject: neomutt-' "$box/cur" "$box/new"
}
