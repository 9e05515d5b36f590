# fetchmail, mpop and getmail6, which fetch mail: with what stays on the server, and
# with what goes.

fetch_checks() {
	fetch_check fetchmail 'POP3, STLS' with_fetchmail pop3
	fetch_check fetchmail 'IMAP, STARTTLS' with_fetchmail imap
	fetch_check mpop 'POP3, STLS' with_mpop
	fetch_check getmail 'POP3, SSL/TLS' with_getmail pop3
	fetch_check getmail 'IMAP, SSL/TLS' with_getmail imap
}

# fetch_check PROGRAM HOW FUNCTION ARGUMENT...: the function is called with keep or
# delete, ARGUMENT, a directory to fill, and the account's address and password.
fetch_check() {
	local program=$1 how=$2
	shift 2
	check "$program" "fetch, leave on the server, fetch the rest, delete: $how" fetch_all "${program}_${how%%,*}" "$@"
}

fetch_all() { # PREFIX FUNCTION ARGUMENT...
	local id=$1 function=$2 to=$work/fetched
	shift 2
	fresh "$to"
	other empty INBOX # of what a check that failed left
	put INBOX - "$id"-{0,1,2}
	fetch_kept "$function" "$@" "$to" "$alice" "$alice_password"
	arrived "$to" "$id"-{0,1,2}
	put INBOX - "$id-3"
	other delete INBOX "$id-0"
	"$function" keep "$@" "$to" "$alice" "$alice_password"
	arrived "$to" "$id"-{0,1,2,3} # each once
	holds INBOX "$id"-{1,2,3}
	put INBOX - "$id-4"
	rm -rf "$HOME"/{.fetch*,.mpop*,.getmail*} "$to"
	mkdir "$to"
	other flag INBOX - "$id"-{1,2,3} # all of it once more, and then away with it
	"$function" delete "$@" "$to" "$alice" "$alice_password"
	arrived "$to" "$id"-{1..4}
	holds INBOX # nothing
}

# fetch_kept FUNCTION ARGUMENT... fetches all for the first time, and leaves it there.
fetch_kept() {
	local function=$1
	shift
	rm -rf "$HOME"/{.fetch*,.mpop*,.getmail*}
	"$function" keep "$@"
}

# deliver DIR prints a program that puts its standard input into the directory: some
# write into no Maildir for root.
deliver() {
	printf '#!/bin/sh\ncat >"$(mktemp "%s/XXXXXX")"\n' "$1" >"$work/deliver"
	chmod 700 "$work/deliver"
	echo "$work/deliver"
}

# fetchmail remembers what it had by POP3 only: by IMAP it takes what is not seen, and
# makes it seen.
with_fetchmail() { # keep|delete PROTOCOL DIR ADDRESS PASSWORD
	local port=$pop3_port uidl=uidl how=keep status=0
	[[ $1 == keep ]] || how='no keep'
	if [[ $2 == imap ]]; then
		port=$imap_port uidl=
	fi
	private "$work/fetchmailrc" <<-END
		poll "localhost" protocol $2 port $port $uidl
		  username "$4" password "$5"
		  sslproto "TLS1.2+" sslcertck sslcertfile "$ca"
		  $how no rewrite no mimedecode
		  mda "$(deliver "$3")"
	END
	limited fetchmail --fetchmailrc "$work/fetchmailrc" --pidfile "$work/fetchmail.pid" --idfile "$HOME/.fetchids" --nosyslog || status=$?
	((status <= 1)) # 1: there was nothing new
}

with_mpop() { # keep|delete DIR ADDRESS PASSWORD
	private "$work/mpoprc" <<-END
		defaults
		account a
		host localhost
		port $pop3_port
		user $3
		password $4
		tls on
		tls_starttls on
		tls_trust_file $ca
		auth plain
		keep $([[ $1 == keep ]] && echo on || echo off)
		uidls_file $HOME/.mpop_uidls
		delivery mda $(deliver "$2")
	END
	limited mpop -C "$work/mpoprc" a
}

# getmail knows no STARTTLS.
with_getmail() { # keep|delete PROTOCOL DIR ADDRESS PASSWORD
	local port=$pop3s_port kind=SimplePOP3SSL
	if [[ $2 == imap ]]; then
		port=$imaps_port kind=SimpleIMAPSSL
	fi
	mkdir -p "$HOME/.getmail"
	private "$HOME/.getmail/getmailrc" <<-END
		[retriever]
		type = ${kind}Retriever
		server = localhost
		port = $port
		username = $4
		password = $5
		ca_certs = $ca
		[destination]
		type = MDA_external
		path = $(deliver "$3")
		allow_root_commands = true
		[options]
		read_all = false
		delete = $([[ $1 == delete ]] && echo true || echo false)
		message_log =
	END
	limited getmail --rcfile getmailrc
}
