"""A pool with workers that can run all that tests ask for."""

from typing import Any

from jobs.ability import Ability
from jobs.capabilities import RUNNABLE

POOL = "test"
ABLE = Ability(RUNNABLE, {str(model): "" for model in (*range(100, 110), *range(200, 210))})
MEMBER: dict[str, Any] = {"pool": POOL, "ability": ABLE}
"""What its workers tell of themselves."""
