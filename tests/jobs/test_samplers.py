import pytest

from jobs.catalog import Family
from jobs.samplers import DEFAULT, Sampler, UnknownSampler, canonical, check_goes_with, default_of


@pytest.mark.parametrize(
    ("spelled", "sampler"),
    [
        ("Euler a", Sampler.EULER_A),
        ("Euler_a", Sampler.EULER_A),  # a published client's spelling
        ("euler A", Sampler.EULER_A),
        ("DPM++ 2M Karras", Sampler.DPMPP_2M_KARRAS),
        ("dpm++_2m_karras", Sampler.DPMPP_2M_KARRAS),
        ("DPM++ 2M", Sampler.DPMPP_2M),
        ("DPM++ 3M SDE Karras", Sampler.DPMPP_3M_SDE_KARRAS),
        ("", DEFAULT),
        (" _ ", DEFAULT),
    ],
)
def test_case_spaces_and_underscores_do_not_matter(spelled: str, sampler: Sampler) -> None:
    assert canonical(spelled) is sampler


@pytest.mark.parametrize("sampler", Sampler)
def test_every_sampler_answers_to_its_own_name(sampler: Sampler) -> None:
    assert canonical(sampler.value) is sampler


@pytest.mark.parametrize(
    ("spelled", "hint"),
    [("Euler b", "did you mean 'Euler' or 'Euler a'"), ("zzzzzzzz", "there are 'Euler a', 'Euler'")],
)
def test_an_unknown_name_gets_a_hint(spelled: str, hint: str) -> None:
    with pytest.raises(UnknownSampler, match=f"no sampler is named '{spelled}'; {hint}"):
        canonical(spelled)


def test_a_family_has_a_default_that_goes_with_it() -> None:
    for family in Family:
        check_goes_with(default_of(family), family)
    assert canonical("", default_of(Family.SD3)) is Sampler.EULER


def test_a_sampler_of_noise_does_not_go_with_a_straight_way() -> None:
    with pytest.raises(UnknownSampler, match="with SD3 and FLUX go 'Euler', "):
        check_goes_with(Sampler.DPMPP_2M_KARRAS, Family.SD3)
    check_goes_with(Sampler.DPMPP_2M_KARRAS, Family.SDXL)
