"""What the cache knows of loading: what is here needs none, and of the rest how long it took."""

import time
from dataclasses import dataclass

from gpu_worker.engine.cache import ModelCache


@dataclass
class Weights:
    size_bytes: int


def loading(seconds: float) -> Weights:
    time.sleep(seconds)
    return Weights(10)


def test_what_is_loaded_takes_no_time_and_what_was_put_out_what_it_took() -> None:
    cache = ModelCache(max_bytes=15)
    assert cache.loading_s() == {}

    cache.get("a", lambda: loading(0.05))
    assert cache.loading_s() == {"a": 0.0}

    cache.get("b", lambda: loading(0.0))
    assert "a" not in cache
    assert cache.loading_s()["b"] == 0.0
    assert cache.loading_s()["a"] >= 0.05
