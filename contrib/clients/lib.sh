# What run and its parts share; run sources it. $work, $root and $here are run's.

passed=0 failed=0 skipped=0
declare -A ran=()

die() {
	echo "run: $*" >&2
	exit 2
}

# have PROGRAM: mailproxy itself stands for what no mail program does.
have() { [[ $1 == mailproxy ]] || command -v "$1" >/dev/null; }

# limited runs a program that must not hang.
limited() { timeout -k 5 300 "$@"; }

# row PROGRAM VERSION WHAT RESULT
row() { printf '%-11s %-18s %-62s %s\n' "$@"; }

# check PROGRAM WHAT FUNCTION ARGUMENT...: one check, which passes if every command
# of the function does. It runs in a subshell, and leaves nothing behind but files.
check() {
	local program=$1 what=$2 log=$work/log.txt status began=$SECONDS
	shift 2
	if ! have "$program"; then
		skipped=$((skipped + 1))
		row "$program" - "$what" skipped
		return
	fi
	[[ $program == mailproxy ]] || ran[$program]=1
	(
		set -eE
		trap where ERR
		"$@"
	) >"$log" 2>&1 </dev/null
	status=$? # a condition around the subshell would turn its set -e off
	if ((status == 0)); then
		passed=$((passed + 1))
		row "$program" "$(version "$program")" "$what" "ok ($((SECONDS - began)) s)"
	else
		failed=$((failed + 1))
		row "$program" "$(version "$program")" "$what" FAILED
		grep -v '^$' "$log" | tail -n 15 | cut -c 1-240 | sed 's/^/    /'
		[[ ${CLIENTS_KEEP:-no} != yes ]] || cp "$log" "$work/failed-$failed.txt"
	fi
}

# where says which line of a check failed, and who called it.
where() {
	local i text='failed at'
	for ((i = 1; i < ${#FUNCNAME[@]} && i < 6; i++)); do
		[[ ${FUNCNAME[i]} != check ]] || break
		text+=" ${BASH_SOURCE[i]##*/}:${BASH_LINENO[i - 1]} (${FUNCNAME[i]})"
	done
	echo "$text" >&2
}

# refute COMMAND... passes if the command fails.
refute() { if "$@"; then return 1; fi; }

# until_true SECONDS COMMAND... repeats a command until it succeeds.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.5
	done
}

version() {
	case $1 in
	curl) curl --version | awk 'NR == 1 { print $2 }' ;;
	swaks) swaks --version | awk 'NR == 1 { print $3 }' ;;
	msmtp) msmtp --version | awk 'NR == 1 { print $3 }' ;;
	mbsync) mbsync --version | awk 'NR == 1 { print $2 }' ;;
	fetchmail) fetchmail --version --fetchmailrc /dev/null 2>/dev/null | sed -n 's/^This is fetchmail release \([^+]*\).*/\1/p' ;;
	mpop) mpop --version | awk 'NR == 1 { print $3 }' ;;
	getmail) getmail --version 2>/dev/null | awk 'NR == 1 { print $2 }' ;;
	neomutt) neomutt -v | awk 'NR == 1 { print $2 }' ;;
	offlineimap) offlineimap --version | tail -n 1 ;;
	esac
}

# package is where Debian has each program. script gives neomutt its terminal.
declare -A package=([curl]=curl [swaks]=swaks [msmtp]=msmtp [mbsync]=isync [fetchmail]=fetchmail [mpop]=mpop
	[getmail]=getmail6 [neomutt]=neomutt [offlineimap]=offlineimap3 [script]=bsdutils)

install_missing() {
	local missing=() name
	for name in "${!package[@]}"; do
		have "$name" || missing+=("${package[$name]}")
	done
	# swaks speaks TLS only with this module.
	perl -MNet::SSLeay -e 1 2>/dev/null || missing+=(libnet-ssleay-perl)
	((${#missing[@]})) || return 0
	if [[ $(id -u) != 0 || ${CLIENTS_INSTALL:-yes} != yes ]] || ! have apt-get; then
		echo "these Debian packages are missing, and what needs them is skipped: ${missing[*]}"
		return
	fi
	echo "installing ${missing[*]}"
	if ! apt_get update || ! apt_get install -y --no-install-recommends "${missing[@]}"; then
		echo "not everything could be installed, and what needs it is skipped: $(tail -n 1 "$work/apt.log")"
	fi
}

# apt_get has time enough for a slow mirror, and gives up on one that does not answer.
apt_get() {
	DEBIAN_FRONTEND=noninteractive timeout -k 5 120 apt-get -qq -o DPkg::Lock::Timeout=60 -o Acquire::Retries=1 \
		-o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 "$@" >>"$work/apt.log" 2>&1 </dev/null
}

build() {
	have go || die "go is needed to build mailproxy"
	if [[ -n ${CLIENTS_BIN:-} ]]; then
		mkdir "$work/bin" && cp "$CLIENTS_BIN"/{mailproxy,other} "$work/bin/" || die "CLIENTS_BIN has no mailproxy and other"
		return
	fi
	echo "building mailproxy"
	(cd "$root" && CGO_ENABLED=0 go build -o "$work/bin/" ./cmd/mailproxy ./contrib/clients/other) || die "mailproxy does not build"
}

start_demo() {
	local ready=$work/ready.json
	"$work/bin/mailproxy" demo --ready-file "$ready" --smtp 127.0.0.1:0 --imap 127.0.0.1:0 --pop3 127.0.0.1:0 \
		>"$work/demo.log" 2>&1 </dev/null &
	daemon=$!
	for ((i = 0; i < 300; i++)); do
		[[ -s $ready ]] && break
		kill -0 "$daemon" 2>/dev/null || die "the demo ended: $(tail -n 3 "$work/demo.log")"
		sleep 0.5
	done
	[[ -s $ready ]] || die "the demo is not ready after 150 s: $(tail -n 3 "$work/demo.log")"
	alice=$(other show address) alice_password=$(other show password)
	bob=$(other_bob show address) bob_password=$(other_bob show password)
	local at
	at=$(other show smtp) smtp_port=${at##*:}
	at=$(other show imap) imap_port=${at##*:}
	at=$(other show pop3) pop3_port=${at##*:}
	at=$(other show imaps) imaps_port=${at##*:}
	at=$(other show pop3s) pop3s_port=${at##*:}
	ca=$(other show ca)
	# Passwords go into files: a command line can be read by everybody.
	private "$work/alice.curl" <<<"user = \"$alice:$alice_password\""
}

# other is the other mail program, which sees all and changes things meanwhile.
other() { limited "$work/bin/other" -ready "$work/ready.json" "$@"; }
other_bob() { other -account bob "$@"; }

# compose ID...: $work/mail/ID has LF line ends, ID.crlf what goes over the wire.
compose() { other compose "$work/mail" "$alice" "$bob" "$@"; }

# put FOLDER FLAGS ID... composes mails and appends them by IMAP.
put() {
	local folder=$1 flags=$2 files=()
	shift 2
	compose "$@"
	mapfile -t files < <(printf "$work/mail/%s.crlf\n" "$@")
	other append "$folder" "$flags" "${files[@]}"
}

# holds FOLDER ID... checks that the folder holds just these, to the byte.
holds() {
	local folder=$1 id want=()
	shift
	for id in "$@"; do
		want+=("$folder=$work/mail/$id.crlf")
	done
	other whole "${want[@]:-$folder=}"
}

# arrived DIR ID... checks that the directory holds just these mails, once each.
arrived() {
	local dir=$1 files=()
	shift
	mapfile -t files < <(printf "$work/mail/%s\n" "$@")
	other bodies "$dir" "${files[@]}"
}

# fresh DIR makes the directory anew.
fresh() { rm -rf "$1" && mkdir -p "$1"; }

# private FILE writes its standard input to a file that others cannot read: some
# programs insist on it where there is a password.
private() { (umask 077 && cat >"$1"); }
