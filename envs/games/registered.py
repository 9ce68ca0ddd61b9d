"""Importing this module registers the games of this project and the families of other libraries."""

from ..core import GameSpec, register_family
from . import kuhn_poker, prompts, taboo, tictactoe, twenty_questions

__all__ = ["kuhn_poker", "prompts", "taboo", "tictactoe", "twenty_questions"]


def _textarena(id: str) -> GameSpec:
    try:
        from .textarena import textarena_spec
    except ImportError as error:
        raise ValueError(f"textarena:{id} needs the extra textarena (pip install -e '.[textarena]' in the checkout): {error}") from error
    return textarena_spec(id)


register_family("textarena", _textarena)
