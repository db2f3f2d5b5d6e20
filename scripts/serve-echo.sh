# shellcheck shell=sh
# A server of this program for the scripts that test it from outside. Sourced behind lib.sh and make_scratch, never run.
#
# serve_echo PROGRAM: starts it on a free port over one provider that says "ok" to everything, and sets `address` and `config`. It ends
# with the script.

serve_echo() {
    # shellcheck disable=SC2154 # make_scratch sets it
    config=$scratch/router.toml
    cat >"$config" <<'CONFIG'
[router]
provider = "echo"
fallback = false

[providers.echo]
command = "sh -c 'cat >/dev/null; echo ok'"
default_model = "parrot"
CONFIG
    mkdir -p "$scratch/home"
    mkfifo "$scratch/said"
    env -i HOME="$scratch/home" PATH="$PATH" "$1" --config "$config" serve --port 0 2>"$scratch/said" &
    server=$!
    trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$scratch"' EXIT
    # Opened once and kept: a server whose words nobody takes would end at the next one.
    exec 3<"$scratch/said"
    while read -r line <&3; do
        case $line in
        *'listening on http://'*)
            address=${line##*listening on http://}
            address=http://${address%% *}
            return
            ;;
        *) say "$line" ;;
        esac
    done
    die 'the server ended before it listened'
}
