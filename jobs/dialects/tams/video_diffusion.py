"""`videoDiffusion`."""

from typing import Annotated

from jobs.attachments import DEFAULT_FPS, MAX_FPS, MAX_VIDEO_LENGTH
from jobs.dialects.protobuf_json import DefaultIsAbsent, Message, Name, Whole, requiring
from jobs.dialects.tams.attachments import AtMost, LoraBody, attached, named_loras_of
from jobs.dialects.tams.prompts import Prompts, prompt_of
from jobs.dialects.tams.reading import Reading
from jobs.stages import video_diffusion as limits
from jobs.stages.video_diffusion import GenerationMode, Keyframes, VideoControl, VideoDiffusion

Side = Whole(limits.MIN_SIDE_PX, limits.MAX_SIDE_PX)


class VideoControlArgBody(Message):
    model_config = requiring("preprocessor")

    input_video_resource_id: Name | None = None
    preprocessor: Name | None = None

    def attached(self, path: str, reading: Reading) -> VideoControl:
        preprocessor = reading.required(self.preprocessor, f"{path}.preprocessor")
        return VideoControl(video=self.input_video_resource_id or None, preprocessor=preprocessor)


class VideoControlBody(Message):
    args: Annotated[list[VideoControlArgBody], AtMost] | None = None


class KeyframesArgBody(Message):
    start_image_resource_id: Name | None = None
    end_image_resource_id: Name | None = None

    def attached(self, path: str, reading: Reading) -> Keyframes:
        return Keyframes(start=self.start_image_resource_id or None, end=self.end_image_resource_id or None)


class KeyframesBody(Message):
    args: Annotated[list[KeyframesArgBody], AtMost] | None = None


class VideoDiffusionBody(Message):
    model_config = requiring("sdModel")

    sd_model: Name | None = None
    lora: LoraBody | None = None
    generation_mode: Annotated[GenerationMode | None, DefaultIsAbsent] = None
    width: Annotated[int | None, Side] = None
    height: Annotated[int | None, Side] = None
    fps: Annotated[int | None, Whole(1, MAX_FPS)] = None
    total_frames: Annotated[int | None, Whole(1, MAX_VIDEO_LENGTH)] = None
    prompts: Prompts | None = None
    negative_prompts: Prompts | None = None
    model_access_key: Name | None = None
    controlnet: VideoControlBody | None = None
    inp: KeyframesBody | None = None

    def stage(self, path: str, reading: Reading) -> VideoDiffusion:
        controls = self.controlnet.args if self.controlnet else None
        keyframes = self.inp.args if self.inp else None
        return VideoDiffusion(
            model=reading.required(self.sd_model, f"{path}.sdModel"),
            prompt=prompt_of(self.prompts, path, "prompts", reading),
            negative_prompt=prompt_of(self.negative_prompts, path, "negativePrompts", reading),
            mode=self.generation_mode or "NORMAL",
            width=self.width or limits.DEFAULT_WIDTH_PX,
            height=self.height or limits.DEFAULT_HEIGHT_PX,
            fps=self.fps or DEFAULT_FPS,
            total_frames=self.total_frames or limits.DEFAULT_FRAMES,
            loras=named_loras_of(self.lora, f"{path}.lora", reading),
            model_access_key=self.model_access_key or None,
            controls=attached(controls, f"{path}.controlnet.args", reading),
            keyframes=attached(keyframes, f"{path}.inp.args", reading),
        )
