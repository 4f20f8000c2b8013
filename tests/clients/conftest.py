"""Published clients against the web process's application, which listens on a port of its own."""

from tests.orchestrator.conftest import api as api
from tests.orchestrator.conftest import files_folder as files_folder
from tests.orchestrator.conftest import options as options
