"""What workers, and pools of them, can run."""

from jobs.ability import Ability, read_ability
from jobs.job import QueuePlace
from jobs.need import Need
from jobs.outlook import Outlook
from jobs.pool import Pool

BOTH = Ability(frozenset({"INPUT_INITIALIZE", "DIFFUSION"}), {"1": "", "2": ""})
ONE = Ability(frozenset({"DIFFUSION", "INPUT_INITIALIZE"}), {"1": "", "2": "model two needs 9.0 GiB"})


PAUSED = Pool(paused=1, abilities=[BOTH])


def pool(*abilities: Ability) -> Pool:
    return Pool(free_in_s=[0.0] * len(abilities), abilities=abilities)


def need(*models: str, stage: str = "DIFFUSION") -> Need:
    return Need(models, ("INPUT_INITIALIZE", stage))


def test_what_a_worker_lacks_is_told_in_sentences() -> None:
    assert BOTH.lacks(need("1", "2")) == ()
    assert ONE.lacks(need("1", "2")) == ("model two needs 9.0 GiB",)
    assert BOTH.lacks(need("3", stage="IMAGE_TO_INPAINT")) == (
        "the workers do not run IMAGE_TO_INPAINT",
        "the workers do not know model 3",
    )


def test_equal_abilities_have_one_digest_and_are_read_as_they_were_told() -> None:
    again = Ability(frozenset({"DIFFUSION", "INPUT_INITIALIZE"}), {"2": "", "1": ""})

    assert again.digest == BOTH.digest != ONE.digest
    assert read_ability(ONE.text) == ONE


def test_a_pool_can_run_what_all_its_workers_can() -> None:
    outlook = Outlook(spreads={}, pools={"mixed": pool(BOTH, ONE), "large": pool(BOTH), "paused": PAUSED})

    assert outlook.able("1|DIFFUSION") == ("mixed", "large")
    assert outlook.able("1 2|DIFFUSION") == ("large",)
    assert outlook.able("3|DIFFUSION") == ()


def test_what_is_missing_is_told_by_the_pool_that_lacks_least() -> None:
    blank = Ability(ONE.stages, {})
    outlook = Outlook(spreads={}, pools={"small": pool(ONE), "blank": pool(blank)})

    assert outlook.missing(need("1", "2")) == ("model two needs 9.0 GiB",)
    assert outlook.missing(need("1")) == ()
    mixed = Outlook(spreads={}, pools={"mixed": pool(ONE, BOTH)})
    assert mixed.missing(need("2")) == ("some workers of its pool cannot run it: model two needs 9.0 GiB",)
    assert Outlook(spreads={}).missing(need("1")) == ("no worker that takes jobs is alive",)


def does(*stages: str) -> Pool:
    return pool(Ability(frozenset({"INPUT_INITIALIZE", *stages}), {"1": ""}))


def test_where_the_stages_are_spread_over_pools_each_says_what_it_lacks() -> None:
    asked = Need(("1",), ("INPUT_INITIALIZE", "DIFFUSION", "IMAGE_TO_UPSCALER"))
    outlook = Outlook(spreads={}, pools={"a": does("DIFFUSION"), "b": does("IMAGE_TO_UPSCALER")})

    assert outlook.missing(asked) == (
        "no pool of workers can run all of it",
        "pool a: the workers do not run IMAGE_TO_UPSCALER",
        "pool b: the workers do not run DIFFUSION",
    )
    # What nobody has is not told of each.
    assert outlook.missing(need("1", stage="IMAGE_TO_INPAINT")) == ("the workers do not run IMAGE_TO_INPAINT",)


def test_within_a_pool_too_what_some_lack_is_not_told_of_all() -> None:
    one, other = (Ability(frozenset({stage}), {}) for stage in ("DIFFUSION", "IMAGE_TO_UPSCALER"))
    outlook = Outlook(spreads={}, pools={"mixed": pool(one, other)})

    assert outlook.missing(Need((), ("DIFFUSION", "IMAGE_TO_UPSCALER", "IMAGE_TO_INPAINT"))) == (
        "some workers of its pool cannot run it: the workers do not run DIFFUSION",
        "some workers of its pool cannot run it: the workers do not run IMAGE_TO_UPSCALER",
        "the workers do not run IMAGE_TO_INPAINT",
    )


def test_of_many_pools_and_many_things_only_some_are_told() -> None:
    kinds = [f"KIND_{number}" for number in range(8)]
    pools = {kind: does(kind) for kind in kinds}

    told = Outlook(spreads={}, pools=pools).missing(Need((), tuple(kinds)))

    assert told[1].endswith("the workers do not run KIND_4, 3 more")
    assert (len(told), told[-1]) == (6, "nor can 4 more pools")


def test_what_a_paused_pool_can_run_is_possible_and_nobody_takes_it() -> None:
    outlook = Outlook(spreads={}, pools={"paused": PAUSED})

    assert outlook.missing(need("1")) == ()
    assert outlook.able("1|DIFFUSION") == ()
    assert outlook.raw_start_s(QueuePlace(rank=1, length=1, pool="paused", work_before_s=0.0)) is None
