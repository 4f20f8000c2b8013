import pytest

from jobs.catalog import Family
from jobs.stages.diffusion import size_faults


@pytest.mark.parametrize(
    ("family", "width", "height"),
    [
        (Family.SD15, 512, 512),  # 262,144: the least
        (Family.SD15, 1024, 1024),  # 1,048,576: the most
        (Family.SD2, 768, 768),  # 589,824: the least
        (Family.SD2, 576, 1024),  # 589,824
        (Family.SD2, 1024, 1024),
        (Family.SDXL, 512, 512),
        (Family.SDXL, 1344, 1536),  # 2,064,384 of 2,073,600
        (Family.SD3, 1344, 1536),
        (Family.FLUX, 1344, 1536),
    ],
)
def test_sizes_within_the_published_budget_are_taken(family: Family, width: int, height: int) -> None:
    assert size_faults(width, height, family, "stages[1].diffusion") == []


@pytest.mark.parametrize(
    ("family", "width", "height", "paths"),
    [
        (Family.SD15, 1088, 512, ["stages[1].diffusion.width"]),
        (Family.SD15, 512, 1088, ["stages[1].diffusion.height"]),
        (Family.SD15, 1088, 1024, ["stages[1].diffusion.width", "stages[1].diffusion"]),  # 1,114,112 pixels
        (Family.SD2, 512, 512, ["stages[1].diffusion"]),  # 262,144 of at least 589,824
        (Family.SD2, 512, 1024, ["stages[1].diffusion"]),  # 524,288
        (Family.SDXL, 1408, 1536, ["stages[1].diffusion"]),  # 2,162,688
        (Family.SDXL, 1600, 512, ["stages[1].diffusion.width"]),
        (Family.SD3, 1408, 1536, ["stages[1].diffusion"]),
        (Family.FLUX, 1600, 512, ["stages[1].diffusion.width"]),
    ],
)
def test_sizes_outside_it_are_refused_where_they_stand(
    family: Family, width: int, height: int, paths: list[str]
) -> None:
    assert [fault.path for fault in size_faults(width, height, family, "stages[1].diffusion")] == paths
