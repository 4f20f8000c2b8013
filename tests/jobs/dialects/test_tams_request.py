import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from jobs.capabilities import unsupported
from jobs.dialects.tams_request import parse_stages
from jobs.errors import InvalidSubmission
from jobs.stages.input_initialize import InputInitialize
from jobs.submission import Submission
from tests.jobs.dialects.parsing import CATALOG, diffusion_of, faults, parse, refusals, with_stage
from tests.jobs.samples import body

GOLDEN = sorted((Path(__file__).parent / "golden" / "requests").glob("*.json"))
BOUNDS = {"start_within_s", "end_within_s", "attempt_within_s"}
SUBMISSION = TypeAdapter(Submission)


def input_of(**fields: Any) -> InputInitialize:
    asked = body()
    asked["stages"][0]["inputInitialize"] = fields
    stage = parse(asked).stages[0]
    assert isinstance(stage, InputInitialize)
    return stage


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_what_clients_send_becomes_the_submission_they_mean(file: Path) -> None:
    golden = json.loads(file.read_text())

    if "faults" in golden:
        assert faults(golden["body"]) == golden["faults"]
        return
    submission = parse(golden["body"])
    # Its bounds come with the request, and not in the body.
    assert SUBMISSION.dump_python(submission, mode="json", exclude=BOUNDS) == golden["submission"]
    assert {fault.path: fault.reason for fault in unsupported(submission)} == golden["unsupported"]


def test_every_field_of_the_published_schema_is_known() -> None:
    golden = json.loads((GOLDEN[0].parent / "guide_schema.json").read_text())

    # Its values are placeholders, many of them of another type: what is refused is refused for that.
    assert not [reason for reason in golden["faults"].values() if "is not a field" in reason]


def test_stages_alone_can_be_parsed_for_their_price() -> None:
    asked = with_stage("IMAGE_TO_ADETAILER", "imageToAdetailer", {"args": [{}]})

    assert parse_stages({"stages": asked["stages"]}, CATALOG) == parse(asked).stages
    with pytest.raises(InvalidSubmission, match=r"stages\[1\]\.diffusion\.steps.*requestId"):
        parse_stages(body(steps=61) | {"requestId": "r"}, CATALOG)


@pytest.mark.parametrize("seed", [0, -1, "0", "-1", None])
def test_seeds_that_mean_any_are_open(seed: Any) -> None:
    assert input_of(seed=seed).seed is None
    assert input_of().seed is None


@pytest.mark.parametrize("seed", [1, "1", 4294967295, "4294967295"])
def test_a_seed_is_kept_as_number_or_string(seed: Any) -> None:
    assert input_of(seed=seed).seed == int(seed)


def test_all_faults_of_all_stages_come_at_once_with_their_paths() -> None:
    asked = {
        "notifyUrl": "ftp://x",
        "stages": [
            {"type": "INPUT_INITIALIZE", "inputInitialize": {"seed": 4294967296, "count": 5}},
            {
                "type": "DIFFUSION",
                "diffusion": {
                    "steps": 61,
                    "cfgScale": 30.5,
                    "width": 500,
                    "sampler": "none such",
                    "sdModel": "none such",
                    "prompts": [{"text": 5}, {"weight": 11}],
                },
            },
            {"type": "DIFFUSION", "diffusion": {}},
        ],
    }

    assert set(faults(asked)) == {
        "requestId",
        "notifyUrl",
        "stages[0].inputInitialize.seed",
        "stages[0].inputInitialize.count",
        "stages[1].diffusion.steps",
        "stages[1].diffusion.cfgScale",
        "stages[1].diffusion.width",
        "stages[1].diffusion.sampler",
        "stages[1].diffusion.sdModel",
        "stages[1].diffusion.prompts[0].text",
        "stages[1].diffusion.prompts[1].weight",
        "stages[2].type",
        "stages[2].diffusion.prompts",
    }


def test_a_path_has_the_senders_spelling() -> None:
    assert set(faults(body(cfg_scale="x", clipSkip="x"))) == {
        "stages[1].diffusion.cfg_scale",
        "stages[1].diffusion.clipSkip",
    }


@pytest.mark.parametrize("field", ["width", "height", "steps", "clipSkip"])
@pytest.mark.parametrize(
    "value",
    [True, False, "", "x", "1e2", "NaN", "Infinity", 512.5, [], {}, float("inf"), float("nan"), "9" * 5000, 10**400],
)
def test_what_is_no_integer_of_its_range_is_refused(field: str, value: Any) -> None:
    assert set(faults(body(**{field: value}))) == {f"stages[1].diffusion.{field}"}


@pytest.mark.parametrize("field", ["cfgScale", "denoisingStrength"])
@pytest.mark.parametrize(
    "value", [True, "", "x", "nan", "NaN", "inf", "-Infinity", float("nan"), float("inf"), [], -0.1, 31]
)
def test_what_is_no_finite_number_of_its_range_is_refused(field: str, value: Any) -> None:
    assert set(faults(body(**{field: value}))) == {f"stages[1].diffusion.{field}"}


@pytest.mark.parametrize("field", ["sampler", "sdModel", "sdVae"])
@pytest.mark.parametrize("value", [1, True, [], {}, "a\0b", "x" * 257])
def test_what_is_no_short_text_is_refused(field: str, value: Any) -> None:
    assert set(faults(body(**{field: value}))) == {f"stages[1].diffusion.{field}"}


def test_null_is_absent() -> None:
    names = [
        "width",
        "height",
        "sampler",
        "sdModel",
        "steps",
        "cfgScale",
        "negativePrompts",
        "lora",
        "denoisingStrength",
    ]

    assert diffusion_of(**dict.fromkeys(names)) == diffusion_of()


@pytest.mark.parametrize("name", ["stepz", "Steps", "cfgscale", "foo_bar", "__class__", "", "model_config"])
def test_an_unknown_field_is_refused_by_the_name_that_was_sent(name: str) -> None:
    assert "is not a field here" in faults(body(**{name: 1}))[f"stages[1].diffusion.{name}"]


@pytest.mark.parametrize(("name", "meant"), [("widht", "width"), ("CFG_Scale", "cfgScale"), ("model", "sdModel")])
def test_a_field_that_is_nearly_one_is_told_which(name: str, meant: str) -> None:
    assert faults(body(**{name: 1}))[f"stages[1].diffusion.{name}"].startswith(
        f"is not a field here; did you mean '{meant}'"
    )


def test_a_field_that_comes_twice_is_told_so() -> None:
    reason = faults(body(cfgScale=7, cfg_scale=8))["stages[1].diffusion.cfg_scale"]

    assert reason == "is a second spelling of 'cfgScale', which is there already; send one of them"


def test_a_text_that_is_too_long_is_told_in_characters() -> None:
    reason = faults(body(prompts=[{"text": "a" * 20_001}]))["stages[1].diffusion.prompts[0].text"]

    assert reason == "must have at most 20000 characters"


def test_unknown_fields_are_refused_at_every_level() -> None:
    asked = body(prompts=[{"text": "a", "strength": 1}])
    asked["stages"][0]["note"] = "a"
    asked["callbackUrl"] = "https://x.example"

    assert set(faults(asked)) == {"stages[1].diffusion.prompts[0].strength", "stages[0].note", "callbackUrl"}


def test_one_field_in_two_spellings_is_refused() -> None:
    assert "second spelling" in faults(body(sdModel="photon", sd_model="sdxl"))["stages[1].diffusion.sd_model"]


def test_the_faults_of_size_and_steps_show_beside_others() -> None:
    asked = body(sdModel="sdxl", width=1536, height=1536, sampler="LCM", steps=55, cfg_scale="x", foo=1)

    assert set(faults(asked)) == {
        "stages[1].diffusion",  # 2,359,296 pixels
        "stages[1].diffusion.steps",
        "stages[1].diffusion.cfg_scale",
        "stages[1].diffusion.foo",
    }


@pytest.mark.parametrize(
    ("faulty", "others"),
    [
        ("width", {"height": 512, "sdModel": "sd2"}),  # 512 × 512 would be too small
        ("height", {"width": 512, "sdModel": "sd2"}),
        ("sdModel", {"width": 1536, "height": 1024}),  # too large for the default model
        ("sampler", {"steps": 55}),
    ],
)
def test_but_not_where_what_they_rest_on_could_not_be_read(faulty: str, others: dict[str, Any]) -> None:
    assert set(faults(body(**others, **{faulty: []}))) == {f"stages[1].diffusion.{faulty}"}


def test_a_hundred_faults_are_told() -> None:
    assert len(faults(body(**{f"unknown{i}": 1 for i in range(20_000)}))) == 100


def test_what_the_service_cannot_do_shows_beside_what_is_wrong() -> None:
    asked = with_stage("IMAGE_TO_ANIMATE_DIFF", "image_to_animate_diff", {"args": [{}]}, steps=61, enable_ella=True)

    assert set(refusals(asked)) == {
        "stages[1].diffusion.steps",
        "stages[1].diffusion.enable_ella",
        "stages[2].type",
    }


def test_a_path_of_the_second_look_has_the_senders_spelling_too() -> None:
    asked = body(sd_model="none such", negative_prompts=[{"text": "x" * 10_001}] * 2, control_net={"args": [{}]})
    asked["stages"].append({"type": "IMAGE_TO_UPSCALER", "image_to_upscaler": {"hr_upscaler": "none such"}})

    assert {
        "stages[1].diffusion.sd_model",
        "stages[1].diffusion.negative_prompts",
        "stages[2].image_to_upscaler.hr_upscaler",
    } <= set(faults(asked))


def test_a_private_model_opens_to_its_key() -> None:
    assert diffusion_of(sdModel="secret", modelAccessKey="open sesame").model == "5"
    assert (
        "no CHECKPOINT has the id, name or alias 'secret'"
        in faults(body(sdModel="secret"))["stages[1].diffusion.sdModel"]
    )
    assert set(faults(body(sdModel="secret", model_access_key="x"))) == {"stages[1].diffusion.sdModel"}


@pytest.mark.parametrize(("name", "sd_model"), [("kl-f8-anime.ckpt", ""), ("ClearVAE.safetensors", "sdxl"), ("x", "")])
def test_a_vae_that_is_not_in_the_catalogue_or_for_another_family_is_refused(name: str, sd_model: str) -> None:
    assert set(faults(body(sdVae=name, sdModel=sd_model))) == {"stages[1].diffusion.sdVae"}


@pytest.mark.parametrize("name", ["clearvae.safetensor", "ClearVAE.safetensors", "13"])
def test_a_vae_has_its_published_name_a_misspelt_one_or_its_id(name: str) -> None:
    assert diffusion_of(sdVae=name).vae == "13"


@pytest.mark.parametrize("kind", ["DEFAULT", "diffusion", "", "UPSCALE", 1, None, [], {}, True])
def test_a_stage_of_no_known_type_is_refused(kind: Any) -> None:
    asked = body()
    asked["stages"].append({"type": kind})

    assert set(faults(asked)) == {"stages[2].type"}


def test_the_stage_that_detections_are_made_of_is_no_type_of_the_api() -> None:
    detecting, unknown = body(), body()
    fields = {"preprocessor": "depth", "model": "101"}
    detecting["stages"][1] = {"type": "CONTROLNET_DETECT", "controlnetDetect": fields}
    unknown["stages"][1] = {"type": "NO_SUCH_STAGE", "noSuchStage": fields}

    refusal = faults(detecting)
    assert refusal["stages[1].type"] == faults(unknown)["stages[1].type"]
    assert "CONTROLNET_DETECT" not in "".join(refusal.values())


def test_a_stage_needs_its_own_fields_and_no_other() -> None:
    asked = body()
    asked["stages"][0] = {"type": "INPUT_INITIALIZE"}
    asked["stages"][1]["input_initialize"] = {"count": 2}
    asked["stages"].append({"type": "IMAGE_TO_UPSCALER", "imageToInpaint": {"diffusion": {"steps": 5}}})

    assert faults(asked) == {
        "stages[0]": "a stage of type INPUT_INITIALIZE needs its fields in 'inputInitialize'",
        "stages[1].input_initialize": "does not belong to a stage of type DIFFUSION",
        "stages[2]": "a stage of type IMAGE_TO_UPSCALER needs its fields in 'imageToUpscaler'",
        "stages[2].imageToInpaint": "does not belong to a stage of type IMAGE_TO_UPSCALER",
    }


def test_the_empty_fields_of_other_stages_say_nothing() -> None:
    asked = body()
    asked["stages"][1] |= {"imageToUpscaler": {}, "imageToInpaint": {"maskBlur": 0}, "videoDiffusion": None}

    assert parse(asked) == parse(body())


def test_a_stage_without_a_type_is_refused() -> None:
    asked = body()
    del asked["stages"][1]["type"]

    assert faults(asked) == {"stages[1].type": "is required"}


@pytest.mark.parametrize("size", [448, 511, 513, 520, 1600, -64])
def test_sides_off_the_grid_or_out_of_range_are_refused(size: int) -> None:
    assert set(faults(body(width=size, height=512))) == {"stages[1].diffusion.width"}


def test_pixels_over_the_models_budget_are_refused_with_the_budget() -> None:
    assert diffusion_of(sdModel="sdxl", width=1536, height=1024).width == 1536
    assert "SD15" in faults(body(sdModel="photon", width=1536, height=1024))["stages[1].diffusion.width"]


@pytest.mark.parametrize("field", ["requestId", "notifyUrl", "runningNotifyUrl"])
def test_the_character_that_postgresql_cannot_hold_is_refused(field: str) -> None:
    assert set(faults({**body(), field: "https://x.example/\0"})) == {field}
    assert set(faults(body(prompts=[{"text": "a\0"}]))) == {"stages[1].diffusion.prompts[0].text"}


@pytest.mark.parametrize(
    "url",
    ["x", "ftp://x.example", "http://", "https:///path", "http://[::1", "http://x:99999/", "http://x:0/", "http://a b/",
     "javascript://x", "http://x.example/\n", "http://x.example/" + "a" * 2048],
)  # fmt: skip
def test_what_is_no_http_address_is_no_callback(url: str) -> None:
    assert set(faults({**body(), "notifyUrl": url, "running_notify_url": url})) == {"notifyUrl", "running_notify_url"}


@pytest.mark.parametrize(
    "url", ["http://x", "HTTPS://x.example:8443/a?b=c#d", "http://[2001:db8::1]:80/", "http://ü.example"]
)
def test_an_http_address_is_a_callback(url: str) -> None:
    assert parse({**body(), "notifyUrl": url}).notify_url == url


def test_empty_callbacks_are_none() -> None:
    submission = parse({**body(), "notifyUrl": "", "runningNotifyUrl": None})

    assert (submission.notify_url, submission.running_notify_url) == (None, None)


@pytest.mark.parametrize("value", [None, 1, "x", [], [body()], True])
def test_a_body_that_is_no_object_is_refused(value: Any) -> None:
    assert faults(value) == {"": "the body must be a JSON object"}


@pytest.mark.parametrize("stages", [None, [], {}, "x", 5, [{}] * 17])
def test_stages_are_a_list_of_one_to_sixteen(stages: Any) -> None:
    assert set(faults({"requestId": "r", "stages": stages})) == {"stages"}


@pytest.mark.parametrize("request_id", ["", "x" * 257, 5, None, ["a"]])
def test_a_request_id_is_a_short_text(request_id: Any) -> None:
    assert set(faults({**body(), "requestId": request_id})) == {"requestId"}


@pytest.mark.parametrize("field", ["lora", "prompts", "width", "unknown"])
@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}], ids=["lists", "objects"])
def test_deep_nesting_is_one_fault_and_no_crash(field: str, wrap: Any) -> None:
    deep: Any = 1
    for _ in range(50_000):
        deep = wrap(deep)

    assert any(path.startswith(f"stages[1].diffusion.{field}") for path in faults(body(**{field: deep})))


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["NaN", "-1", "DIFFUSION", "INPUT_INITIALIZE", "http://", "\0", "\udcff", "9" * 5000, 2**64, -(2**63)]
    ),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a JSON value, with each of its keys."""
    if isinstance(value, dict):
        return [(value, key) for key in value] + [place for each in value.values() for place in places(each)]
    if isinstance(value, list):
        return [(value, i) for i in range(len(value))] + [place for each in value for place in places(each)]
    return []


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(draw=st.data())
def test_any_mutation_is_a_submission_or_a_list_of_faults(draw: st.DataObject) -> None:
    mutated = deepcopy(json.loads(GOLDEN[0].read_text())["body"])
    for _ in range(draw.draw(st.integers(1, 4))):
        container, key = draw.draw(st.sampled_from(places(mutated)))
        container[key] = draw.draw(VALUES)
        if not places(mutated):
            break

    try:
        submission = parse(mutated)
    except InvalidSubmission as refused:
        assert refused.faults
    else:
        assert isinstance(submission, Submission)


@pytest.mark.parametrize(
    ("number", "told"), [(0, "must have 1 or more, and has 0"), (17, "must have at most 16 of them, and has 17")]
)
def test_too_few_and_too_many_stages_are_told_in_words(number: int, told: str) -> None:
    assert faults({"requestId": "r", "stages": [{}] * number})["stages"] == told
