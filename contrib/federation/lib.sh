# What up, down and run share; they source it. See README.md.
#
# Each node is a process of its own in a network namespace of its own, mpf-NAME,
# with one address on the bridge mpf0, which leads nowhere else.

set -uo pipefail
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dir=${FEDERATION_DIR:-/tmp/mailproxy-federation}
bin=$dir/bin
bridge=mpf0
net=10.97.0

# name, role, layer, operator, last byte of the address. No operator of a spool
# runs a gateway.
nodes='
directory1 directory - harbour       11
directory2 directory - meadow        12
directory3 directory - summit        13
gateway1   gateway   - east-gate     21
gateway2   gateway   - west-gate     22
mix1a      mix       1 oak           31
mix1b      mix       1 birch         32
mix2a      mix       2 alder         33
mix2b      mix       2 rowan         34
mix3a      mix       3 hazel         35
mix3b      mix       3 maple         36
north      service   - north-post    41
south      service   - south-post    42
'
# The operators who sign the network document, and how many must.
signers='harbour meadow summit'
threshold=2
# name, provider, gateway, last byte of the address
users='
alice north.test gateway1 51
bob   south.test gateway2 52
'

die() {
	echo "$(basename "$0"): $*" >&2
	exit 2
}

need_root() {
	[[ $(id -u) == 0 ]] || die "network namespaces take root: run this as root"
	command -v ip >/dev/null || die "ip is missing: install iproute2"
}

namespaces() { ip netns list | awk '$1 ~ /^mpf-/ { print $1 }'; }

# each FUNCTION TABLE calls the function with the columns of each row.
each() {
	local row
	while read -r row; do
		# shellcheck disable=SC2086 # columns are split on purpose
		[[ -z $row ]] || "$1" $row || return
	done <<<"$2"
}

# address_of NAME
address_of() { awk -v n="$1" -v net="$net" '$1 == n { print net "." $NF }' <<<"$nodes$users"; }

program_of() { awk -v n="$1" '$1 == n { print ($2 == "service" ? "mailspool" : $2 ~ /\./ ? "mailproxy" : "mixnode") }' <<<"$nodes$users"; }

# wire NAME makes its namespace and puts it on the bridge.
wire() {
	local ns=mpf-$1
	ip netns add "$ns" &&
		ip link add "v-$1" type veth peer name eth0 netns "$ns" &&
		ip link set "v-$1" master "$bridge" up &&
		ip -n "$ns" addr add "$(address_of "$1")/24" dev eth0 &&
		ip -n "$ns" link set eth0 up &&
		ip -n "$ns" link set lo up
}

# within NAME COMMAND... runs a command in the namespace.
within() {
	local ns=mpf-$1
	shift
	ip netns exec "$ns" "$@"
}

# start NAME runs its program in the background.
start() {
	local program
	program=$(program_of "$1")
	# Each command becomes the next: the process is the program itself.
	setsid ip netns exec "mpf-$1" "$bin/$program" run --config "$dir/$1/$program.toml" ${FEDERATION_VERBOSE:+-v} \
		>>"$dir/$1/log" 2>&1 </dev/null &
	echo $! >"$dir/$1/pid"
	disown
}

# alive NAME: whether its process runs, and is the one that start started.
alive() {
	local pid
	pid=$(cat "$dir/$1/pid" 2>/dev/null) || return
	[[ $(readlink "/proc/$pid/exe") == "$bin/$(program_of "$1")"* ]]
}

# stop NAME [SIGNAL] ends it; one that does not within 15 seconds is killed.
stop() {
	local pid i
	alive "$1" || return 0
	pid=$(cat "$dir/$1/pid")
	kill -"${2:-TERM}" "$pid"
	for ((i = 0; i < 150; i++)); do
		alive "$1" || return 0
		sleep 0.1
	done
	echo "$1 did not end on ${2:-TERM}: killed" >&2
	kill -KILL "$pid"
	return 1
}

# gone NAME takes it off the network for good, without a word.
gone() {
	stop "$1" KILL
	ip netns del "mpf-$1"
}

# down_all stops what runs and removes namespaces and bridge.
down_all() {
	local ns pid failed=0
	for ns in $(namespaces); do
		pid=$(cat "$dir/${ns#mpf-}/pid" 2>/dev/null) && alive "${ns#mpf-}" && kill -TERM "$pid"
	done
	for ns in $(namespaces); do
		stop "${ns#mpf-}" || failed=1
		ip netns del "$ns" || failed=1
	done
	if ip link show "$bridge" >/dev/null 2>&1; then
		ip link del "$bridge" || failed=1
	fi
	return $failed
}
