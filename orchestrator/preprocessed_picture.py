"""What a ControlNet's preprocessor makes of a stored picture. It runs in `picture_process`, and nowhere else."""

import io

from PIL import Image

from jobs.preprocessing import preprocessed
from jobs.preprocessors import MAX_RESOLUTION_PX, Preprocessor, parameters_of
from orchestrator.uploaded_picture import UploadedPicture, written_picture


def preprocessed_picture(picture: UploadedPicture, name: str) -> UploadedPicture:
    """With the preprocessor's defaults; of the picture's size, but no side over MAX_RESOLUTION_PX, as nothing that is
    drawn has one."""
    preprocessor = Preprocessor(name)
    opened = Image.open(io.BytesIO(picture.png))
    white = Image.new("RGBA", opened.size, "white")
    seen = Image.alpha_composite(white, opened.convert("RGBA")).convert("RGB")
    seen.thumbnail((MAX_RESOLUTION_PX, MAX_RESOLUTION_PX), Image.Resampling.LANCZOS)
    return written_picture(preprocessed(seen, preprocessor, parameters_of(preprocessor, {}), pixel_perfect=False))
