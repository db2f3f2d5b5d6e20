#!/usr/bin/env python3
"""Writes the golden prompts that crates/local's chat templates are held against.

Each template of `templates/` is rendered over each conversation of `conversations.json` by the `transformers` library itself, through
`apply_chat_template`. Run it after changing either:

    pip install transformers jinja2 tokenizers        # no torch
    python3 crates/local/tests/golden/make.py

`make.py FOLDER OUTPUT.json` does the same for templates elsewhere, to try the engine on templates that are not ours to ship:
`LLM_ROUTER_GOLDEN=OUTPUT.json cargo test -p llm-router-local --test templates`.
"""

import datetime
import json
import pathlib
import sys

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
NOW = 1_772_366_400  # 2026-03-01 12:00 UTC, also in tests/templates.rs


class Clock(datetime.datetime):
    """A clock that stands still, in UTC."""

    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, datetime.timezone.utc)


chat_template_utils.datetime = Clock


def render(source, case, bos, eos):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token=bos, eos_token=eos)
    try:
        text = tokenizer.apply_chat_template(
            case["messages"],
            tools=case.get("tools"),
            chat_template=source,
            add_generation_prompt=case.get("add_generation_prompt", True),
            tokenize=False,
            **case.get("extra", {}),
        )
        return {"text": text}
    except Exception as error:  # whatever the template raises is the golden answer
        return {"error": f"{type(error).__name__}: {error}"}


def main(folder, output):
    conversations = json.loads((HERE / "conversations.json").read_text())
    result = []
    for path in sorted(folder.glob("*.jinja")):
        source = path.read_text()
        bos, eos = "<s>", "</s>"
        cases = {name: render(source, case, bos, eos) for name, case in conversations.items()}
        result.append({"name": path.stem, "source": source, "bos": bos, "eos": eos, "cases": cases})
    output.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    folder, output = (map(pathlib.Path, sys.argv[1:3])) if len(sys.argv) == 3 else (HERE / "templates", HERE / "golden.json")
    main(folder, output)
