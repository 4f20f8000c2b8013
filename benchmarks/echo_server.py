"""The bare aiohttp handler that the ingress is measured against: it parses the body and echoes it."""

import sys

import orjson
import uvloop
from aiohttp import web


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=orjson.dumps(orjson.loads(await request.read())), content_type="application/json")


def main() -> None:
    app = web.Application()
    app.add_routes([web.post("/v1/jobs", echo)])
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main()
