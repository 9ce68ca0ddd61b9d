"""The books of token streams, whoever samples."""

import numpy as np
import pytest
import tiny

from sparring.agents.core import Request, Sampling, TurnSpan
from sparring.agents.models.chat_format import ChatFormat
from sparring.agents.models.token_streams import TokenStreams
from sparring.envs.views import Message

SYSTEM, USER, MORE = Message("system", "You are the defender."), Message("user", "It is a fruit."), Message("user", "It is red.")


def request(*messages: Message, turn: int = 0, temperature: float = 1.0, trainable: bool = True) -> Request:
    return Request(None, "s", messages, Sampling(temperature), 0, turn, trainable)  # type: ignore[arg-type]


@pytest.fixture
def streams() -> TokenStreams:
    return TokenStreams(ChatFormat(tiny.tiny_tokenizer("chatml")), "tiny")


def test_two_turns_are_one_segment(streams: TokenStreams):
    first, second = request(SYSTEM, USER, turn=1), request(MORE, turn=3)
    opened = streams.extend(first, version="7", room=1000)
    reply_ids = streams.chat.reply("Do you know?")
    reply = streams.reply(first, reply_ids, [-0.5] * len(reply_ids), "stop", ended=True)
    assert (reply.text, reply.finish, reply.tokens) == ("Do you know?", "stop", len(reply_ids))
    more = streams.extend(second, version="7", room=1000)
    streams.reply(second, reply_ids[:2], [-1.0, -2.0], "length", ended=False)
    assert streams.ids("s") == [*opened, *reply_ids, *more, *reply_ids[:2]]
    (segment,) = streams.close("s")
    assert segment.ids.tolist() == [*opened, *reply_ids, *more, *reply_ids[:2]]
    at = len(opened), len(opened) + len(reply_ids), len(segment.ids) - 2, len(segment.ids)
    assert segment.turns == (TurnSpan(1, at[0], at[1], "stop"), TurnSpan(3, at[2], at[3], "length"))
    assert np.flatnonzero(segment.loss_mask).tolist() == [*range(at[0], at[1]), *range(at[2], at[3])]
    assert segment.logprobs[segment.loss_mask].tolist() == [-0.5] * len(reply_ids) + [-1.0, -2.0]
    assert not segment.logprobs[~segment.loss_mask].any() and segment.weight_version == "7"
    assert streams.close("s") == ()


@pytest.mark.parametrize(("version", "temperature"), [("8", 1.0), ("7", 0.5)])
def test_other_weights_or_temperature_begin_a_segment(streams: TokenStreams, version: str, temperature: float):
    reply_ids = streams.chat.reply("Yes.")
    one, two = request(SYSTEM, USER), request(MORE, temperature=temperature)
    streams.extend(one, version="7", room=1000)
    streams.reply(one, reply_ids, [-1.0] * len(reply_ids), "stop", ended=True)
    streams.extend(two, version=version, room=1000)
    streams.reply(two, reply_ids, [-2.0] * len(reply_ids), "stop", ended=True)
    old, new = streams.close("s")
    assert (old.weight_version, new.weight_version, new.temperature) == ("7", version, temperature)
    assert new.ids[: len(old.ids)].tolist() == old.ids.tolist() and not new.loss_mask[: len(old.ids)].any()
    assert new.logprobs[new.loss_mask].tolist() == [-2.0] * len(reply_ids)


def test_what_is_not_trainable_is_no_action(streams: TokenStreams):
    only = request(SYSTEM, USER, trainable=False)
    streams.extend(only, version="7", room=1000)
    streams.reply(only, streams.chat.reply("Yes."), [-1.0] * len(streams.chat.reply("Yes.")), "stop", ended=True)
    (segment,) = streams.close("s")
    assert not segment.loss_mask.any() and not segment.logprobs.any()


def test_a_prompt_without_room_is_refused_and_not_kept(streams: TokenStreams):
    size = len(streams.chat.open([SYSTEM, USER]))
    with pytest.raises(ValueError, match=f"tiny: the first prompt takes {size} tokens, but the context holds {size}"):
        streams.extend(request(SYSTEM, USER), version="7", room=size)
    assert streams.close("s") == ()
    assert len(streams.extend(request(SYSTEM, USER), version="7", room=size + 1)) == size
