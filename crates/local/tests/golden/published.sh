#!/bin/sh
# Holds the engine against the templates of published models, which are not ours to ship: those that the package trl carries, over the
# conversations of this folder, as transformers renders them. Needs Python with pip, and the network. About a minute.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 jinja2==3.1.6 tokenizers
"$work/venv/bin/pip" download --quiet --no-deps --dest "$work" trl==1.16.0
"$work/venv/bin/python" -m zipfile -e "$work"/trl-*.whl "$work/trl"
"$work/venv/bin/python" "$here/make.py" "$work/trl/trl/chat_templates" "$work/golden.json"
cd "$here/../.."
LLM_ROUTER_GOLDEN="$work/golden.json" cargo test --package llm-router-local --test templates
