"""What workers, and pools of them, can run."""

from jobs.ability import Ability, read_ability
from jobs.need import Need
from jobs.outlook import Outlook
from jobs.pool import Pool

BOTH = Ability(frozenset({"INPUT_INITIALIZE", "DIFFUSION"}), {"1": "", "2": ""})
ONE = Ability(frozenset({"DIFFUSION", "INPUT_INITIALIZE"}), {"1": "", "2": "model two needs 9.0 GiB"})


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
    outlook = Outlook(spreads={}, pools={"mixed": Pool(abilities=[BOTH, ONE]), "large": Pool(abilities=[BOTH])})

    assert outlook.able("1|DIFFUSION") == ("mixed", "large")
    assert outlook.able("1 2|DIFFUSION") == ("large",)
    assert outlook.able("3|DIFFUSION") == ()


def test_what_is_missing_is_told_by_the_pool_that_lacks_least() -> None:
    blank = Ability(ONE.stages, {})
    outlook = Outlook(spreads={}, pools={"small": Pool(abilities=[ONE]), "blank": Pool(abilities=[blank])})

    assert outlook.missing(need("1", "2")) == ("model two needs 9.0 GiB",)
    assert outlook.missing(need("1")) == ()
    mixed = Outlook(spreads={}, pools={"mixed": Pool(abilities=[ONE, BOTH])})
    assert mixed.missing(need("2")) == ("some workers of its pool cannot run it: model two needs 9.0 GiB",)
    assert Outlook(spreads={}).missing(need("1")) == ("no worker that takes jobs is alive",)
