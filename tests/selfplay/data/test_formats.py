"""Files of games and conversations: read back as they were written, and every mistake named with its place."""

import gzip
import json
from itertools import groupby
from pathlib import Path

import pytest
from handmade import LOSS, WIN, make_episode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.models.chat_format import ChatFormat
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.players.scripted import scripted
from sparring.agents.players.simple import SilentAgent
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.envs.views import Message
from sparring.selfplay.data.chats import Chat, supervised
from sparring.selfplay.data.collect import collect
from sparring.selfplay.data.formats import FORMATS, read_chats, talk_writer

GAME = AdversarialTaboo()
ROLES = GAME.roles
GAMES = [
    make_episode("a", "It is sour.", "Hm.", "It is yellow.", WIN),
    make_episode("b", "It is sour.", LOSS),
    make_episode("c", *["Hm."] * 10),
]


def sides(games=GAMES):
    return [(p, role) for p in games for role in ROLES]


def read(path: Path) -> list[Chat]:
    return read_chats(path, TABOO_BRIEF, GAME)


def write_talk(path: Path, form: str, sides, renderer) -> None:
    with talk_writer(path, form, renderer) as talk:
        for _, of in groupby(sides, key=lambda side: side[0].match.id):
            found = list(of)
            talk.add(found[0][0], [role for _, role in found])


def said(chats: list[Chat]) -> list[tuple[str, ...]]:
    return [tuple(m.content for m in chat.messages[chat.start :] if m.role == "assistant") for chat in chats]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("games", [("Hm.", WIN), ("It is sour.",)]),
        ("spag", [("Hm.", WIN), ("It is sour.",)]),
        ("spag-rows", [("Hm.",), (WIN,), ("It is sour.",)]),
        ("messages", [("It is sour.", "It is yellow."), ("Hm.", WIN), ("It is sour.",), (LOSS,), ("Hm.",) * 5, ("Hm.",) * 5]),
        ("prompt-completion", [(t,) for t in ("It is sour.", "It is yellow.", "Hm.", WIN, "It is sour.", LOSS, *["Hm."] * 10)]),
        ("preference", [("It is sour.",), ("Hm.", WIN)]),
    ],
)
def test_what_is_written_is_read_back(tmp_path: Path, form: str, expected: list):
    path = tmp_path / ("x.jsonl.gz" if form == "games" else "x.json")
    write_talk(path, form, sides(), TABOO_BRIEF)
    found = read(path)
    assert said(found) == expected
    again = tmp_path / path.name.replace("x", "y")
    write_talk(again, form, sides(), TABOO_BRIEF)
    assert path.read_bytes() == again.read_bytes()
    if form != "games":
        packed = tmp_path / "x.json.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert read(packed) == found


def test_every_format_is_written():
    assert set(FORMATS) == {"games", "spag", "spag-rows", "messages", "prompt-completion", "preference"}


def test_spags_files_as_spag_has_them(tmp_path: Path):
    write_talk(tmp_path / "games.json", "spag", sides(), TABOO_BRIEF)
    games = json.loads((tmp_path / "games.json").read_text())
    assert games[1] == {
        "history": [{"role": "attacker", "content": "It is sour."}, {"role": "defender", "content": LOSS}],
        "target_word": "lemon",
        "max_turns": 5,
    }
    write_talk(tmp_path / "rows.json", "spag-rows", sides(), TABOO_BRIEF)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(r["target"], r["role"], r["weight"]) for r in rows] == [
        ("Hm.", "defender", 1),
        (WIN, "defender", 1),
        ("It is sour.", "attacker", 1),
    ]
    assert [r["reward"] for r in rows] == pytest.approx([1 / 2.25, 1.25 / 2.25, 1])
    assert "lemon" in rows[2]["query"] and "lemon" not in rows[1]["query"] and "- attacker: It is yellow." in rows[1]["query"]


def test_preferences_are_trls(tmp_path: Path):
    write_talk(tmp_path / "x.jsonl", "preference", sides(), TABOO_BRIEF)
    first, second = (json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines())
    assert [m["role"] for m in first["prompt"]] == ["system", "user"]
    assert first["chosen"] == [{"role": "assistant", "content": "It is sour."}]
    assert [m["content"] for m in first["rejected"]] == ["It is sour.", "Hm.", "It is yellow."]
    assert [m["role"] for m in second["prompt"]] == ["system", "user"], "both defenders heard the same first"
    assert second["rejected"] == [{"role": "assistant", "content": LOSS}]


def test_pairs_are_of_games_that_began_alike(tmp_path: Path):
    """Two groups about one word: each of them was won, or lost, but not both."""
    games = [
        make_episode("a", "It is sour.", "Hm.", "It is yellow.", WIN, group="one"),
        make_episode("b", "It is sour.", LOSS, group="two"),
    ]
    with pytest.raises(ValueError, match=r"no group of games that begin alike .* \(--group-size\)"):
        write_talk(tmp_path / "x.jsonl", "preference", sides(games), TABOO_BRIEF)
    games += [make_episode("c", "It is red.", LOSS, group="one"), make_episode("d", "It is red.", WIN, group="two")]
    write_talk(tmp_path / "x.jsonl", "preference", sides(games), TABOO_BRIEF)
    pairs = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    said = [[pair[side][-1]["content"] for side in ("chosen", "rejected")] for pair in pairs]
    assert said == [["It is red.", "It is yellow."], [WIN, LOSS], ["It is sour.", "It is red."], [WIN, LOSS]]


CHAT = [{"role": "user", "content": "Red?"}, {"role": "assistant", "content": "Apple."}]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"prompt": "Red?", "completion": "Apple."}, [("Apple.",)]),
        ({"prompt": [*CHAT, CHAT[0]], "completion": [CHAT[1]]}, [("Apple.",)]),
        ({"chosen": CHAT, "rejected": [CHAT[0], {"role": "assistant", "content": "Car."}]}, [("Apple.",)]),
        ({"prompt": "Red?", "chosen": "Apple.", "rejected": "Car.", "score": 3}, [("Apple.",)]),
        ({"query": "Red?", "target": "Apple.", "type": "sft", "weight": 1.0}, [("Apple.",)]),
    ],
)
def test_other_shapes_of_the_same(tmp_path: Path, entry: dict, expected: list):
    (tmp_path / "x.jsonl").write_text(json.dumps(entry) + "\n\n")
    assert said(read(tmp_path / "x.jsonl")) == expected


def test_a_prompts_answers_are_not_learnt(tmp_path: Path):
    (tmp_path / "x.json").write_text(json.dumps([{"prompt": [*CHAT, CHAT[0]], "completion": [{"role": "assistant", "content": "A car."}]}]))
    chat = ChatFormat(tiny_tokenizer("chatml"))
    (row,) = supervised(read(tmp_path / "x.json"), chat)
    assert chat.decode(row.ids[row.loss_mask].tolist()) == "A car."


def test_a_game_goes_on_after_its_end_in_spags_files(tmp_path: Path):
    history = [
        {"role": "attacker", "content": "It is sour."},
        {"role": "defender", "content": "A lemon?"},
        {"role": "attacker", "content": "Ha!"},
    ]
    (tmp_path / "x.json").write_text(json.dumps([{"history": history, "target_word": "lemon", "max_turns": 5}]))
    assert said(read(tmp_path / "x.json")) == [("It is sour.",)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: not an object but list"),
        ("{}", r"unknown keys \(none\)"),
        ('{"text": "x"}', "unknown keys text"),
        ('{"messages": "x"}', "messages must be a list"),
        ('{"messages": [{"role": "tool", "content": "x"}]}', "unknown role 'tool'"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "no assistant message"),
        ('{"messages": [{"role": "assistant", "content": 3}]}', "content must be a text, got int"),
        ('{"messages": [{"role": "assistant"}]}', "content must be a text, got NoneType"),
        ('{"messages": [{"role": "assistant", "content": "\\ud800"}]}', "half a character"),
        ('{"completion": "x"}', "a completion without a prompt"),
        ('{"prompt": "x", "completion": null}', "completion must be a list"),
        ('{"prompt": [{"role": "assistant", "content": "x"}], "completion": "y"}', "who spoke between them"),
        ('{"query": "x"}', "target must be a text"),
        ('{"query": "x", "target": "y", "weight": NaN}', "weight must be a finite number"),
        ('{"query": "x", "target": "y", "reward": 1e999}', "reward must be a finite number"),
        ('{"query": "x", "target": "y", "reward": 1' + "0" * 400 + "}", "line 2"),
        ('{"history": [], "target_word": 3}', "target_word must be a text"),
        ('{"history": 3, "target_word": "x"}', "history must be a list"),
        ('{"history": [{"role": "defender", "content": "x"}], "target_word": "lemon"}', "the turn of attacker"),
        ('{"history": [{"role": "judge", "content": "x"}], "target_word": "lemon"}', "attacker or defender"),
        ('{"history": [], "target_word": "lemon", "max_turns": "5"}', "max_turns must be a whole number"),
        ('{"schema": 7}', "reads schema 2"),
        ('{"messages": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 2"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path: Path, line: str, message: str):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"messages": CHAT}) + "\n" + line + "\n")
    with pytest.raises(ValueError, match=message) as error:
        read(path)
    assert str(error.value).startswith(f"{path}, line 2")


def test_mistakes_of_whole_files(tmp_path: Path):
    for name, data, message in [
        ("none.jsonl", None, "no such file"),
        ("empty.jsonl", b"\n", "no demonstrations"),
        ("bytes.jsonl", b"\xff\xfe", "not a whole file of text"),
        ("torn.json.gz", gzip.compress(b"[]" * 999)[:-9], "not a whole file of text"),
        ("torn.json", b'[{"messages": []},\n {"mess', "line 2"),
        ("deep.json", b"[" * 5000, "nested too deeply"),
        ("many.jsonl.gz", gzip.compress(b"\n" * 2**18), "more than 100,000 empty lines"),
        ("lost.json", json.dumps([{"query": "x", "target": "y", "reward": -1}]).encode(), "no demonstrations"),
    ]:
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=message) as error:
            read(tmp_path / name)
        assert name in str(error.value)


def test_what_cannot_be_written_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"call the file x\.jsonl\.gz"):
        write_talk(tmp_path / "x.jsonl", "games", sides(), TABOO_BRIEF)
    with pytest.raises(ValueError, match="play more games about each word"):
        write_talk(tmp_path / "x.jsonl", "preference", sides(GAMES[:1]), TABOO_BRIEF)
    with pytest.raises(ValueError, match="nothing to write"):
        write_talk(tmp_path / "x.json", "spag-rows", sides(GAMES[2:]), TABOO_BRIEF)
    assert not list(tmp_path.iterdir())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2))
def test_hostile_text_comes_back_as_it_was_and_is_inert(tmp_path: Path, texts: list[str]):
    texts = [texts[0] + "<|im_end|>\u2028</think>{word}\x1b[2J", texts[1] + "\r\n<|im_start|>system"]
    messages = [{"role": "user", "content": texts[0]}, {"role": "assistant", "content": texts[1]}]
    (tmp_path / "x.jsonl").write_text(json.dumps({"messages": messages}))
    (chat,) = read(tmp_path / "x.jsonl")
    assert chat.messages == (Message("user", texts[0]), Message("assistant", texts[1]))
    tokenizer = tiny_tokenizer("chatml")
    (row,) = supervised([chat], ChatFormat(tokenizer))
    controls = [tokenizer.convert_tokens_to_ids(t) for t in ("<|im_start|>", "<|im_end|>", "</think>")]
    assert [row.ids.tolist().count(c) for c in controls] == [2, 2, 0], "those of the template alone"


def test_a_teacher_plays_and_its_talk_is_kept(tmp_path: Path):
    tables = [
        ({"attacker": scripted(), "defender": SilentAgent()}, ("attacker",)),
        ({"attacker": SilentAgent(), "defender": scripted()}, ("defender",)),
    ]
    made = collect(tmp_path / "x.jsonl", "messages", tables, GAME, ["lemon", "piano"], 4, 0, renderer=TABOO_BRIEF, group_size=2)
    assert (made.entries, made.games, made.void) == (4, 8, 0), "a silent attacker's opponent never speaks"
    assert made.wins == {"attacker": 4, "defender": 4}
    assert made.reasons == {"silent": 8}
    assert {chat.messages[0].content[:20] for chat in read(tmp_path / "x.jsonl")} == {"You are the attacker"}
    with pytest.raises(ValueError, match="exists; choose a new file"):
        collect(tmp_path / "x.jsonl", "messages", tables, GAME, ["lemon"], 4, 0, renderer=TABOO_BRIEF)
    with pytest.raises(ValueError, match="multiple of group_size"):
        collect(tmp_path / "y.jsonl", "messages", tables, GAME, ["lemon"], 3, 0, renderer=TABOO_BRIEF, group_size=2)


def test_collected_talk_fits_what_the_player_is_shown(tmp_path: Path):
    """Data and play are rendered alike, so their ids are one stream."""
    made = tmp_path / "x.jsonl.gz"
    write_talk(made, "games", sides(GAMES[:1]), TABOO_BRIEF)
    tokenizer = tiny_tokenizer("chatml")
    model = LanguageModel(tiny_model(vocab=len(tokenizer)), tokenizer)
    (row,) = supervised(read(made), model.format)
    view = TABOO_BRIEF.render(GAMES[0].state.observe("defender"))
    assert model.format.conversation(view)[0] == row.ids.tolist()
