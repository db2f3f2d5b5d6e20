#!/bin/sh
# The licence texts of everything that is linked into the program, to standard output: most of them ask to travel with it.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
make_scratch

# Where cargo unpacked each package: its manifest's folder.
cargo metadata --format-version 1 --locked | grep -o '"manifest_path":"[^"]*"' | sed 's/^.*:"//; s#/Cargo.toml"$##' | sort -u >"$scratch/folders"
cargo tree --locked -p llm-router-cli -e normal --prefix none -f '{p}|{l}' | sed 's/ (\*)//; s/ (proc-macro)//' | sort -u >"$scratch/packages"

echo 'This program is built from the packages below. Each stands with its licence, and with the texts it ships.'
while IFS='|' read -r package licence; do
    case $package in *' ('*) continue ;; esac # of this workspace
    folder=$(awk -v end="/$(echo "$package" | sed 's/ v/-/')" 'substr($0, length($0) - length(end) + 1) == end { print; exit }' "$scratch/folders")
    printf '\n================================================================\n%s: %s\n' "$package" "${licence:-see below}"
    [ -n "$folder" ] || die "$package is nowhere in cargo's folders"
    find "$folder" -maxdepth 2 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) ! -name '*.rs' | sort |
        while read -r text; do
            printf '\n--- %s\n\n' "${text#"$folder"/}"
            cat "$text"
        done
done <"$scratch/packages"
