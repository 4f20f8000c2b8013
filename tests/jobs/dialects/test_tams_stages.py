"""What each field of each stage becomes, and where its range ends."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from jobs.attachments import Animation, ControlNet, Lora
from jobs.detectors import BUNDLED, Look
from jobs.dialects.protobuf_json import Message, Real, Whole
from jobs.dialects.tams.diffusion import DiffusionBody
from jobs.preprocessors import Preprocessor
from jobs.prompt import Piece
from jobs.stages.image_to_adetailer import Detail, ImageToAdetailer
from jobs.stages.image_to_animate_diff import ImageToAnimateDiff
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.image_to_upscaler import ImageToUpscaler
from jobs.stages.video_diffusion import Keyframes, VideoControl, VideoDiffusion
from jobs.upscalers import Upscaler
from tests.jobs.dialects.messages import places, spellings
from tests.jobs.dialects.parsing import diffusion_of, faults, parse, refusals, third_stage, with_stage
from tests.jobs.samples import body

DRAWN = diffusion_of()
UPSCALER = {"hrUpscaler": "Lanczos", "hrScale": 2, "hrSecondPassSteps": 10, "denoisingStrength": 0.3}
ADETAILER: dict[str, Any] = {"args": [{}]}
INPAINT = {"maskImageResourceId": "m"}
ANIMATE: dict[str, Any] = {"args": [{}]}
VIDEO = {"sdModel": "LTX_VIDEO_2B"}


def upscaler(**fields: Any) -> Any:
    return third_stage("IMAGE_TO_UPSCALER", "imageToUpscaler", UPSCALER | fields)


def detail(**fields: Any) -> Detail:
    stage = third_stage("IMAGE_TO_ADETAILER", "imageToAdetailer", {"args": [fields]})
    assert isinstance(stage, ImageToAdetailer)
    return stage.details[0]


def inpaint(**fields: Any) -> Any:
    return third_stage("IMAGE_TO_INPAINT", "imageToInpaint", INPAINT | fields)


def video(**fields: Any) -> Any:
    return third_stage("VIDEO_DIFFUSION", "videoDiffusion", VIDEO | fields)


# All messages


def test_the_description_of_the_api_has_the_ranges() -> None:
    told = DiffusionBody.model_json_schema()["properties"]

    assert told["width"]["anyOf"][0] == {"type": "integer", "minimum": 512, "maximum": 1536, "multipleOf": 64}
    assert told["cfgScale"]["anyOf"][0] == {"type": "number", "exclusiveMinimum": 0, "maximum": 30}
    assert told["enableElla"]["enum"] == [True, False, "true", "false", None]


RANGES = [
    (kind, spellings(name, field)[0], each)
    for _, kind, name in dict.fromkeys((kind.__name__, kind, name) for _, kind, name in places())
    for field in [kind.model_fields[name]]
    for each in field.metadata
    if isinstance(each, Whole | Real)
]


@pytest.mark.parametrize(
    ("kind", "name", "numbers"), RANGES, ids=[f"{kind.__name__}.{name}" for kind, name, _ in RANGES]
)
def test_a_range_ends_where_it_says(kind: type[Message], name: str, numbers: Whole | Real) -> None:
    step = numbers.step if isinstance(numbers, Whole) else 1e-6
    is_open = isinstance(numbers, Real) and numbers.above
    lowest = numbers.low + step if is_open else numbers.low

    for inside in (lowest, numbers.high):
        kind.model_validate({name: inside})
    for outside in (lowest - step if lowest != step else -step, numbers.high + step):
        with pytest.raises(ValueError, match="must be a"):
            kind.model_validate({name: outside})


@pytest.mark.parametrize(
    ("kind", "name"), sorted({(kind, name) for _, kind, name in places()}, key=str), ids=lambda each: str(each)
)
def test_every_field_is_known_by_its_camel_case_and_its_snake_case(kind: type[Message], name: str) -> None:
    spelled = spellings(name, kind.model_fields[name])

    assert name in spelled
    assert spelled[0].replace("_", "") == spelled[0]
    for each in spelled:
        assert kind.model_validate({each: None}) == kind()


@pytest.mark.parametrize("value", ["?", 0.5, True, [[]], {"?": 1}, [{"?": 1}]], ids=repr)
def test_a_fault_is_at_a_place_in_the_body(value: Any) -> None:
    for kind, name in {(kind, name) for _, kind, name in places()}:
        try:
            kind.model_validate({name: value})
        except ValidationError as error:
            parts = {part for each in error.errors() for part in each["loc"]}
            # And not at a branch of a union, which pydantic names after its type.
            assert parts <= {*spellings(name, kind.model_fields[name]), "?", 0, 1}


@pytest.mark.parametrize("name", ["controlnet", "controlNet", "control_net"])
def test_a_controlnet_has_three_spellings(name: str) -> None:
    controls = {"args": [{"model": "canny", "preprocessor": "none", "inputImageResourceId": "a"}]}

    assert diffusion_of(**{name: controls}).controls == (
        ControlNet(model="12", preprocessor=Preprocessor.NONE, image="a"),
    )
    assert set(faults(body(**{name: {"args": [{"weight": 1}]}}))) == {
        f"stages[1].diffusion.{name}.args[0].model",
        f"stages[1].diffusion.{name}.args[0].preprocessor",
        f"stages[1].diffusion.{name}.args[0].inputImageResourceId",
    }


def test_without_a_picture_of_its_own_a_controlnet_takes_the_initial_one() -> None:
    asked = body(controlnet={"args": [{"model": "canny", "preprocessor": "canny"}]})
    asked["stages"][0]["inputInitialize"]["imageResourceId"] = "a"

    (control,) = parse(asked).stages[1].controls  # type: ignore[union-attr]

    assert (control.image, control.preprocessor) == ("a", Preprocessor.CANNY)


# diffusion


def test_zero_guidance_and_zero_steps_are_not_given() -> None:
    assert diffusion_of(cfgScale=0, steps=0, width=0, denoisingStrength=0.0, clipSkip=0) == DRAWN


def test_every_attachment_of_a_diffusion_is_kept() -> None:
    lora = {"loraModel": "secret-ink", "weight": 0.5, "blockWeight": "1:lbw=OUTS", "loraAccessKey": "k"}
    moving = Lora(model="secret-ink", weight=0.5, block_weight="1:lbw=OUTS")
    control = {
        "inputImageResourceId": "a",
        "mask": "b",
        "preprocessor": "canny",
        "model": "Canny",
        "weight": 0.5,
        "resizeMode": "RESIZE_AND_FILL",
        "guidance": 0.9,
        "guidanceStart": 0.1,
        "guidanceEnd": 0.8,
        "controlMode": "CONTROLNET_IS_MORE_IMPORTANT",
        "pixelPerfect": True,
        "preprocessorParams": {"threshold_a": 50, "high_threshold": "150", "processor_res": 768},
    }

    stage = diffusion_of(
        sdVae="clearvae.safetensor",
        etaNoiseSeedDelta=31337,
        controlnet={"args": [control]},
        lora={"items": [lora, {}]},
        animateDiff={"args": [{"videoLength": 24, "fps": 12, "motionLora": {"items": [lora]}}, {}]},
        embedding={"items": [{"model": "11", "weight": 1.5, "embeddingAccessKey": "e"}, {"weight": 0}]},
        v1Clip=True,
        scheduleName="karras",
        enableElla=True,
        enablePix2pix="true",
        useHunyuanDit=True,
        layerDiffusion={"enable": True, "weight": 0.7},
        clipEncoderName="c",
    )

    assert (stage.vae, stage.eta_noise_seed_delta) == ("13", 31337)
    assert stage.controls == (
        ControlNet(
            model="12",
            preprocessor=Preprocessor.CANNY,
            image="a",
            mask="b",
            weight=0.5,
            resize_mode="RESIZE_AND_FILL",
            guidance_start=0.1,
            guidance_end=0.8,
            control_mode="CONTROLNET_IS_MORE_IMPORTANT",
            pixel_perfect=True,
            preprocessor_params={"low_threshold": 50, "high_threshold": 150, "resolution": 768},
        ),
    )
    assert stage.loras == (Lora(model="10", weight=0.5, block_weight="1:lbw=OUTS"),)
    assert stage.animations == (Animation(video_length=24, fps=12, motion_loras=(moving,)),)
    assert (stage.embeddings, stage.negative_prompt) == (("11",), (Piece("secret-word", 1.5),))
    assert (stage.v1_clip, stage.schedule) == (True, "karras")
    assert (stage.ella, stage.pix2pix, stage.hunyuan_dit) == (True, True, True)
    assert (stage.layer_diffusion, stage.clip_encoder) == (0.7, "c")
    assert stage.inputs == ("a", "b")


def test_a_preprocessor_that_looks_with_a_network_takes_the_catalogues() -> None:
    control = {"model": "canny", "preprocessor": "MLSD", "inputImageResourceId": "a"}

    (kept,) = diffusion_of(
        controlnet={"args": [control | {"preprocessorParams": {"threshold_a": "0.2", "distance_threshold": 5}}]}
    ).controls

    assert (kept.preprocessor, kept.preprocessor_model) == (Preprocessor.STRAIGHT_LINES, "40")
    assert kept.preprocessor_params == {"resolution": 512, "value_threshold": 0.2, "distance_threshold": 5}
    refused = faults(body(controlnet={"args": [control | {"preprocessor": "openpose_hand"}]}))
    assert list(refused) == ["stages[1].diffusion.controlnet.args[0].preprocessor"]
    assert "--name openpose_hand` adds a folder of body_pose_model and hand_pose_model" in str(refused)


EMPTY: dict[str, list[Any]] = {
    "etaNoiseSeedDelta": [0, "0"],
    "controlnet": [{}, {"args": []}, {"args": [{}]}, {"args": [{"weight": 0, "pixelPerfect": False, "model": ""}]}],
    "lora": [{}, {"items": []}, {"items": [{}]}, {"items": [{"loraModel": "", "weight": 0}]}],
    "animateDiff": [{}, {"args": [{"motionLora": {"items": []}}]}],
    "embedding": [{}, {"items": [{}]}],
    "v1Clip": [False],
    "modelAccessKey": [""],
    "scheduleName": [""],
    "enableElla": [False],
    "enablePix2pix": [False, "false"],
    "useHunyuanDit": [False],
    "layerDiffusion": [{}, {"enable": False}, {"enable": False, "weight": 0.5}],
    "clipEncoderName": [""],
    "sdVae": ["", "Automatic", "none"],
}


@pytest.mark.parametrize(
    ("name", "empty"), [(name, each) for name, values in EMPTY.items() for each in [*values, None]]
)
def test_what_says_nothing_is_as_if_it_were_absent(name: str, empty: Any) -> None:
    assert diffusion_of(**{name: empty}) == DRAWN


@pytest.mark.parametrize(
    ("control", "path"),
    [
        ({"guidanceStart": 0.6, "guidanceEnd": 0.5}, "guidanceStart"),
        ({"resizeMode": "INNER_FIT"}, "resizeMode"),
        ({"controlMode": "balanced"}, "controlMode"),
        ({"preprocessorParams": {"a": [1]}}, "preprocessorParams"),
        ({"preprocessorParams": {"a": 1}}, "preprocessorParams.a"),
        ({"preprocessorParams": {"a.b": 1}}, "preprocessorParams"),
        ({"preprocessorParams": {"low_threshold": 0}}, "preprocessorParams.low_threshold"),
        ({"preprocessorParams": {"low_threshold": "x"}}, "preprocessorParams.low_threshold"),
        ({"preprocessorParams": {"low_threshold": True}}, "preprocessorParams.low_threshold"),
        ({"preprocessor": "openpose"}, "preprocessor"),
        ({"preprocessor": "cany"}, "preprocessor"),
        ({"model": "cany"}, "model"),
        ({"guidance": 0.3, "guidanceStart": 0.4}, "guidanceStart"),
        ({"preprocessorParams": {"a": "x" * 129}}, "preprocessorParams"),
        ({"preprocessorParams": {"a": 10**400}}, "preprocessorParams"),
        ({"preprocessorParams": {str(i): 1 for i in range(17)}}, "preprocessorParams"),
        ({"preprocessorParams": []}, "preprocessorParams"),
    ],
)
def test_a_faulty_controlnet_is_refused(control: Any, path: str) -> None:
    args = [{"model": "canny", "preprocessor": "canny", "inputImageResourceId": "a", **control}]

    assert set(faults(body(controlnet={"args": args}))) == {f"stages[1].diffusion.controlnet.args[0].{path}"}


@pytest.mark.parametrize("enum", ["DEFAULT", None])
def test_an_enums_default_is_what_the_web_ui_begins_with(enum: Any) -> None:
    control = {"model": "canny", "preprocessor": "none", "inputImageResourceId": "a"}
    control |= {"resizeMode": enum, "controlMode": enum}

    (kept,) = diffusion_of(controlnet={"args": [control]}).controls

    assert (kept.resize_mode, kept.control_mode) == ("CROP_AND_RESIZE", "BALANCED")


@pytest.mark.parametrize("weights", ["1:lbw=" + "1,0.5,.5,0," * 4 + "1", "lbw=MIDD", "-0.5:lbw=all0.5"])
def test_block_weights_are_of_the_published_form(weights: str) -> None:
    assert diffusion_of(lora={"items": [{"loraModel": "7", "blockWeight": weights}]}).loras[0].block_weight == weights


@pytest.mark.parametrize(
    "weights",
    [
        "1,1,1",
        "lbw=",
        "1:lbw=1,1",
        "x:lbw=ALL",
        "lbw=SOME",
        "1:lbw=" + "1," * 16 + "1.1.1",
        "1:lbw=" + "1" * 1024,
        1,
        "lbw=ALL\n",
        "10.1:lbw=ALL",
        "1:lbw=" + "0," * 16 + "-11",
    ],
)
def test_and_nothing_else(weights: Any) -> None:
    asked = body(lora={"items": [{"loraModel": "7", "blockWeight": weights}]})

    assert set(faults(asked)) == {"stages[1].diffusion.lora.items[0].blockWeight"}


@pytest.mark.parametrize(
    ("attachment", "path"),
    [
        ({"lora": {"items": [{"loraModel": "inkk"}]}}, "lora.items[0].loraModel"),
        ({"lora": {"items": [{"loraModel": "xl-ink"}]}}, "lora.items[0].loraModel"),
        ({"lora": {"items": [{}, {"loraModel": "secret-ink", "loraAccessKey": "x"}]}}, "lora.items[1].loraModel"),
        ({"lora": {"items": [{"loraModel": "easynegative"}]}}, "lora.items[0].loraModel"),
        ({"lora": {"items": [{"weight": 1}]}}, "lora.items[0].loraModel"),
        ({"embedding": {"items": [{"model": "secret-word"}]}}, "embedding.items[0].model"),
        ({"sdModel": "sdxl", "embedding": {"items": [{"model": "easynegative"}]}}, "embedding.items[0].model"),
    ],
)
def test_an_attachment_is_in_the_catalogue_and_goes_with_the_checkpoint(attachment: Any, path: str) -> None:
    assert set(faults(body(**attachment))) == {f"stages[1].diffusion.{path}"}


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    (reason,) = faults(body(lora={"items": [{"loraModel": "inkk"}]})).values()

    assert "did you mean 'ink' or 'xl-ink'?" in reason


@pytest.mark.parametrize("text", ["a cat, EasyNegative", "(easynegative:1.2)", "x (easynegative)"])
def test_a_learned_word_that_a_prompt_names_is_known_there(text: str) -> None:
    named = diffusion_of(negativePrompts=[{"text": text}])

    assert named.embeddings == ("8",)
    assert named == diffusion_of(negativePrompts=[{"text": text}], embedding={"items": [{"model": "8"}]})


@pytest.mark.parametrize("text", ["easynegatives", "8", "secret-word", "uneasynegative", "K\u0131"])
def test_and_nothing_else_is_one(text: str) -> None:
    assert diffusion_of(prompts=[{"text": text}]).embeddings == ()


def test_an_embedding_that_no_prompt_names_is_avoided_with_its_weight() -> None:
    stage = diffusion_of(negativePrompts=[{"text": "ugly"}], embedding={"items": [{"model": "8", "weight": 0.5}]})

    assert stage.negative_prompt == (Piece("ugly"), Piece("easynegative", 0.5))


@pytest.mark.parametrize(
    ("name", "items"), [("lora", "items"), ("embedding", "items"), ("controlnet", "args"), ("animateDiff", "args")]
)
def test_attachments_are_at_most_sixteen(name: str, items: str) -> None:
    assert diffusion_of(**{name: {items: [{}] * 16}}) == DRAWN
    assert set(faults(body(**{name: {items: [{}] * 17}}))) == {f"stages[1].diffusion.{name}.{items}"}


def test_prompts_are_at_most_150() -> None:
    assert len(diffusion_of(prompts=[{"text": "a"}] * 150).prompt) == 150
    assert set(faults(body(prompts=[{"text": "a"}] * 151))) == {"stages[1].diffusion.prompts"}
    assert set(faults(body(negative_prompts=[{"text": "a"}] * 151))) == {"stages[1].diffusion.negative_prompts"}


@pytest.mark.parametrize("nothing", [[], None])
def test_an_empty_list_of_prompts_is_none(nothing: Any) -> None:
    assert faults(body(prompts=nothing)) == {"stages[1].diffusion.prompts": "is required"}
    assert diffusion_of(prompts=[{}]).prompt == ()


def test_that_a_stage_is_not_built_is_told_before_what_is_wrong_with_its_fields() -> None:
    asked = with_stage("IMAGE_TO_ANIMATE_DIFF", "imageToAnimateDiff", {"surprise": 1}, width="x")

    assert list(refusals(asked)) == [
        "stages[2].type",
        "stages[1].diffusion.width",
        "stages[2].imageToAnimateDiff.surprise",
        "stages[2].imageToAnimateDiff.args",
    ]


def test_prompts_hold_at_most_20_000_characters_in_all() -> None:
    assert len(diffusion_of(prompts=[{"text": "a" * 10_000}] * 2).prompt) == 2
    assert "20000 characters in all" in faults(body(prompts=[{"text": "a" * 10_000}, {"text": "a" * 10_001}]))[
        "stages[1].diffusion.prompts"
    ]  # fmt: skip


def test_lcm_takes_fewer_steps() -> None:
    assert diffusion_of(sampler="LCM", steps=50).steps == 50
    assert "at most 50 steps" in faults(body(sampler="LCM", steps=51))["stages[1].diffusion.steps"]


# imageToUpscaler


def test_an_upscaler_scales_or_resizes() -> None:
    shared: dict[str, Any] = {"upscaler": Upscaler.LANCZOS, "steps": 10, "denoising_strength": 0.3, "diffusion": DRAWN}

    assert upscaler() == ImageToUpscaler(scale=2.0, **shared)
    assert upscaler(hrScale=0, hrResizeX=1024, hrResizeY="768") == ImageToUpscaler(width=1024, height=768, **shared)
    assert upscaler(hrResizeX=1024, hrResizeY=768) == ImageToUpscaler(scale=2.0, **shared)  # the scale wins


@pytest.mark.parametrize("name", ["hr_upscaler", "hrUpscaler"])
def test_a_published_client_mixes_the_spellings_of_an_upscaler(name: str) -> None:
    fields = {name: "4x_ultrasharp", "hrScale": 2, "hrSecondPassSteps": 10, "denoisingStrength": 0.3}
    asked = with_stage("IMAGE_TO_UPSCALER", "imageToUpscaler", fields | {name: "4x-ultra_sharp"})

    stage = parse(asked).stages[2]

    assert isinstance(stage, ImageToUpscaler)
    assert stage.upscaler == "20"


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"hrUpscaler": ""}, {".hrUpscaler"}),
        ({"hrUpscaler": "none such"}, {".hrUpscaler"}),
        ({"hrScale": None}, {""}),
        ({"hrScale": None, "hrResizeX": 1024}, {""}),
        ({"hrScale": None, "hrResizeX": 1024, "hrResizeY": 5184}, {".hrResizeY"}),
        ({"hrScale": None, "hrResizeX": 1030, "hrResizeY": 1024}, {".hrResizeX"}),
        ({"hrScale": 6}, {".hrScale"}),  # 3072 × 3072 pixels
        ({"hrSecondPassSteps": 0}, {".hrSecondPassSteps"}),
        ({"hrSecondPassSteps": 61}, {".hrSecondPassSteps"}),
        ({"denoisingStrength": None}, {".denoisingStrength"}),
        ({"denoisingStrength": 1.1}, {".denoisingStrength"}),
    ],
)
def test_a_faulty_upscaler_is_refused(fields: dict[str, Any], paths: set[str]) -> None:
    asked = with_stage("IMAGE_TO_UPSCALER", "imageToUpscaler", UPSCALER | fields)

    assert set(faults(asked)) == {f"stages[2].imageToUpscaler{path}" for path in paths}


def test_no_budget_is_judged_by_a_size_that_could_not_be_read() -> None:
    asked = with_stage("IMAGE_TO_UPSCALER", "imageToUpscaler", UPSCALER | {"hrScale": 6}, width="x")

    assert set(faults(asked)) == {"stages[1].diffusion.width"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "r-esrgan 4x+",
            "the network 'R-ESRGAN 4x+' is not in this server's catalogue; "
            "`darkroom models add FILE.safetensors --kind UPSCALER --name 'R-ESRGAN 4x+'` adds it; "
            "there are '4x-UltraSharp', '4x-AnimeSharp', 'shapes', 'Latent', ",
        ),
        ("shaped", "no upscaler is named 'shaped'; did you mean 'shapes'?"),
        ("Lanczoz", "no upscaler is named 'Lanczoz'; did you mean 'Lanczos'?"),
    ],
)
def test_an_upscaler_that_is_not_here_is_refused_with_those_that_are(name: str, reason: str) -> None:
    asked = with_stage("IMAGE_TO_UPSCALER", "imageToUpscaler", UPSCALER | {"hrUpscaler": name})

    assert faults(asked)["stages[2].imageToUpscaler.hrUpscaler"].startswith(reason)


def test_any_upscaler_of_the_catalogue_may_be_named() -> None:
    assert upscaler(hrUpscaler="Shapes").upscaler == upscaler(hrUpscaler="22").upscaler == "22"


def test_nothing_to_redraw_is_a_strength_too() -> None:
    assert upscaler(denoisingStrength=0).denoising_strength == 0


# Stages with a `diffusion` of their own


OWN = [
    ("IMAGE_TO_UPSCALER", "imageToUpscaler", UPSCALER),
    ("IMAGE_TO_ADETAILER", "imageToAdetailer", ADETAILER),
    ("IMAGE_TO_INPAINT", "imageToInpaint", INPAINT),
    ("IMAGE_TO_ANIMATE_DIFF", "imageToAnimateDiff", ANIMATE),
]


def alone(kind: str, name: str, fields: Any) -> dict[str, Any]:
    first = {"type": "INPUT_INITIALIZE", "inputInitialize": {"imageResourceId": "a", "count": 1}}
    return {"requestId": "r", "stages": [first, {"type": kind, name: fields}]}


@pytest.mark.parametrize(("kind", "name", "fields"), OWN)
def test_without_a_diffusion_stage_its_own_block_is_used(kind: str, name: str, fields: Any) -> None:
    own = {"prompts": [{"text": "a red barn"}]}

    stage: Any = parse(alone(kind, name, fields | {"diffusion": own})).stages[1]

    assert stage.diffusion == DRAWN
    sizes = {"IMAGE_TO_UPSCALER": (1024, 1024), "IMAGE_TO_ANIMATE_DIFF": (512, 512)}
    assert stage.size_after(None, (640, 480)) == sizes.get(kind, (640, 480))


@pytest.mark.parametrize(("kind", "name", "fields"), OWN)
def test_and_is_required(kind: str, name: str, fields: Any) -> None:
    assert faults(alone(kind, name, fields)) == {
        f"stages[1].{name}.diffusion": "is required where no DIFFUSION stage comes before"
    }
    assert set(faults(alone(kind, name, fields | {"diffusion": {"steps": 61}}))) == {
        f"stages[1].{name}.diffusion.steps",
        f"stages[1].{name}.diffusion.prompts",
    }


@pytest.mark.parametrize(("kind", "name", "fields"), OWN)
def test_with_a_diffusion_stage_that_one_is_used(kind: str, name: str, fields: Any) -> None:
    stage: Any = third_stage(kind, name, fields | {"diffusion": {"prompts": [{"text": "else"}], "sdModel": "sdxl"}})

    assert stage.diffusion == DRAWN


def test_without_a_diffusion_stage_one_picture_is_named() -> None:
    asked = alone("IMAGE_TO_INPAINT", "image_to_inpaint", INPAINT | {"diffusion": {"prompts": [{}]}})
    asked["stages"][0]["inputInitialize"] = {"count": 2}

    assert set(faults(asked)) == {
        "stages[0].inputInitialize.count",
        "stages[0].inputInitialize.imageResourceId",
    }


# imageToAdetailer


def test_a_look_for_faces_is_the_default() -> None:
    assert detail() == Detail()
    assert detail(adModel="face_yolov8s.pt") == detail(adModel="mediapipe_face_full") == Detail()
    assert Detail().look.detector == BUNDLED


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "person_yolov8n-seg.pt",
            "'person_yolov8n-seg.pt' is not in this server's catalogue, and there is no other that finds this; "
            "`darkroom models add person_yolov8n-seg.pt --kind DETECTOR --name person_yolov8n-seg.pt --allow-pickle`"
            " adds the published file, for workers with the package ultralytics; "
            "there are 'hand_yolov8n.pt', 'face_yolov8n.pt', ",
        ),
        ("face_yolo8n.pt", "no detector is named 'face_yolo8n.pt'; did you mean 'face_yolov8n.pt'"),
    ],
)
def test_a_detector_that_is_not_here_is_refused_with_those_that_are(name: str, reason: str) -> None:
    asked = with_stage("IMAGE_TO_ADETAILER", "imageToAdetailer", {"args": [{}, {"adModel": name}]})

    assert faults(asked)["stages[2].imageToAdetailer.args[1].adModel"].startswith(reason)


def test_a_checkpoint_of_another_family_cannot_take_the_loras_of_the_job() -> None:
    fields = {"args": [{"adUseCheckpoint": True, "adCheckpoint": "sdxl"}]}
    plain = with_stage("IMAGE_TO_ADETAILER", "imageToAdetailer", fields)

    assert parse(plain)
    for more in ({"lora": {"items": [{"loraModel": "7"}]}}, {"sdVae": "13"}):
        asked = with_stage("IMAGE_TO_ADETAILER", "imageToAdetailer", fields, **more)
        assert "is of SDXL" in faults(asked)["stages[2].imageToAdetailer.args[0].adCheckpoint"]


@pytest.mark.parametrize(
    ("look", "diffusion", "field"),
    [
        ({"adUseSampler": True, "adSampler": "LCM"}, {"steps": 60}, "adSampler"),
        ({"adUseSteps": True, "adSteps": 60}, {"sampler": "LCM"}, "adSteps"),
        ({"adUseSampler": True, "adSampler": "LCM", "adUseSteps": True, "adSteps": 51}, {}, "adSteps"),
        ({"adUseSampler": True, "adSampler": "Euler a"}, {"scheduleName": "karras"}, "adSampler"),
    ],
)
def test_a_looks_own_sampler_and_steps_must_go_with_what_it_inherits(
    look: dict[str, Any], diffusion: dict[str, Any], field: str
) -> None:
    asked = with_stage("IMAGE_TO_ADETAILER", "imageToAdetailer", {"args": [look]}, **diffusion)

    assert list(faults(asked)) == [f"stages[2].imageToAdetailer.args[0].{field}"]


def test_a_look_that_inherits_all_is_not_blamed_for_the_diffusion() -> None:
    asked = with_stage("IMAGE_TO_ADETAILER", "imageToAdetailer", ADETAILER, sampler="LCM", steps=60)

    assert list(faults(asked)) == ["stages[1].diffusion.steps"]


def test_learned_words_are_found_in_the_texts_of_a_look() -> None:
    look = detail(adPrompt=[{"text": "a face"}], adNegativePrompt=[{"text": "EasyNegative, blurred"}])

    assert look.embeddings == ("8",)
    assert look.diffusion(DRAWN).embeddings == ("8",)
    assert look.diffusion(replace(DRAWN, embeddings=("11",))).embeddings == ("11", "8")
    assert detail(adPrompt=[{"text": "a face"}]).embeddings == ()


def test_every_field_of_a_look_is_kept() -> None:
    assert detail(
        adModel="hand_yolov8n.pt",
        adPrompt=[{"text": "a hand"}],
        adNegativePrompt=[{"text": "six fingers", "weight": 1.2}],
        adConfidence=0.7,
        adDilateErode=-4,
        adMaskMergeInvert="Merge and Invert",
        adDenoisingStrength=0.5,
        adInpaintOnlyMasked="false",
        adInpaintOnlyMaskedPadding=16,
        adUseInpaintWidthHeight=True,
        adInpaintWidth=640,
        adInpaintHeight="768",
        adUseSteps=True,
        adSteps=28,
        adUseCfgScale=True,
        adCfgScale=5,
        lora={"items": [{"loraModel": "7"}]},
        adUseCheckpoint=True,
        adCheckpoint="photon",
        adUseSampler=True,
        adSampler="euler_a",
        adUseNoiseMultiplier=True,
        adNoiseMultiplier=1.1,
        adUseClipSkip=True,
        adClipSkip=2,
    ) == Detail(
        look=Look(detector="30", confidence=0.7, dilate_erode_px=-4, mask_merge="Merge and Invert"),
        prompt=(Piece("a hand"),),
        negative_prompt=(Piece("six fingers", 1.2),),
        denoising_strength=0.5,
        only_masked=False,
        only_masked_padding_px=16.0,
        width=640,
        height=768,
        steps=28,
        guidance_scale=5.0,
        loras=(Lora(model="7"),),
        model="681693017352010007",
        sampler="Euler a",
        noise_multiplier=1.1,
        clip_skip=2,
    )


def test_a_field_counts_only_with_its_switch() -> None:
    values = {
        "adInpaintWidth": 640,
        "adInpaintHeight": 640,
        "adSteps": 28,
        "adCfgScale": 5,
        "adCheckpoint": "photon",
        "adSampler": "Euler a",
        "adNoiseMultiplier": 1.1,
        "adClipSkip": 2,
    }

    assert detail(**values) == Detail()


def test_a_switch_without_its_field_takes_the_published_default() -> None:
    switches = ["InpaintWidthHeight", "Steps", "CfgScale", "Checkpoint", "Sampler", "NoiseMultiplier", "ClipSkip"]

    look = detail(**{f"adUse{name}": True for name in switches})

    assert (look.width, look.height, look.steps, look.guidance_scale) == (512, 512, 20, 7.0)
    assert (look.model, look.sampler) == ("600423083519508503", "DPM++ 2M Karras")
    assert (look.noise_multiplier, look.clip_skip) == (1.0, 1)


def test_zeros_of_a_look_that_mean_something_are_kept() -> None:
    look = detail(adDilateErode=0, adInpaintOnlyMaskedPadding=0, adInpaintOnlyMasked=False)

    assert (look.look.dilate_erode_px, look.only_masked_padding_px, look.only_masked) == (0, 0, False)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "args"),
        ({"args": []}, "args"),
        ({"args": [{}] * 9}, "args"),
        ({"args": [{"adMaskMergeInvert": "Invert"}]}, "args[0].adMaskMergeInvert"),
        ({"args": [{"adUseCheckpoint": True, "adCheckpoint": "none such"}]}, "args[0].adCheckpoint"),
        ({"args": [{"adUseSampler": True, "adSampler": "none such"}]}, "args[0].adSampler"),
        ({"args": [{"adPrompt": [{"text": "a" * 10_001}] * 2}]}, "args[0].adPrompt"),
        ({"args": [{"lora": {"items": [{"weight": 1}]}}]}, "args[0].lora.items[0].loraModel"),
    ],
)
def test_a_faulty_look_is_refused(fields: dict[str, Any], path: str) -> None:
    asked = with_stage("IMAGE_TO_ADETAILER", "imageToAdetailer", fields)

    assert set(faults(asked)) == {f"stages[2].imageToAdetailer.{path}"}


# imageToInpaint


def test_an_inpainting_has_the_published_defaults() -> None:
    plain = ImageToInpaint(mask="m", diffusion=DRAWN)

    assert inpaint() == plain
    assert inpaint(resizeMode="DEFAULT", inpaintingFill="DEFAULT") == plain
    assert (plain.resize_mode, plain.fill, plain.full_resolution) == ("JUST_RESIZE", "ORIGINAL", True)
    assert (plain.mask_blur_px, plain.padding_px, plain.invert_mask) == (4.0, 32, False)
    assert plain.inputs == ("m",)


def test_every_field_of_an_inpainting_is_kept() -> None:
    assert inpaint(
        resizeMode="JUST_RESIZE_LATENT_UPSCALE",
        maskBlur=0,
        inpaintingFill="LATENT_NOTHING",
        inpaintFullRes=False,
        inpaintFullResPadding="0",
        inpaintMaskInvert=1,
    ) == ImageToInpaint(
        mask="m",
        resize_mode="JUST_RESIZE_LATENT_UPSCALE",
        mask_blur_px=0.0,
        fill="LATENT_NOTHING",
        full_resolution=False,
        padding_px=0,
        invert_mask=True,
        diffusion=DRAWN,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("maskImageResourceId", ""),
        ("resizeMode", "FIT"),
        ("inpaintingFill", "NOISE"),
        ("inpaintFullRes", 1),
        ("inpaintMaskInvert", 2),
    ],
)
def test_a_faulty_inpainting_is_refused(name: str, value: Any) -> None:
    asked = with_stage("IMAGE_TO_INPAINT", "imageToInpaint", INPAINT | {name: value})

    assert set(faults(asked)) == {f"stages[2].imageToInpaint.{name}"}


# imageToAnimateDiff and videoDiffusion


def test_an_animation_needs_one_item_at_least() -> None:
    plain = third_stage("IMAGE_TO_ANIMATE_DIFF", "imageToAnimateDiff", ANIMATE)

    assert plain == ImageToAnimateDiff(animations=(Animation(),), diffusion=DRAWN)
    assert set(faults(with_stage("IMAGE_TO_ANIMATE_DIFF", "image_to_animate_diff", {"diffusion": None}))) == {
        "stages[2].image_to_animate_diff.args"
    }


def test_every_field_of_a_video_is_kept() -> None:
    assert video(
        lora={"items": [{"loraModel": "7"}]},
        generationMode="FAST",
        width=640,
        height=384,
        fps=16,
        totalFrames=48,
        prompts=[{"text": "waves"}],
        negativePrompts=[{"text": "still"}],
        modelAccessKey="k",
        controlnet={"args": [{"inputVideoResourceId": "v", "preprocessor": "canny"}]},
        inp={"args": [{"startImageResourceId": "a", "endImageResourceId": "b"}, {}]},
    ) == VideoDiffusion(
        model="LTX_VIDEO_2B",
        prompt=(Piece("waves"),),
        negative_prompt=(Piece("still"),),
        mode="FAST",
        width=640,
        height=384,
        fps=16,
        total_frames=48,
        loras=(Lora(model="7"),),
        model_access_key="k",
        controls=(VideoControl(video="v", preprocessor="canny"),),
        keyframes=(Keyframes(start="a", end="b"),),
    )


def test_a_video_reads_the_resources_it_names() -> None:
    assert video(inp={"args": [{"endImageResourceId": "b"}]}).inputs == ("b",)
    assert video() == VideoDiffusion(model="LTX_VIDEO_2B", prompt=())


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"sdModel": ""}, "sdModel"),
        ({"generationMode": "SLOW"}, "generationMode"),
        ({"totalFrames": 1001}, "totalFrames"),
        ({"controlnet": {"args": [{"inputVideoResourceId": "v"}]}}, "controlnet.args[0].preprocessor"),
    ],
)
def test_a_faulty_video_is_refused(fields: dict[str, Any], path: str) -> None:
    asked = with_stage("VIDEO_DIFFUSION", "videoDiffusion", VIDEO | fields)

    assert set(faults(asked)) == {f"stages[2].videoDiffusion.{path}"}


def test_more_layers_than_a_text_encoder_has_cannot_be_skipped() -> None:
    assert diffusion_of(sdModel="shallow", clipSkip=3).clip_skip == 3

    reasons = faults(body(sdModel="shallow", clipSkip=4))

    assert reasons["stages[1].diffusion.clipSkip"] == "is 4; the text encoder of shallow has 3 layers"


@pytest.mark.parametrize(
    ("look", "stage", "field"),
    [
        ({"adUseClipSkip": True, "adClipSkip": 4}, {"sdModel": "shallow", "clipSkip": 1}, "adClipSkip"),
        ({"adUseCheckpoint": True, "adCheckpoint": "shallow"}, {"clipSkip": 4}, "adCheckpoint"),
    ],
)
def test_nor_by_a_look_of_its_own(look: dict[str, Any], stage: dict[str, Any], field: str) -> None:
    asked = with_stage("IMAGE_TO_ADETAILER", "imageToAdetailer", {"args": [look]}, **stage)

    assert "has 3 layers" in faults(asked)[f"stages[2].imageToAdetailer.args[0].{field}"]
