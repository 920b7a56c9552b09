"""Connects with Debian's python3-websockets, sends the frames it is given, and prints what it saw as JSON.

client.py URL subprotocol|header TOKEN ORIGIN FRAME... (the last frame is sent once all others were answered)
"""
import asyncio
import json
import sys

import websockets


async def main(url, how, token, origin, *frames):
    options = {"subprotocols": ["ws-guard.v1"]}
    if how == "subprotocol":
        options["subprotocols"].append("bearer." + token)
        options["origin"] = origin
    else:
        # Version 14 renamed extra_headers.
        newer = int(websockets.__version__.split(".")[0]) >= 14
        options["additional_headers" if newer else "extra_headers"] = {"Authorization": "Bearer " + token}
    messages = []
    async with websockets.connect(url, **options) as socket:
        for frame in frames[:-1]:
            await socket.send(frame)
        answers = 0
        while answers < len(frames) - 1:
            messages.append(json.loads(await socket.recv()))
            answers += messages[-1]["type"] in ("reply", "error")
        await socket.send(frames[-1])
        try:
            while True:
                messages.append(json.loads(await socket.recv()))
        except websockets.ConnectionClosed as closed:
            close = {"code": closed.rcvd.code, "reason": closed.rcvd.reason}
        print(json.dumps({"protocol": socket.subprotocol, "messages": messages, "close": close}))


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 10))
