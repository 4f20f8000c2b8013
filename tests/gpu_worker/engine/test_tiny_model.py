import stat
from pathlib import Path

from gpu_worker import tiny_model


def weights(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.safetensors")}


def test_two_builds_are_the_same_to_the_byte(folders: dict[str, Path], tmp_path: Path) -> None:
    tiny_model.build(tmp_path / "again")

    assert weights(tmp_path / "again") == weights(folders["tiny"])
    assert len(weights(folders["tiny"])) == 3


def test_a_complete_model_is_left_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    index = folders["tiny"] / "model_index.json"
    before = index.stat().st_mtime_ns

    tiny_model.build(folders["tiny"])

    assert index.stat().st_mtime_ns == before


def test_nothing_else_is_left_behind_and_all_may_read(tmp_path: Path) -> None:
    tiny_model.build(tmp_path / "deep" / "model")

    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"]
    assert stat.S_IMODE((tmp_path / "deep" / "model").stat().st_mode) == 0o755


def test_it_is_small(folders: dict[str, Path]) -> None:
    assert sum(map(len, weights(folders["tiny"]).values())) < 25_000_000
