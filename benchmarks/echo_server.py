"""The bare aiohttp handlers that the ingress is measured against: they echo a parsed body, and tell of one job."""

import os

import orjson
import uvloop
from aiohttp import web


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=orjson.dumps(orjson.loads(await request.read())), content_type="application/json")


async def tell(request: web.Request) -> web.Response:
    rank = {"queueRank": "17", "queueLen": "100", "queue_rank": "17", "queue_len": "100"}
    job = {"id": request.match_info["id"], "requestId": "r", "status": "WAITING", "credits": 0.8, "waitingInfo": rank}
    return web.Response(body=orjson.dumps({"job": job}), content_type="application/json")


def main() -> None:
    app = web.Application()
    app.add_routes([web.post("/v1/jobs", echo), web.get("/v1/jobs/{id}", tell)])
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main()
