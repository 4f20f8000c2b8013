"""What is served and what /openapi.json says agree: cases made from the document, against the running server."""

import asyncio
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from jobs.storage.database import Database
from orchestrator.app import WebOptions
from tests.orchestrator.conftest import open_api

# By chance, of each operation; `make fuzz` asks for more. Most cases are not by chance: each border of each field.
EXAMPLES = os.environ.get("DARKROOM_FUZZ_EXAMPLES", "8")
SEED = os.environ.get("DARKROOM_FUZZ_SEED", "1")
LEAST_CASES = 5000
CONFIG = Path(__file__).with_name("schemathesis.toml")


async def test_generated_requests_are_answered_as_the_document_says(
    options: WebOptions, database: Database, redis: ArqRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_api(replace(options, max_streams=1), database, redis) as api:
        url = str(api.client.make_url("/")).rstrip("/")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG),
            "run", f"{url}/openapi.json", "--url", url, "--header", f"Authorization: Bearer {api.key}",
            "--max-examples", EXAMPLES, "--seed", SEED,
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        told = (await process.communicate())[0].decode()

    assert process.returncode == 0, told[told.find("FAILURES") :][:8000]
    cases = int(re.search(r"(\d+) generated", told)[1])
    with capsys.disabled():
        print(f"\n{cases} requests generated from /openapi.json")
    assert cases >= LEAST_CASES
