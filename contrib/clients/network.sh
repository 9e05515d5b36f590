# Mail that goes through the network: submitted by alice with each program that
# submits, with and without TLS, and read by bob with each that reads.

sent=() # the ids of the mails that were submitted

network_submit() {
	compose net-{0..6}
	other big "$work/mail" "$alice" "$bob" net-100k 100000

	submit curl net-0 'submit, STARTTLS, AUTH PLAIN' send_curl --ssl-reqd --cacert "$ca"
	submit curl net-1 'submit, no TLS, AUTH LOGIN' send_curl --login-options AUTH=LOGIN
	submit swaks net-2 'submit, STARTTLS, AUTH PLAIN' send_swaks --auth PLAIN --tls --tls-verify --tls-ca-path "$ca"
	submit swaks net-3 'submit, no TLS, AUTH LOGIN' send_swaks --auth LOGIN
	submit msmtp net-4 'submit, STARTTLS' send_msmtp 'auth on' 'tls on' 'tls_starttls on' "tls_trust_file $ca"
	submit msmtp net-5 'submit, no TLS' send_msmtp 'auth plain' 'tls off'
	submit neomutt net-6 'submit, STARTTLS' send_neomutt
	submit curl net-100k 'submit 100 KB, STARTTLS' send_curl --ssl-reqd --cacert "$ca"
}

# submit PROGRAM ID WHAT FUNCTION ARGUMENT...: sends one mail.
submit() {
	local program=$1 id=$2 what=$3 function=$4 before=$passed
	shift 4
	check "$program" "$what" "$function" "$work/mail/$id" "$@"
	((passed == before)) || sent+=("$id")
}

send_curl() {
	local file=$1
	shift
	limited curl -sS -K "$work/alice.curl" --url "smtp://127.0.0.1:$smtp_port" --mail-from "$alice" --mail-rcpt "$bob" -T "$file.crlf" "$@"
}

send_swaks() {
	local file=$1
	shift
	printf -- '--auth-user %s\n--auth-password %s\n' "$alice" "$alice_password" | private "$work/swaks.rc"
	# It ends the last line itself.
	printf '%s' "$(<"$file")" >"$file.swaks"
	limited swaks --config "$work/swaks.rc" --server 127.0.0.1 --port "$smtp_port" --from "$alice" --to "$bob" --data "@$file.swaks" \
		--suppress-data "$@"
}

send_msmtp() {
	local file=$1
	shift
	{
		printf 'defaults\naccount a\nhost 127.0.0.1\nport %s\nfrom %s\nuser %s\npassword %s\n' "$smtp_port" "$alice" "$alice" "$alice_password"
		printf '%s\n' "$@"
	} | private "$work/msmtprc"
	limited msmtp -C "$work/msmtprc" -a a "$bob" <"$file"
}

# send_neomutt sends the body, with headers of neomutt's own but for the subject.
send_neomutt() {
	neomutt_rc "set record=\"\" from=\"$alice\" use_envelope_from=yes" \
		"set smtp_url=\"smtp://$alice@localhost:$smtp_port\" smtp_pass=\"$alice_password\""
	sed '1,/^$/d' "$1" >"$work/neomutt.body"
	limited neomutt -n -F "$work/muttrc" -s "${1##*/}" -- "$bob" <"$work/neomutt.body"
}

network_read() {
	((${#sent[@]} > 0)) || return 0 # each has said why
	check mailproxy "all ${#sent[@]} mails arrive" network_wait
	read_with curl 'IMAP, STARTTLS' curl_imap tls
	read_with curl 'IMAP, no TLS' curl_imap plain
	read_with curl 'POP3, STLS' curl_pop3 tls
	read_with curl 'POP3, no TLS' curl_pop3 plain
	read_with mbsync 'IMAP, STARTTLS' mbsync_pull
	read_with offlineimap 'IMAP, STARTTLS' offlineimap_pull
	read_with neomutt 'IMAP, STARTTLS' neomutt_copy
	read_with fetchmail 'IMAP, STARTTLS' fetch_kept with_fetchmail imap
	read_with fetchmail 'POP3, STLS' fetch_kept with_fetchmail pop3
	read_with mpop 'POP3, STLS' fetch_kept with_mpop
	read_with getmail 'IMAP, SSL/TLS' fetch_kept with_getmail imap
	read_with getmail 'POP3, SSL/TLS' fetch_kept with_getmail pop3
}

# network_wait waits for all that was sent, and takes away what the demo sent.
network_wait() {
	until_true "${CLIENTS_WAIT:-300}" network_there
	other_bob delete INBOX 'Hello through the mix network'
}

network_there() {
	local there
	there=$(other_bob count INBOX)
	echo "$((there - 1)) of ${#sent[@]} mails are there"
	((there == ${#sent[@]} + 1))
}

# read_with PROGRAM HOW FUNCTION ARGUMENT...: the function fills the directory that
# follows its arguments with the mails of the account, of which there follow address
# and password.
read_with() {
	local program=$1 how=$2
	shift 2
	check "$program" "read what came through the network: $how" read_network "$@"
}

read_network() {
	fresh "$work/read"
	other_bob flag INBOX - "${sent[@]}" # some programs take only what is not seen
	"$@" "$work/read" "$bob" "$bob_password"
	arrived "$work/read" "${sent[@]}"
}
