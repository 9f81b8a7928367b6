
# --- From here on the script is the same for every site.

set -eu
umask 022
zimbra=${ZIMBRA_HOME:-/opt/zimbra}
PATH=$zimbra/bin:$zimbra/common/sbin:$zimbra/libexec:$PATH
postfix_conf=$zimbra/common/conf
master_cf_in=$postfix_conf/master.cf.in
relay_cf=$zimbra/conf/zmconfigd/smtpd_relay_restrictions.cf
kept=$zimbra/conf/conbool-milter
begin='# conbool-milter begin'
end='# conbool-milter end'
was='#conbool-milter was# '
changes=0

die() {
    echo "$0: $*" >&2
    exit 1
}

note() {
    echo "note: $*" >&2
}

usage() {
    echo "usage: $0 [--apply | --rollback]" >&2
    echo "Without an option it shows what --apply would change, and changes nothing." >&2
    exit 2
}

# Says what is changed, or would be; true if it is to be done.
doing() {
    changes=$((changes + 1))
    echo "$*"
    [ "$mode" != show ]
}

# --- Values of Zimbra's directory (zmprov).

# object_get KIND NAME ATTRIBUTE: KIND is server, domain or config, which has no name.
object_get() {
    case $1 in
    server) zmprov -l gs "$2" "$3" ;;
    domain) zmprov -l gd "$2" "$3" ;;
    config) zmprov -l gcf "$3" ;;
    esac </dev/null | sed -n "/^$3: /,\$p" | sed "1s/^$3: //"
}

# object_set KIND NAME ATTRIBUTE VALUE
object_set() {
    case $1 in
    server) zmprov -l ms "$2" "$3" "$4" ;;
    domain) zmprov -l md "$2" "$3" "$4" ;;
    config) zmprov -l mcf "$3" "$4" ;;
    esac </dev/null >/dev/null
}

# attribute KIND NAME ATTRIBUTE VALUE DEFAULT: sets a value in the place of none or of Zimbra's default, and keeps the old
# one; --rollback puts that back if the value is still ours.
attribute() {
    now=$(object_get "$1" "$2" "$3")
    file=$kept/$1.$2.$3
    if [ "$mode" = rollback ]; then
        [ -f "$file" ] || return 0
        if [ "$now" != "$4" ]; then
            note "$3 of $1 $2 is no longer what this script set: it stays as it is"
        elif doing "zmprov: $3 of $1 $2 becomes '$(cat "$file")' again"; then
            object_set "$1" "$2" "$3" "$(cat "$file")"
        fi
        rm -f "$file"
    elif [ "$now" = "$4" ]; then
        :
    elif [ -n "$now" ] && [ "$now" != "$5" ] && [ ! -f "$file" ]; then
        note "$3 of $1 $2 is '$now', and is not changed. See the manual page how to make it do what this script wants: '$4'"
    elif doing "zmprov: $3 of $1 $2 becomes '$4'"; then
        [ -f "$file" ] || printf '%s' "$now" >"$file"
        object_set "$1" "$2" "$3" "$4"
    fi
}

# --- Lists: a new item, and the list without it.

with_item() {
    V=$1 I=$2 FIRST=$3 awk 'BEGIN {
        v = ENVIRON["V"]; i = ENVIRON["I"]
        if (index(v, i)) print v
        else if (v == "") print i
        else if (ENVIRON["FIRST"] == "first") print i ", " v
        else print v ", " i
    }'
}

without_item() {
    V=$1 I=$2 awk 'BEGIN {
        v = ENVIRON["V"]; i = ENVIRON["I"]; at = index(v, i)
        if (!at) { print v; exit }
        b = substr(v, 1, at - 1); a = substr(v, at + length(i))
        sub(/[ ,]+$/, "", b); sub(/^[ ,]+/, "", a)
        print (b != "" && a != "") ? b ", " a : b a
    }'
}

# The list as it is to be: with the item, or without it again.
list() {
    if [ "$mode" = rollback ]; then without_item "$1" "$2"; else with_item "$@"; fi
}

# milters ATTRIBUTE FIRST: ours in one of Zimbra's lists of milters.
milters() {
    now=$(object_get server "$host" "$1")
    new=$(list "$now" "$milter" "$2")
    [ "$now" = "$new" ] || ! doing "zmprov: $1 of server $host becomes '$new'" || object_set server "$host" "$1" "$new"
}

# --- Settings of main.cf that zmconfigd does not write (postconf).

# Going back, the last first: of a parameter that nothing refers to any more postconf does not tell.
ordered_settings() {
    if [ "$mode" = rollback ]; then settings | sed '1!G;h;$!d'; else settings; fi
}

setting() {
    name=$1 value=$2
    now=$(postconf -c "$postfix_conf" -n 2>/dev/null </dev/null | sed -n "s/^$name = *//p")
    case $name in
    sender_dependent_default_transport_maps | milter_header_checks) new=$(list "$now" "$value" first) ;;
    smtpd_restriction_classes) new=$(list "$now" "$value" last) ;;
    smtpd_forbid_bare_newline)
        # Left as it is when going back: nobody wants smuggled messages.
        [ "$mode" != rollback ] || return 0
        case $(postconf -c "$postfix_conf" -h "$name" 2>/dev/null) in
        normalize | yes | reject) return 0 ;;
        '')
            note "this Postfix has no $name: update Zimbra, or a smuggled message inherits the relay's trust"
            return 0
            ;;
        esac
        new=$value
        ;;
    *) if [ "$mode" = rollback ]; then new=; else new=$value; fi ;;
    esac
    if [ "$now" = "$new" ]; then
        :
    elif [ -z "$new" ]; then
        ! doing "postconf: $name is removed" || postconf -c "$postfix_conf" -X "$name"
    elif doing "postconf: $name = $new"; then
        postconf -c "$postfix_conf" -e "$name=$new"
    fi
}

# --- Files that zmconfigd makes others from.

# replace FILE: the file becomes what is in $work/new, with its mode; shows the difference.
replace() {
    [ -s "$work/new" ] || die "$1: nothing would be left of it"
    if ! diff -u "$1" "$work/new" && doing "$1 changes"; then
        [ "$mode" != apply ] || [ -f "$kept/${1##*/}.before" ] || cp -p "$1" "$kept/${1##*/}.before"
        cp -p "$1" "$1.new"
        chmod u+w "$1.new"
        cat "$work/new" >"$1.new"
        chmod "$(stat -c %a "$1")" "$1.new"
        mv -f "$1.new" "$1"
    fi
}

# The file without anything of ours.
original_master() {
    B=$begin E=$end W=$was awk '
        $0 == ENVIRON["B"] { ours = 1 }
        !ours && index($0, ENVIRON["W"]) == 1 { $0 = substr($0, length(ENVIRON["W"]) + 1) }
        !ours { print }
        $0 == ENVIRON["E"] { ours = 0 }
    ' "$master_cf_in"
}

# The listener that takes mail back from amavis, with our options in the place of its own.
with_listener() {
    if [ "$filter" = no ]; then
        cat
        return
    fi
    B=$begin E=$end W=$was awk '
        /^\[?%%zimbraLocalBindAddress%%\]?:10025[ \t]+inet/ {
            inside = 1
            print
            print ENVIRON["B"]
            print "\t-o cleanup_service_name=conbool-filtered"
            print "\t-o receive_override_options=no_unknown_recipient_checks,no_address_mappings,no_milters"
            print ENVIRON["E"]
            next
        }
        /^[^ \t#]/ && !/^%%/ { inside = 0 }
        inside && /-o (cleanup_service_name|receive_override_options)=/ { print ENVIRON["W"] $0; next }
        { print }
    '
}

master() {
    if [ "$mode" = rollback ]; then
        original_master
    else
        original_master | with_listener
        echo "$begin"
        services
        echo "$end"
    fi >"$work/new"
    replace "$master_cf_in"
}

relay_restrictions() {
    I=$client_access MODE=$mode awk '
        $0 == ENVIRON["I"] { next }
        ENVIRON["MODE"] != "rollback" && $1 == "reject_unauth_destination" { print ENVIRON["I"] }
        { print }
    ' "$relay_cf" >"$work/new"
    replace "$relay_cf"
}

tables() {
    for table in $table_names; do
        file=$zimbra/conf/$table
        if [ "$mode" = rollback ]; then
            [ ! -f "$file" ] || ! doing "$file is removed" || rm -f "$file"
        elif [ ! -f "$file" ] || [ "$(cat "$file")" != "$("table_$table")" ]; then
            ! doing "$file is written" || "table_$table" >"$file"
        fi
    done
}

# --- What must be so before anything is changed.

preconditions() {
    [ "$(id -un)" = "${ZIMBRA_USER:-zimbra}" ] || die "run it as the user zimbra: su - zimbra -c '$0'"
    for file in "$master_cf_in" "$relay_cf"; do
        [ -f "$file" ] || die "$file is not there: this script is for Zimbra 8.7 and later, on its MTA host"
    done
    grep -q '^reject_unauth_destination' "$relay_cf" ||
        die "$relay_cf has no line reject_unauth_destination, before which the relay is let in: look at it first"
    [ "$filter" = no ] || grep -Eq '^\[?%%zimbraLocalBindAddress%%\]?:10025[[:space:]]+inet' "$master_cf_in" ||
        die "$master_cf_in has no listener on port 10025, which takes mail back from amavis: look at it first"
    case $(zmlocalconfig -s -m nokey postjournal_enabled 2>/dev/null || :) in
    [Tt][Rr][Uu][Ee] | 1) die "postjournal is on (zmlocalconfig postjournal_enabled), which takes mail past this wiring" ;;
    esac
    enabled=$(zmprov -l gs "$host" zimbraServiceEnabled </dev/null)
    case "$filter $enabled" in
    yes*amavis*) ;;
    no*amavis*) die "amavis is on: generate this script again without --no-content-filter, or exempt mail skips amavis" ;;
    yes*) die "amavis is off (zimbraServiceEnabled): generate this script again with --no-content-filter" ;;
    esac
}

mode=show
case ${1-} in
'') ;;
--apply) mode=apply ;;
--rollback) mode=rollback ;;
*) usage ;;
esac
[ $# -le 1 ] || usage
host=$(zmhostname)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ "$mode" = rollback ] || preconditions
[ "$mode" = show ] || mkdir -p "$kept"

# What others refer to comes first, and goes last.
if [ "$mode" != rollback ]; then
    tables
    master
fi
relay_restrictions
while IFS= read -r line; do
    setting "${line%%=*}" "${line#*=}"
done <<END_OF_SETTINGS
$(ordered_settings)
END_OF_SETTINGS
milters zimbraMtaSmtpdMilters last
milters zimbraMtaNonSmtpdMilters first
# Without it zmconfigd takes zimbraMtaSmtpdMilters for empty.
attribute server "$host" zimbraMilterServerEnabled TRUE FALSE
while IFS= read -r line; do
    [ -z "$line" ] || attribute server "$host" "${line%%=*}" "${line#*=}" "$(object_get config - "${line%%=*}")"
done <<END_OF_ATTRIBUTES
$(server_attributes)
END_OF_ATTRIBUTES
if [ -n "$released_name" ]; then
    attribute config - zimbraSpamWhitelistHeader "$released_name" X-Whitelist-Flag
    attribute config - zimbraSpamWhitelistHeaderValue "$released_value" YES
fi
if [ -n "$(sieve_script)" ]; then
    for domain in $domains; do
        attribute domain "$domain" zimbraAdminSieveScriptBefore "$(sieve_script)" ''
    done
fi
if [ "$mode" = rollback ]; then
    master
    tables
fi

if [ "$changes" = 0 ]; then
    echo "Everything is as it should be: nothing to change."
elif [ "$mode" = show ]; then
    echo "Nothing has changed yet. To put it in force: $0 --apply"
else
    zmmtactl restart
    if [ "$mode" = apply ]; then
        case $(postconf -c "$postfix_conf" -h smtpd_milters) in
        *"$milter"*) ;;
        *) die "Postfix has no smtpd_milters with $milter: see /opt/zimbra/log/zmconfigd.log; go back with $0 --rollback" ;;
        esac
        echo "In force. To go back: $0 --rollback"
    else
        echo "Everything is as it was before."
    fi
fi
