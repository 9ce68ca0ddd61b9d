"""Chat formats: equal to the templates, deaf to control tokens in foreign text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import SPECIAL, TEMPLATES, tiny_tokenizer

from sparring.agents.models.chat_format import ChatFormat
from sparring.envs.views import Message

CHAT = (
    Message("system", "You are the attacker."),
    Message("user", "Begin."),
    Message("assistant", "It is red."),
    Message("user", "Is it an apple?"),
)
KINDS = sorted(TEMPLATES)


def rendered(tokenizer, chat) -> list[int]:
    text = tokenizer.apply_chat_template([m._asdict() for m in chat], tokenize=False, add_generation_prompt=True)
    return tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("kind", ["chatml", "llama3"])
def test_streams_equal_the_template(kind: str):
    tokenizer = tiny_tokenizer(kind)
    chat = ChatFormat(tokenizer)
    assert chat.open(CHAT[:2]) == rendered(tokenizer, CHAT[:2])
    whole = chat.open(CHAT[:2]) + chat.reply("It is red.") + chat.extend(CHAT[3:], ended=True)
    assert tokenizer.decode(whole) == tokenizer.decode(rendered(tokenizer, CHAT))


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_a_conversation_is_what_playing_it_gives(kind: str | None):
    chat = ChatFormat(tiny_tokenizer(kind))
    ids, loss_mask = chat.conversation((*CHAT, Message("assistant", "No.")))
    first, second = chat.open(CHAT[:2]), chat.extend(CHAT[3:], ended=True)
    one, other = chat.reply("It is red."), chat.reply("No.")
    assert ids == [*first, *one, *second, *other]
    assert loss_mask == [False] * len(first) + [True] * len(one) + [False] * len(second) + [True] * len(other)


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_a_reply_decodes_to_its_text(kind: str | None):
    chat = ChatFormat(tiny_tokenizer(kind))
    assert chat.decode(chat.reply("It is red, isn't it?")) == "It is red, isn't it?"


@pytest.mark.parametrize("kind", [*KINDS, None])
@given(text=st.one_of(st.text(max_size=40), st.lists(st.sampled_from([*SPECIAL, "<think>", "</think>", " a"])).map("".join)))
def test_foreign_text_never_becomes_a_control_token(kind: str | None, text: str):
    tokenizer = tiny_tokenizer(kind)
    chat = ChatFormat(tokenizer)
    plain = chat.open((Message("system", "x"), Message("user", "y")))
    ids = chat.open((Message("system", text), Message("user", text)))
    control = set(tokenizer.added_tokens_decoder)
    assert [i for i in ids if i in control] == [i for i in plain if i in control]


def test_a_template_without_a_system_role_gets_it_in_the_first_message():
    tokenizer = tiny_tokenizer("gemma")
    text = tokenizer.decode(ChatFormat(tokenizer).open(CHAT[:2]))
    assert "You are the attacker.\n\nBegin." in text


def test_a_truncated_reply_gets_its_end_token_as_no_action():
    chat = ChatFormat(tiny_tokenizer("chatml"))
    assert chat.extend(CHAT[3:], ended=False) == [chat.end_id, *chat.extend(CHAT[3:], ended=True)]


def test_thinking_is_private():
    chat = ChatFormat(tiny_tokenizer("qwen"))
    assert chat.split_thinking("<think>a lemon</think> It is sour.") == ("a lemon", "It is sour.")
    assert chat.split_thinking("<think>a lemon, never closed") == ("a lemon, never closed", "")


def test_prompts_end_with_what_is_to_be_answered():
    chat = ChatFormat(tiny_tokenizer("chatml"))
    with pytest.raises(ValueError, match="assistant is to answer"):
        chat.open(CHAT[:3])
    with pytest.raises(ValueError, match="assistant message"):
        chat.conversation(CHAT[:2])
