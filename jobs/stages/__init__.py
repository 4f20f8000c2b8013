"""The stages a job is made of: one file each, with its fields, its limits and how it runs."""

from typing import TypeAlias

from jobs.stages.diffusion import Diffusion
from jobs.stages.input_initialize import InputInitialize

Stage: TypeAlias = InputInitialize | Diffusion
