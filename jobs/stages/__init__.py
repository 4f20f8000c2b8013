"""The stages a job is made of: one file each, with its fields, its limits and how it runs."""

from typing import TypeAlias

from jobs.stages.controlnet_detect import ControlnetDetect
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_adetailer import ImageToAdetailer
from jobs.stages.image_to_animate_diff import ImageToAnimateDiff
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.image_to_upscaler import ImageToUpscaler
from jobs.stages.input_initialize import InputInitialize
from jobs.stages.video_diffusion import VideoDiffusion

Stage: TypeAlias = (
    InputInitialize
    | Diffusion
    | ImageToUpscaler
    | ImageToAdetailer
    | ImageToInpaint
    | ImageToAnimateDiff
    | VideoDiffusion
    | ControlnetDetect
)
