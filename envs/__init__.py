"""Rules, views, judge and words of the games; the Gymnasium surface.

`gymnasium.make("sparring.envs:sparring/AdversarialTaboo-v0")` imports this package, which registers the environments.
"""

import gymnasium

gymnasium.register(
    "sparring/AdversarialTaboo-v0",
    entry_point="sparring.envs.taboo_env:TabooEnv",
    vector_entry_point="sparring.envs.taboo_vector_env:TabooVectorEnv",
    # The environment refuses a step before a reset itself, and its tests run the checker.
    order_enforce=False,
    disable_env_checker=True,
)
