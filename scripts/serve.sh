# shellcheck shell=sh
# Servers for the scripts that test from outside. Sourced behind lib.sh and make_scratch, never run.

# What runs in the background, by its ids; it ends with the script.
servers=
end_servers() {
    for server in $servers; do
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    done
}
# shellcheck disable=SC2154 # make_scratch sets it
trap 'end_servers; rm -rf "$scratch"' EXIT

# serve NAME COMMAND...: starts a server that says where it listens, and sets `address`. What else it says is in NAME.log.
serve() {
    # shellcheck disable=SC2154 # make_scratch sets it
    said=$scratch/$1.said
    log=$scratch/$1.log
    shift
    mkfifo "$said"
    "$@" >"$said" 2>&1 &
    servers="$! $servers"
    exec 3<"$said"
    while read -r line <&3; do
        case $line in
        *'listening on http://'*)
            address=${line##*listening on http://}
            address=http://${address%% *}
            # A server whose words nobody takes would wait for ever.
            cat <&3 >>"$log" &
            servers="$servers $!"
            exec 3<&-
            return
            ;;
        *) say "$line" ;;
        esac
    done
    die "$1 ended before it listened"
}

# serve_router PROGRAM: a router with the configuration in `config`, on a free port, in an empty home.
serve_router() {
    mkdir -p "$scratch/home"
    # shellcheck disable=SC2154 # the script that sources this sets it
    serve router env -i HOME="$scratch/home" PATH="$PATH" "$1" --config "$config" serve --port 0
}
