#!/usr/bin/env python3
"""A chat on a terminal: `python3 chat.py ws://localhost:3000/ws test_token`."""
import asyncio
import sys

from wsguard_client import Client, Closed, DeliveryUnknown, Refused


async def read_lines():
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield line.rstrip("\n")


async def show(client):
    async for kind, payload in client:
        if kind == "chat":
            # repr: what others write must not move the cursor or colour the screen.
            print(f"{payload['from']}: {payload['message']!r}", flush=True)


async def main(url="ws://localhost:3000/ws", token="test_token"):
    async def provide():  # a real program asks its login service here, each time
        return token

    async with Client(url, provide) as client:
        print(f"connected as {client.subject}", flush=True)
        showing = asyncio.create_task(show(client))
        async for line in read_lines():
            try:
                await client.send("chat", {"message": line})
            except Refused as refusal:
                print(f"! not sent: {refusal}", flush=True)
            except DeliveryUnknown:
                print("! may have arrived: the server was lost", flush=True)
        showing.cancel()


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except Closed as end:
        sys.exit(f"! {end}")
