# Two-way sync between a tree of folders and one of Maildirs, for the programs that
# do that. PROGRAM_both DIR FOLDER writes the configuration for the folder and all
# beneath it, PROGRAM_run syncs once. The folder has the program's name.

sync_checks() { # PROGRAM
	near=$work/$1
	mkdir -p "$near"
	check "$1" 'two-way sync: the first time' sync_first "$1"
	check "$1" 'two-way sync: new mail and flags on both sides' sync_changes "$1"
	check "$1" 'two-way sync: deletions and moves on both sides' sync_deletions "$1"
	check "$1" 'two-way sync: folders made on both sides' sync_folders "$1"
	check "$1" 'two-way sync: nothing to do changes nothing' sync_again "$1"
}

sync_first() {
	other create "$1" "$1/sub"
	put "$1" S "$1"-{0,1}
	put "$1" - "$1"-{2,3,4}
	put "$1" FR "$1-5"
	other append "$1" - "$work/mail/$1-5.crlf" # twice the same is two messages
	put "$1/sub" D "$1"-{6,7}
	"$1_both" "$near" "$1"
	"$1_run"
	other tree "$near" "$1" "$1/sub"
}

# near FOLDER ID prints the file of the message in the Maildir.
near() { grep -alxF "Subject: $2" -r "$near/$1/cur" "$near/$1/new"; }

# near_flags FOLDER ID FLAGS sets them in the Maildir, as a mail program would.
near_flags() {
	local file
	file=$(near "$1" "$2")
	file=${file%:2,*}
	mv "$file"* "$near/$1/cur/${file##*/}:2,$3"
}

# near_put FOLDER ID delivers into the Maildir.
near_put() {
	compose "$2"
	cp "$work/mail/$2" "$near/$1/new/1700000000.$2.here"
}

sync_changes() {
	near_flags "$1" "$1-0" RS
	near_flags "$1" "$1-1" '' # it was seen
	near_put "$1" "$1-8"
	other flag "$1" FS "$1-2"
	other flag "$1/sub" - "$1-6"
	put "$1" F "$1-9"
	"$1_run"
	other tree "$near" "$1" "$1/sub"
	holds "$1" "$1"-{0..5} "$1-5" "$1"-{8,9}
	flags_are "$1" "$1-0" RS
	flags_are "$1" "$1-1" -
	[[ $(near "$1" "$1-2") == *:2,FS ]]
	[[ $(near "$1" "$1-9") == *:2,F ]]
	[[ $(near "$1/sub" "$1-6") != *D ]]
}

# flags_are FOLDER ID FLAGS checks the daemon's.
flags_are() { other list "$1" | awk -v id="$2" -v f="$3" '$NF == id && $3 == f { n++ } END { exit n != 1 }'; }

sync_deletions() {
	rm "$(near "$1" "$1-0")"
	rm "$(near "$1" "$1-1")"
	other delete "$1" "$1-2" "$1-3"
	other move "$1" "$1/sub" "$1-4"
	mv "$(near "$1/sub" "$1-7")" "$near/$1/new/1700000001.$1-7.here"
	"$1_run"
	other tree "$near" "$1" "$1/sub"
	holds "$1" "$1"-{5,5,7,8,9}
	holds "$1/sub" "$1"-{4,6}
}

sync_folders() {
	mkdir -p "$near/$1/near-made/"{new,cur,tmp}
	near_put "$1/near-made" "$1-10"
	other create "$1/far-made" "$1/Grüße & mehr"
	put "$1/far-made" S "$1-11"
	put "$1/Grüße & mehr" - "$1-12"
	"$1_run"
	other tree "$near" "$1" "$1/sub" "$1/near-made" "$1/far-made" "$1/Grüße & mehr=$1/Gr&APwA3w-e &- mehr"
	holds "$1/near-made" "$1-10"
}

sync_again() {
	local before
	before=$(other list "$1" "$1/sub" "$1/near-made")
	"$1_run"
	"$1_run"
	[[ $(other list "$1" "$1/sub" "$1/near-made") == "$before" ]]
}
