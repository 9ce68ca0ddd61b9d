"""Rules, views, judge and words of the games; the Gymnasium surface.

`gymnasium.make("sparring.envs:sparring/AdversarialTaboo-v0")` imports this package, which registers an
environment for every game.
"""

import gymnasium

from .core import GAMES
from .games import registered  # noqa: F401  registers the games

for _name in GAMES:
    _kind = "Taboo" if _name.startswith("AdversarialTaboo") else "Game"
    gymnasium.register(
        f"sparring/{_name}-v0",
        entry_point=f"sparring.envs.hosting.gymnasium_env:{_kind}Env",
        vector_entry_point=f"sparring.envs.hosting.gymnasium_vector_env:{_kind}VectorEnv",
        kwargs={"game": _name},
        # The environment refuses a step before a reset itself, and its tests run the checker.
        order_enforce=False,
        disable_env_checker=True,
    )
