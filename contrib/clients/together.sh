# Several programs at once on one account: some put mail in, move it or mark it, while
# others sync the same folders or fetch the INBOX. In the end every message is there
# once, with its bytes, wherever one looks.

together_checks() {
	check mailproxy 'all at once on one account: all mail there, once, unchanged' together_run
}

together_run() {
	local job jobs=() failed=0 files
	near=$work/together
	mkdir -p "$near" "$work/together-off"
	fresh "$work/fetched"
	rm -rf "$HOME"/{.fetch*,.mpop*,.getmail*}
	other empty INBOX
	other create together together/to
	put together - move-{0..5} mark-{0..5}
	compose curl+{0..5} near+{0..5} off+{0..5} inbox+{0..5}
	for job in curl mover marker inbox fetcher mbsync offlineimap; do
		case $job in mbsync | offlineimap) have $job || continue ;; fetcher) have mpop || continue ;; curl) have curl || continue ;; esac
		"together_$job" >"$work/together.$job.txt" 2>&1 &
		jobs+=($!)
		echo "$job is $!"
	done
	for job in "${jobs[@]}"; do
		wait "$job" || { failed=1 && echo "$job failed" && tail -n 3 "$work"/together.*.txt; }
	done
	((failed == 0))

	# Each that syncs once more, and all sides must be the same.
	files=(together/to=move-{0..5} together=mark-{0..5})
	have curl && files+=(together=curl+{0..5})
	if have mbsync; then
		files+=(together=near+{0..5})
	fi
	if have offlineimap; then
		files+=(together=off+{0..5})
		offlineimap_run
	fi
	if have mbsync; then
		mbsync_run
		have offlineimap && offlineimap_run
		other tree "$near" together together/to
	fi
	if have offlineimap; then
		other tree "$work/together-off" together together/to
	fi
	mapfile -t files < <(printf '%s\n' "${files[@]}" | sed "s|=\(.*\)|=$work/mail/\1.crlf|")
	other whole "${files[@]}"
	if have mpop; then
		with_mpop delete "$work/fetched" "$alice" "$alice_password"
		arrived "$work/fetched" inbox+{0..5}
		holds INBOX
	fi
	other empty INBOX
}

together_curl() {
	local i
	for i in {0..5}; do
		curl_alice -T "$work/mail/curl+$i.crlf" "imap://127.0.0.1:$imap_port/together"
	done
}

together_mover() {
	local i
	for i in {0..5}; do
		other move together together/to "move-$i"
	done
}

together_marker() {
	local i
	for i in {0..5}; do
		other flag together FS "mark-$i"
	done
}

together_inbox() {
	local i
	for i in {0..5}; do
		other append INBOX - "$work/mail/inbox+$i.crlf"
	done
}

# together_fetcher takes what is there and deletes it, while more comes.
together_fetcher() {
	local i
	for i in {0..3}; do
		with_mpop delete "$work/fetched" "$alice" "$alice_password"
	done
}

# A program that syncs may stumble over what another removes under its hands, and says
# so; it must come to the right end all the same.
together_mbsync() {
	local i
	mbsync_both "$near" together
	mbsync_run || echo "mbsync ended with $?"
	for i in {0..5}; do
		cp "$work/mail/near+$i" "$near/together/new/1700000000.$i.here"
		((i % 2)) || mbsync_run || echo "mbsync ended with $?"
	done
}

together_offlineimap() {
	local i
	offlineimap_both "$work/together-off" together
	offlineimap_run || echo "offlineimap ended with $?"
	for i in {0..5}; do
		cp "$work/mail/off+$i" "$work/together-off/together/new/1700000000.$i.there"
		((i % 3)) || offlineimap_run || echo "offlineimap ended with $?"
	done
}
