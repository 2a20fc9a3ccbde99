"""A plain client of NATS: publishes a parcel from standard input, or prints what a stream has.

    nats_client.py URL publish SUBJECT
    nats_client.py URL read SUBJECT
"""

import asyncio
import json
import sys

import nats


async def main(url, verb, subject):
    connection = await nats.connect(url, connect_timeout=5, max_reconnect_attempts=0)
    stream = connection.jetstream()
    if verb == "publish":
        parcel = json.load(sys.stdin)
        await stream.publish(subject, parcel["body"].encode(), headers=parcel["headers"] or None)
    else:
        messages = await stream.subscribe(subject, ordered_consumer=True)
        message = await messages.next_msg(timeout=20)
        print(json.dumps({"headers": message.headers or {}, "body": message.data.decode()}))
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
