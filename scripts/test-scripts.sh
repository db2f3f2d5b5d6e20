#!/bin/sh
# Tests of the scripts in this folder, and shellcheck where it is installed. Prints `N passed, N failed`.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
make_scratch

passed=0
failed=0

ok() {
    passed=$((passed + 1))
    say "ok    $1"
}

fail() {
    failed=$((failed + 1))
    say "FAIL  $1"
}

# that NAME COMMAND...: the command succeeds.
that() {
    name=$1
    shift
    if "$@" >"$scratch/said" 2>&1; then ok "$name"; else
        fail "$name"
        sed 's/^/      /' "$scratch/said" >&2
    fi
}

not() {
    ! "$@"
}

# A PATH that holds only the named programs, so that a tool can be missing.
bare_path() {
    rm -rf "${scratch:?}/bin"
    mkdir "$scratch/bin"
    for tool in "$@"; do
        ln -s "$(command -v "$tool")" "$scratch/bin/$tool"
    done
}

# fake NAME LINE: a program on the bare PATH.
fake() {
    printf '#!/bin/sh\n%s\n' "$2" >"$scratch/bin/$1"
    chmod +x "$scratch/bin/$1"
}

basics='sh dirname sed find cat date rm mktemp env'

# tools.sh as somebody who is not root and lacks cmake.
# shellcheck disable=SC2086 # words
bare_path $basics
fake cargo 'exit 0'
fake cc 'exit 0'
fake c++ 'exit 0'
fake id 'echo 1000'
fake sudo "echo called >$scratch/sudo"
fake apt-get "echo called >$scratch/apt"
fake python3 'exit 0'
status=0
PATH=$scratch/bin LIBCLANG_PATH=/ scripts/tools.sh >"$scratch/out" 2>"$scratch/err" || status=$?
that 'tools: a missing tool is exit 2 for a user who is not root' test "$status" = 2
that 'tools: the one line that installs it is all of standard output' \
    test "$(cat "$scratch/out")" = 'apt-get install -y --no-install-recommends cmake'
that 'tools: nothing is installed for a user who is not root' test ! -e "$scratch/apt"
that 'tools: sudo is never called' test ! -e "$scratch/sudo"

# The same as root.
fake id 'echo 0'
fake apt-get "echo \"\$*\" >>$scratch/apt"
status=0
PATH=$scratch/bin LIBCLANG_PATH=/ scripts/tools.sh >"$scratch/out" 2>"$scratch/err" || status=$?
that 'tools: root gets what is missing installed' grep -q 'install .*cmake$' "$scratch/apt"
that 'tools: and goes on' test "$status" = 0

# Nothing missing but Python, which is needed only without a model hub.
fake id 'echo 1000'
fake cmake 'exit 0'
fake python3 'exit 1'
status=0
PATH=$scratch/bin LIBCLANG_PATH=/ XDG_CACHE_HOME=$scratch/none scripts/tools.sh >"$scratch/out" 2>"$scratch/err" || status=$?
that 'tools: a missing pip is a note, not an error' test "$status" = 0
that 'tools: the note names the package' grep -q python3-pip "$scratch/err"

# A machine without Rust is told so.
rm "$scratch/bin/cargo"
status=0
PATH=$scratch/bin HOME=$scratch CARGO_HOME=$scratch/none scripts/tools.sh >"$scratch/out" 2>"$scratch/err" || status=$?
that 'tools: a missing cargo is exit 2 and is named' test "$status" = 2 -a -n "$(grep cargo "$scratch/err")"

# readme.sh runs what is marked, and only that.
mkdir "$scratch/doc"
# shellcheck disable=SC2016 # the backquotes are a document's
printf '%s\n' '<!-- runs -->' '```sh' 'test "$(pwd)" = "$HOME"' 'true' '```' '```sh' 'exit 3' '```' >"$scratch/doc/good.md"
# shellcheck disable=SC2016
printf '%s\n' '<!-- runs -->' '```sh' 'false' 'true' '```' >"$scratch/doc/bad.md"
printf '%s\n' 'nothing' >"$scratch/doc/none.md"
that 'readme: a marked block runs, another does not' test "$(scripts/readme.sh "$scratch/doc/good.md" 2>/dev/null)" = '1 passed, 0 failed'
that 'readme: a line that fails fails the block' test "$(scripts/readme.sh "$scratch/doc/bad.md" 2>/dev/null)" = '0 passed, 1 failed'
that 'readme: a document without a marked block is an error' not scripts/readme.sh "$scratch/doc/none.md"

# count-tests.awk reads every runner's last line, and nothing else.
printf '%s\n' '  10 passed' '     Summary [   0.123s] 12 tests run: 9 passed (1 slow), 1 failed, 1 exec failed, 1 timed out, 0 skipped' \
    'test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s' '3 passed, 2 failed' >"$scratch/log"
that 'count: every runner is understood' test "$(awk -f scripts/count-tests.awk "$scratch/log")" = '17 5'
that 'count: nothing said is nothing counted' test "$(awk -f scripts/count-tests.awk /dev/null)" = '0 0'

# installed: what the network denies is asked for again, once made it stays, and what never came is an error.
# shellcheck disable=SC2317,SC2329 # called by name
(
    tool_cache=$scratch/tools
    sleep() { :; }
    flaky() {
        echo tried >>"$scratch/tries"
        [ "$(grep -c tried "$scratch/tries")" = 3 ] && touch "$tools/made"
    }
    never() { return 1; }
    installed kit flaky LICENSE-MIT 2>/dev/null
    [ -e "$tools/made" ] && echo tools >"$scratch/kit"
    installed kit never LICENSE-MIT && echo kept >>"$scratch/kit"
    (installed none never LICENSE-MIT) 2>"$scratch/none" || echo refused >>"$scratch/kit"
)
that 'installed: a failed installation is tried again, and kept' test "$(head -n 2 "$scratch/kit" | paste -s -)" = "tools	kept"
that 'installed: tools that do not come are an error' test "$(tail -n 1 "$scratch/kit")" = refused
that 'installed: the error names them' grep -q '^error: none could not be installed' "$scratch/none"

# docs.sh finds a link that leads nowhere.
mkdir "$scratch/tree" "$scratch/tree/docs"
printf '%s\n' '[a](docs/a.md) [web](https://example.org/x)' >"$scratch/tree/README.md"
that 'docs: a broken link is found' not scripts/docs.sh "$scratch/tree"
printf '%s\n' '[up](../README.md#part)' >"$scratch/tree/docs/a.md"
that 'docs: links that lead somewhere pass' test "$(scripts/docs.sh "$scratch/tree")" = '2 passed, 0 failed'

# make hands a prompt on as it was typed, whatever is in it.
# shellcheck disable=SC2016 # nothing is to expand
prompt='it'\''s $5, "quoted" `and` $(touch '"$scratch"'/pwned) -- 100% \ done'
# shellcheck disable=SC2016
printf '%s\n' 'printf %s "$PROMPT"' >"$scratch/echo.sh"
that 'make run: the prompt arrives as typed' \
    test "$(make --no-print-directory PROMPT="$prompt" RUN="sh $scratch/echo.sh" run)" = "$prompt"
that 'make run: nothing in a prompt is run' test ! -e "$scratch/pwned"

if command -v shellcheck >/dev/null 2>&1; then
    that 'shellcheck' shellcheck -x scripts/*.sh benches/*/*.sh .ci/run
fi

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
