"""Renders chat templates in a separate process with bounds on time and memory: a template is a program that
came with a model.

The process runs this file as a script with Jinja2 alone, configured as in transformers.
"""

import datetime
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Bounds:
    """Bounds for rendering a few short chats. seconds: total CPU time. memory: bytes of the process. longest:
    characters of the template, and of each text."""

    seconds: int = 3
    memory: int = 1 << 30
    longest: int = 1 << 20

    @property
    def broken(self) -> str:
        return (
            f"the chat template takes more than {self.seconds} s, {self.memory >> 20} MiB or {self.longest} characters for a chat of a few "
            "words; repair it, or remove it to use the plain format"
        )


_PATIENCE = 100
"""Wall time limit as a multiple of the CPU time limit, for busy machines and for systems without CPU time
limits."""

Chat = Sequence[Mapping[str, Any]]


def render(
    template: str,
    variables: Mapping[str, Any],
    day: datetime.date,
    chats: Sequence[tuple[Chat, Mapping[str, Any]]],
    bounds: Bounds = Bounds(),
) -> list[str | None]:
    """The text of each chat, or None where the template refuses it.

    variables: what the template may read besides the chat (special tokens). day: the date that its clock
    shows, at midnight. chats: messages with the options of apply_chat_template. Raises ValueError for an
    invalid template, and for one that exceeds the bounds.
    """
    if len(template) > bounds.longest:
        raise ValueError(bounds.broken)
    task = {"template": template, "variables": dict(variables), "day": day.isoformat(), "chats": chats, "bounds": vars(bounds)}
    return list(_rendered(json.dumps(task, default=str), bounds))


@lru_cache(maxsize=64)
def _rendered(task: str, bounds: Bounds) -> tuple[str | None, ...]:
    # -P: the folder of this file does not come into the search path.
    command = [sys.executable, "-P", __file__]
    try:
        done = subprocess.run(command, input=task, capture_output=True, encoding="utf-8", check=False, timeout=_PATIENCE * bounds.seconds)
    except subprocess.TimeoutExpired:
        raise ValueError(bounds.broken) from None
    if done.returncode < 0 or "MemoryError" in done.stderr:
        raise ValueError(bounds.broken)
    if done.returncode:
        raise RuntimeError(f"chat templates cannot be rendered here: {done.stderr[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    if "wrong" in result:
        raise ValueError(result["wrong"])
    return tuple(result["texts"])


def _limit(bounds: Bounds) -> None:
    """Sets the bounds of this process, as far as the system supports them."""
    try:
        import resource
    except ImportError:
        return
    for kind, bound in ((resource.RLIMIT_AS, bounds.memory), (resource.RLIMIT_CPU, bounds.seconds), (resource.RLIMIT_CORE, 0)):
        _, highest = resource.getrlimit(kind)
        if highest == resource.RLIM_INFINITY or highest > bound:
            with suppress(ValueError, OSError):  # macOS knows no bound on addresses
                resource.setrlimit(kind, (bound, highest))


def _compiled(template: str, day: datetime.date) -> Any:
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """The tag {% generation %} around assistant text; it does not change the text."""

        tags = {"generation"}  # noqa: RUF012  Jinja declares it so

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body).set_lineno(line)

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = datetime.datetime.combine(day, datetime.time()).strftime
    return environment.from_string(template)


def _answer(task: dict[str, Any]) -> dict[str, Any]:
    """The process's output: {"texts": [...]}, or {"wrong": sentence}."""
    bounds = Bounds(**task["bounds"])
    try:
        template = _compiled(task["template"], datetime.date.fromisoformat(task["day"]))
    except MemoryError:
        return {"wrong": bounds.broken}
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return {"wrong": f"the chat template is no Jinja template ({reason!r}); repair it, or remove it to use the plain format"}
    texts: list[str | None] = []
    for messages, options in task["chats"]:
        variables = {"tools": None, "documents": None, **task["variables"], **options}
        try:
            text = template.render(messages=messages, **variables)
        except MemoryError:
            return {"wrong": bounds.broken}
        except Exception:  # templates refuse by whatever Jinja raises
            texts.append(None)
            continue
        if len(text) > bounds.longest:
            return {"wrong": bounds.broken}
        texts.append(text)
    return {"texts": texts}


if __name__ == "__main__":
    task = json.load(sys.stdin)
    _limit(Bounds(**task["bounds"]))
    print(json.dumps(_answer(task)))
