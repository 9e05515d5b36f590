# Large mail. By IMAP and POP3 it needs no network; of what is too large, SMTP says so
# before it comes.

limit=$((25 << 20)) # bytes, what the daemon takes by default

large_checks() {
	check curl 'IMAP: 25 MB appended and read' large_curl
	check mbsync 'IMAP: 25 MB synced down, 6 MB up' large_mbsync
	check curl 'POP3: 25 MB read' large_pop3 curl_pop3 tls
	check fetchmail 'POP3: 25 MB read' large_pop3 fetch_kept with_fetchmail pop3
	check curl 'IMAP: too large is refused, and the next one taken' large_refused
	check curl 'SMTP: too large is refused with 552' too_large send_curl --ssl-reqd --cacert "$ca"
	check msmtp 'SMTP: too large is refused with 552' too_large send_msmtp 'auth on' 'tls on' 'tls_starttls on' "tls_trust_file $ca"
}

large_curl() {
	local url=imap://127.0.0.1:$imap_port/large
	other create large
	other big "$work/mail" "$alice" "$bob" large-1 "$limit"
	curl_alice -T "$work/mail/large-1.crlf" "$url"
	curl_alice "$url;UID=1" | cmp - "$work/mail/large-1.crlf"
}

large_mbsync() {
	near=$work/large
	mkdir -p "$near"
	mbsync_both "$near" large
	mbsync_run
	other big "$work/mail" "$alice" "$bob" large-2 $((limit / 4))
	cp "$work/mail/large-2" "$near/large/new/1700000000.large.here"
	mbsync_run
	other tree "$near" large
	other remove large
}

large_pop3() { # FUNCTION ARGUMENT...
	other empty INBOX
	[[ -e $work/mail/large-1 ]] || other big "$work/mail" "$alice" "$bob" large-1 "$limit"
	other append INBOX - "$work/mail/large-1.crlf"
	fresh "$work/fetched"
	"$@" "$work/fetched" "$alice" "$alice_password"
	arrived "$work/fetched" large-1
	other empty INBOX
}

large_refused() {
	other create refused
	other big "$work/mail" "$alice" "$bob" large-3 $((limit + 1000))
	refute curl_alice -T "$work/mail/large-3.crlf" "imap://127.0.0.1:$imap_port/refused"
	put refused - large-4
	holds refused large-4
	other remove refused
}

too_large() { # FUNCTION ARGUMENT...
	local function=$1
	shift
	[[ -e $work/mail/large-3 ]] || other big "$work/mail" "$alice" "$bob" large-3 $((limit + 1000))
	refute "$function" "$work/mail/large-3" "$@" 2>&1 | tee "$work/refused"
	grep -q 552 "$work/refused"
}
