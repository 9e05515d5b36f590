# curl, which speaks one command at a time.

# curl_as ADDRESS PASSWORD tls|plain ARGUMENT...
curl_as() {
	local address=$1 password=$2 security=$3 how=()
	shift 3
	[[ $security == plain ]] || how=(--ssl-reqd --cacert "$ca")
	private "$work/curlrc" <<<"user = \"$address:$password\""
	limited curl -sS -K "$work/curlrc" "${how[@]}" "$@"
}
curl_alice() { curl_as "$alice" "$alice_password" tls "$@"; }

curl_checks() {
	check curl 'IMAP: append, search, fetch, flags, move, expunge' curl_imap_commands
	check curl 'POP3: list, UIDs, top, retrieve, delete' curl_pop3_commands
	check curl 'IMAP, POP3, SMTP: a wrong password is refused' curl_wrong_password
}

curl_imap_commands() {
	local url=imap://127.0.0.1:$imap_port uid
	other create curl curl/done
	compose curl-{0..3}
	for id in curl-{0..3}; do
		curl_alice -T "$work/mail/$id.crlf" "$url/curl"
	done
	holds curl curl-{0..3}
	curl_alice -X 'UID SEARCH SUBJECT curl-2' "$url/curl" | grep -x $'\\* SEARCH 3\r'
	uid=3
	curl_alice "$url/curl;UID=$uid" | cmp - "$work/mail/curl-2.crlf"
	curl_alice -X "UID STORE $uid +FLAGS (\\Flagged \\Answered)" "$url/curl"
	other list curl | grep "^curl $uid FR[S]\\? .* curl-2$"
	curl_alice -X "UID MOVE $uid curl/done" "$url/curl"
	holds curl curl-0 curl-1 curl-3
	holds curl/done curl-2
	curl_alice -X 'UID STORE 1 +FLAGS.SILENT (\Deleted)' "$url/curl"
	curl_alice -X EXPUNGE "$url/curl"
	holds curl curl-1 curl-3
	other remove curl/done curl
}

curl_pop3_commands() {
	local url=pop3://127.0.0.1:$pop3_port
	put INBOX - curl-4 curl-5 curl-6
	[[ $(curl_alice "$url/" | wc -l) == 3 ]]
	[[ $(curl_alice -X UIDL "$url/" | cut -d ' ' -f 2 | sort -u | wc -l) == 3 ]]
	curl_alice -X 'TOP 2 0' "$url/" | grep -x $'Subject: curl-5\r'
	curl_alice "$url/1" | cmp - "$work/mail/curl-4.crlf"
	curl_alice -I -X 'DELE 2' "$url/"
	holds INBOX curl-4 curl-6
	other delete INBOX curl-4 curl-6
}

curl_wrong_password() {
	local url status
	for url in imap://127.0.0.1:$imap_port/INBOX pop3://127.0.0.1:$pop3_port/1 smtp://127.0.0.1:$smtp_port; do
		status=0
		curl_as "$alice" "not $alice_password" tls --mail-from "$alice" "$url" || status=$?
		((status == 67)) # CURLE_LOGIN_DENIED
	done
}

# curl_imap SECURITY DIR ADDRESS PASSWORD reads INBOX.
curl_imap() {
	local security=$1 dir=$2 uid url=imap://127.0.0.1:$imap_port/INBOX
	shift 2
	for uid in $(curl_as "$@" "$security" -X 'UID SEARCH ALL' "$url" | tr -d '\r' | sed -n 's/^\* SEARCH//p'); do
		curl_as "$@" "$security" -o "$dir/$uid" "$url;UID=$uid"
	done
}

curl_pop3() {
	local security=$1 dir=$2 number url=pop3://127.0.0.1:$pop3_port
	shift 2
	for number in $(curl_as "$@" "$security" "$url/" | awk '{ print $1 }'); do
		curl_as "$@" "$security" -o "$dir/$number" "$url/$number"
	done
}
