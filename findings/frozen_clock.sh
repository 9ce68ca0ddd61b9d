#!/usr/bin/env bash
# Surprise: a chat template asks for the date by calling `strftime_now(format)`. Extra arguments of
# `apply_chat_template` are the template's variables, so `apply_chat_template(chat, strftime_now=f)` looks
# like the way to freeze the date. But every function among those arguments reaches the template as the string
# "<function>": the call in the template fails, and a template that first asks whether there is a clock goes
# without a date.
# Package: transformers 5.23.0 (templates of Llama 3 and others call strftime_now)
# Why it matters: prompts change overnight. A run that is resumed, or scored on another day than it was
# played, sees other token ids than the model was trained on, and its log-probabilities are those of another
# prompt.
# What we do: templates are rendered in an environment of our own, whose clock stands at the day that the run
# records.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q transformers==5.23.0 jinja2==3.1.6
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error venv/bin/python - <<'PYTHON'
import datetime
import transformers
from tokenizers import Tokenizer, models

tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
chat = [{"role": "user", "content": "Hello"}]


def frozen(form: str) -> str:
    return datetime.date(2024, 7, 26).strftime(form)


def render(template: str, **variables) -> str:
    try:
        return tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False, **variables)
    except TypeError as error:
        return f"TypeError: {error}"


asks = "{% if strftime_now is callable %}Today is {{ strftime_now('%d %b %Y') }}.{% else %}No date.{% endif %}"
print("transformers", transformers.__version__)
print("the real clock:                    ", render(asks))
print("expected of strftime_now=frozen:    Today is 26 Jul 2024.")
print("seen, template that asks for a clock:", render(asks, strftime_now=frozen))
print("seen, template that calls it:        ", render("{{ strftime_now('%Y') }}", strftime_now=frozen))
print("seen, what the template is given:    ", render("{{ strftime_now }}", strftime_now=frozen))
assert render("{{ strftime_now }}", strftime_now=frozen) == "<function>", "the behaviour is gone"
assert render(asks, strftime_now=frozen) == "No date.", "the behaviour is gone"
PYTHON
