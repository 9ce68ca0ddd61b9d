"""Rendering of chat templates: as transformers does it, on a fixed day, within bounds."""

import datetime

import pytest
from tiny_formats import FAMILIES, family_tokenizer

from sparring.agents.models import templates
from sparring.agents.models.chat_format import ChatFormat

DAY = datetime.date(2021, 3, 4)
HI = [{"role": "user", "content": "Hi."}]


def rendered(template: str, **variables: str) -> str | None:
    (text,) = templates.render(template, variables, DAY, [(HI, {"add_generation_prompt": True})])
    return text


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("parts", "dated", "channels")])
def test_texts_are_those_of_transformers(family: str):
    tokenizer = family_tokenizer(family)
    chat = [*HI, {"role": "assistant", "content": "Hm </think> ho."}, {"role": "user", "content": "So?"}]
    for options in ({"add_generation_prompt": True}, {"add_generation_prompt": False, "enable_thinking": False}):
        text = tokenizer.apply_chat_template(chat, tokenize=False, **options)
        assert templates.render(tokenizer.chat_template, tokenizer.special_tokens_map, DAY, [(chat, options)]) == [text]


def test_what_transformers_adds_to_jinja_is_there():
    assert rendered("{% generation %}a{% endgeneration %}{{ {'b': 'é'} | tojson }}") == 'a{"b": "é"}'
    assert rendered("{% for m in messages %}{% break %}{{ m.role }}{% endfor %}") == ""
    assert rendered("{{ bos_token }}{{ strftime_now('%d %B %Y, %H:%M') }}", bos_token="<s>") == "<s>04 March 2021, 00:00"
    assert rendered("{{ raise_exception('no') }}") is None
    assert rendered("{{ messages.append(1) }}") is None


@pytest.mark.parametrize(
    ("template", "bounds"),
    [
        ("{{ 'x' * 5000 }}", templates.Bounds(longest=4000)),
        ("{% for i in range(3000) %}xx{% endfor %}", templates.Bounds(longest=4000)),
        ("{#" + "x" * 5000 + "#}", templates.Bounds(longest=4000)),
        ("{{ ('x' * 200000000) | length }}", templates.Bounds(memory=150 << 20)),
        ("{% for i in range(90000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}", templates.Bounds(seconds=1)),
    ],
)
def test_templates_that_take_too_much_are_refused(template: str, bounds: templates.Bounds):
    with pytest.raises(ValueError, match=r"the chat template takes more than .* repair it, or remove it to use the plain format"):
        templates.render(template, {}, DAY, [(HI, {})], bounds)


def test_what_is_no_template_is_refused_in_a_sentence():
    tokenizer = family_tokenizer("chatml")
    for template, message in (
        ("{% if", "is no Jinja template .*; repair it, or remove it to use the plain format"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "cannot probe .* play openai:MODEL@URL"),
        ("{{ undefined.name }}", "cannot probe"),
    ):
        tokenizer.chat_template = template
        with pytest.raises(ValueError, match=message):
            ChatFormat(tokenizer)
