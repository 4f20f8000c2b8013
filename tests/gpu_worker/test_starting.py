"""What a worker does before it works."""

import subprocess
import sys


def test_settings_are_read_before_torch_is_imported() -> None:
    """Which takes seconds: who has set something wrong need not wait for it to hear so."""
    code = "import sys, gpu_worker.__main__; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
