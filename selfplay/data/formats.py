"""Files of games and conversations, read and written: the one module that knows their formats.

- games: sparring's own lines, as in rounds/NNN/games.jsonl.gz
- spag: SPAG's games {"history": [{"role", "content"}], "target_word", "max_turns"}
- spag-rows: SPAG's training rows {"query", "target", "reward", "weight"}
- messages: TRL's conversations {"messages": [{"role", "content"}]}
- prompt-completion: TRL's {"prompt", "completion"}, of messages or of plain text
- preference: TRL's {"prompt", "chosen", "rejected"}, the same; without a prompt it is what both have in common

JSON lines or one JSON array, also compressed (.gz); what a file holds is told by the keys of each entry. Texts are only carried: a chat
format turns them into ids, in which no text can act as a control token.
"""

import gzip
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any, Literal, get_args

from sparring.agents.rollout import Episode
from sparring.envs.core import VOID, Game, State, Task, make_game, replay
from sparring.envs.text_files import first_character, parse_json, read_lines, read_text
from sparring.envs.views import Message, Renderer, brief

from ..objectives.advantages import role_weights, spag_turn_rewards
from ..storage.episodes import episode_writer, parse_record
from ..storage.folder import writing
from .chats import Chat, Conversation, own_view

Format = Literal["games", "spag", "spag-rows", "messages", "prompt-completion", "preference"]
FORMATS: tuple[str, ...] = get_args(Format)
ROLES = ("system", "user", "assistant")
Sides = Sequence[tuple[Episode, str]]
"""Games, and the role in each whose talk is meant."""
LARGEST_ARRAY = 1 << 30
"""Bytes of the largest JSON array; larger files are of JSON lines, which are read one by one."""
_EXAMPLE = '{"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"}]}'


def read_chats(path: Path, renderer: Renderer, game: Game) -> list[Chat]:
    """The demonstrations in a file of any format.

    Of games the winner's side, shown by the renderer; SPAG's are judged by `game` and end where it says. Of preferences the chosen side. Of
    SPAG's rows those with a reward above 0, by their weight. Raises ValueError naming the file and the line (of an array: the entry) that
    cannot be read, and for a file without any.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file of conversations")
    chats: list[Chat] = []
    for where, entry in _entries(path):
        try:
            chats += _chats(entry, where, renderer, game)
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            text = f"{where}: " * (where not in str(error)) + brief(error)
            raise ValueError(f"{text}; formats are {', '.join(FORMATS)}, as in {_EXAMPLE}") from error
    if not chats:
        raise ValueError(f"{path}: no demonstrations in this file")
    return chats


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Each entry with its place, for messages."""
    if first_character(path) == "[":
        entries = _parsed(read_text(path, LARGEST_ARRAY), f"{path}")
        yield from ((f"{path}, entry {n}", entry) for n, entry in enumerate(entries, 1))
        return
    for where, line in read_lines(path):
        if isinstance(line, ValueError):
            raise line
        yield where, _parsed(line, where)


def _parsed(text: str, where: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}; an entry looks like {_EXAMPLE}") from error


def _chats(entry: Any, where: str, renderer: Renderer, game: Game) -> list[Chat]:
    if not isinstance(entry, Mapping):
        raise ValueError(f"not an object but {type(entry).__name__}")
    keys = entry.keys()
    if "schema" in keys:
        return _winning(parse_record(json.dumps(entry), where).replayed(), renderer)
    if "history" in keys:
        return _winning(_spag_game(entry, game), renderer)
    if "query" in keys:
        weight, reward = (_number(entry.get(name, 1.0), name) for name in ("weight", "reward"))
        said = Message("user", _text(entry["query"], "query")), Message("assistant", _text(entry.get("target"), "target"))
        return [Chat(said, weight=weight)] if reward > 0 and weight > 0 else []
    if "messages" in keys:
        return [Chat(_learnable(_messages(entry["messages"], "messages")))]
    for name in ("completion", "chosen"):
        if name in keys:
            return [_completed(entry, name)]
    raise ValueError(f"unknown keys {', '.join(sorted(map(str, keys))) or '(none)'}")


def _completed(entry: Mapping[str, Any], name: str) -> Chat:
    """A prompt and what is to be said after it."""
    said = _messages(entry[name], name, "assistant")
    if "prompt" in entry:
        prompt = _messages(entry["prompt"], "prompt", "user")
    elif name == "chosen":
        other = _messages(entry.get("rejected"), "rejected", "assistant")
        prompt = tuple(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(said, other, strict=False)))
        said = said[len(prompt) :]
    else:
        raise ValueError("a completion without a prompt")
    if prompt and said and prompt[-1].role == said[0].role == "assistant":
        raise ValueError(f"the prompt ends with the assistant, and {name} begins with it: who spoke between them?")
    _learnable(said)
    return Chat(prompt + said, len(prompt))


def _learnable(messages: Conversation) -> Conversation:
    if not any(message.role == "assistant" for message in messages):
        raise ValueError("no assistant message to learn from")
    return messages


def _messages(data: Any, name: str, plain: str | None = None) -> Conversation:
    """Messages; a plain text is one message of the role `plain`."""
    if isinstance(data, str) and plain is not None:
        return (Message(plain, _text(data, name)),)
    if not isinstance(data, list):
        raise ValueError(f"{name} must be a list of messages, got {type(data).__name__}")
    found = []
    for one in data:
        if not isinstance(one, Mapping) or one.get("role") not in ROLES:
            role = one.get("role") if isinstance(one, Mapping) else one
            raise ValueError(f"unknown role {role!r} in {name}; roles are {', '.join(ROLES)}")
        found.append(Message(one["role"], _text(one.get("content"), "content")))
    return tuple(found)


def _text(data: Any, name: str) -> str:
    if not isinstance(data, str):
        raise ValueError(f"{name} must be a text, got {type(data).__name__}")
    try:
        data.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half a character ({error.reason})") from error
    return data


def _number(data: Any, name: str) -> float:
    if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
        raise ValueError(f"{name} must be a finite number, got {data!r}")
    return float(data)


def _spag_game(entry: Mapping[str, Any], game: Game) -> State:
    """A game of SPAG played again by ours; what was said after its end counts for nothing, as in SPAG's own rewards."""
    word = _text(entry.get("target_word"), "target_word")
    turns = entry.get("max_turns", 5)
    if isinstance(turns, bool) or not isinstance(turns, int):
        raise ValueError(f"max_turns must be a whole number, got {turns!r}")
    if game.roles != ("attacker", "defender"):
        raise ValueError(f"SPAG's games are of Adversarial Taboo; this run plays {game.name}")
    if not isinstance(entry["history"], list):
        raise ValueError("history must be a list of messages")
    state = make_game(game.name, **{**game.config(), "max_turns": turns}).start(Task("spag", word, word, 0))
    for one in entry["history"]:
        if not isinstance(one, Mapping) or one.get("role") not in game.roles:
            raise ValueError("an entry of history needs a role, attacker or defender, and a content")
        if state.to_act is None:
            break
        if one["role"] != state.to_act:
            raise ValueError(f"{one['role']} speaks in history where it is the turn of {state.to_act}")
        state = state.apply(_text(one.get("content"), "content"))
    return state


def _winning(state: State, renderer: Renderer) -> list[Chat]:
    winner = state.outcome and state.outcome.winner
    view = own_view(state, winner, renderer) if winner else ()
    for message in view:
        _text(message.content, "an utterance")
    return [Chat(view, role=winner)] if winner and view else []


class Talk:
    """Talk of games on its way into a file. entries: how many were written; games: of so many."""

    def __init__(self, form: str, renderer: Renderer, write: Callable[[Any], None]) -> None:
        self.form, self.renderer, self._write = form, renderer, write
        self.entries = self.games = 0
        self._late: list[tuple[Episode, str]] = []

    def add(self, episode: Episode, roles: Iterable[str]) -> None:
        """What these roles said in a game; nothing of a void one. Raises ValueError where the format cannot hold the game."""
        sides = [(episode, role) for role in roles]
        if episode.outcome.reason == VOID or not sides:
            return
        if self.form.startswith("spag") and episode.match.game.roles != ("attacker", "defender"):
            raise ValueError(f"format {self.form} is of Adversarial Taboo alone; write messages")
        self.games += 1
        if self.form in _OF_ALL:
            self._late += [(replace(episode, segments={}), role) for role in roles]
        else:
            self._put(sides)

    def end(self) -> None:
        """Writes what depends on all games. Raises ValueError where nothing was written at all."""
        self._put(self._late)
        if not self.entries:
            unlike = (
                ": no group of games that begin alike was both won and lost by one role; play more games about each word (--group-size)"
            )
            more = unlike if self.form == "preference" else ""
            raise ValueError(f"nothing to write as {self.form} in {self.games} games{more}")

    def _put(self, sides: Sides) -> None:
        for entry in _WRITERS[self.form](sides, self.renderer):
            self._write(entry)
            self.entries += 1


@contextmanager
def talk_writer(path: Path, form: str, renderer: Renderer) -> Iterator[Talk]:
    """A file of talk in a format, written as games come; it is there, whole, when the block ends well, else absent.

    games and spag hold the games themselves; spag-rows the winners' utterances with SPAG's rewards and weights; messages a conversation
    per role; prompt-completion an entry per utterance; preference pairs of a game won and a game lost by one role in a group of games that
    begin alike, as method dpo makes them. For spag-rows and preference games are kept in memory to the end: weights and pairs are of all
    of them. Raises ValueError for a name that does not fit the format, and where nothing is there to write.
    """
    with episode_writer(path) if form == "games" else json_writer(path, as_array=form.startswith("spag")) as write:
        talk = Talk(form, renderer, write)
        yield talk
        talk.end()


@contextmanager
def json_writer(path: Path, *, as_array: bool) -> Iterator[Callable[[Any], None]]:
    """Writes entries one by one, compressed where the name says so."""
    before, between, after = ("[\n", ",\n", "\n]\n") if as_array else ("", "\n", "\n")
    with (
        writing(path) as aside,
        aside.open("wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) if path.suffix == ".gz" else nullcontext(raw) as file,
    ):
        ahead = before

        def write(entry: Any) -> None:
            nonlocal ahead
            file.write((ahead + json.dumps(entry, ensure_ascii=True, allow_nan=False)).encode())
            ahead = between

        yield write
        file.write(after.encode())


def _as_data(messages: Iterable[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def _views(sides: Sides, renderer: Renderer) -> Iterator[tuple[Episode, str, Conversation]]:
    for p, role in sides:
        view = own_view(p.state, role, renderer)
        if view:
            yield p, role, view


def _as_messages(sides: Sides, renderer: Renderer) -> Iterator[Any]:
    for _, _, view in _views(sides, renderer):
        yield {"messages": _as_data(view)}


def _as_completions(sides: Sides, renderer: Renderer) -> Iterator[Any]:
    for _, _, view in _views(sides, renderer):
        for i, message in enumerate(view):
            if message.role == "assistant":
                yield {"prompt": _as_data(view[:i]), "completion": _as_data([message])}


def _as_preferences(sides: Sides, renderer: Renderer) -> Iterator[Any]:
    def place(found: tuple[Episode, str, Conversation]) -> tuple[str, str]:
        return found[0].match.task.group, found[1]

    for _, group in groupby(sorted(_views(sides, renderer), key=place), key=place):
        views: dict[bool, list[Conversation]] = {True: [], False: []}
        for p, role, view in group:
            if p.outcome.winner is not None:
                views[p.outcome.winner == role].append(view)
        for chosen, rejected in zip(views[True], views[False], strict=False):
            same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(chosen[:-1], rejected[:-1], strict=False))))
            same = next((i for i, m in enumerate(chosen[:same]) if m.role == "assistant"), same)
            yield {"prompt": _as_data(chosen[:same]), "chosen": _as_data(chosen[same:]), "rejected": _as_data(rejected[same:])}


def _as_games(sides: Sides, renderer: Renderer) -> Iterator[Any]:
    yield from {p.match.id: p for p, _ in sides}.values()


def _as_spag_games(sides: Sides, renderer: Renderer) -> Iterator[Any]:
    for p in {p.match.id: p for p, _ in sides}.values():
        history = [{"role": u.role, "content": u.text} for u in p.state.utterances]
        yield {"history": history, "target_word": p.match.task.secret, "max_turns": p.match.game.horizon // 2}


def _as_spag_rows(sides: Sides, renderer: Renderer) -> Iterator[Any]:
    won = [(p, role) for p, role in sides if p.outcome.winner == role]
    weights = role_weights([role for _, role in won], cap=math.inf)
    for p, role in won:
        turns = [i for i, u in enumerate(p.state.utterances) if u.role == role]
        for turn, reward in zip(turns, spag_turn_rewards(len(turns)), strict=True):
            query = _as_query(p, role, turn, renderer)
            target = p.state.utterances[turn].text.strip()
            yield {"query": query, "target": target, "reward": float(reward), "role": role, "weight": weights[role]}


def _as_query(episode: Episode, role: str, turn: int, renderer: Renderer) -> str:
    """Rules and history in one text, before an utterance."""
    before = replay(episode.match.game, episode.match.task, episode.state.utterances[:turn])
    rules = renderer.render(before.observe(role))[0].content
    history = "".join(f"\n- {u.role}: {u.text}" for u in before.utterances) or "\n(nothing yet)"
    return f"{rules}\n\nThe game so far:{history}\n\nThe {role} says:"


_WRITERS: Mapping[str, Callable[[Sides, Renderer], Iterator[Any]]] = {
    "games": _as_games,
    "spag": _as_spag_games,
    "spag-rows": _as_spag_rows,
    "messages": _as_messages,
    "prompt-completion": _as_completions,
    "preference": _as_preferences,
}
_OF_ALL = ("spag-rows", "preference")
"""Formats whose entries depend on all games together."""
