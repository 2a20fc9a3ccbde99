"""Plain clients of NATS (nats-py) and RabbitMQ (pika), as other people's programs use them.

put BROKER URL PLACE…   publishes the JSON object {"headers": {…}, "body": "…"} of standard input
take BROKER URL PLACE…  prints `ready`, then the first message as such an object

PLACE is a subject for nats, an exchange and a routing key for rabbitmq.
"""

import asyncio
import json
import sys

PATIENCE = 20


def shown(headers, body):
    headers = {str(name): str(value) for name, value in headers.items()}
    print(json.dumps({"headers": headers, "body": body.decode()}), flush=True)


async def nats(command, url, subject):
    import nats as client

    connection = await client.connect(url)
    if command == "put":
        message = json.load(sys.stdin)
        stream = connection.jetstream()
        await stream.publish(subject, message["body"].encode(), headers=message["headers"])
    else:
        subscription = await connection.subscribe(subject)
        await connection.flush()
        print("ready", flush=True)
        message = await subscription.next_msg(timeout=PATIENCE)
        shown(message.headers or {}, message.data)
    await connection.close()


def rabbitmq(command, url, exchange, key):
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    if command == "put":
        message = json.load(sys.stdin)
        headers = message["headers"]
        properties = pika.BasicProperties(content_type=headers.pop("content-type", None), headers=headers)
        channel.confirm_delivery()
        channel.basic_publish(exchange, key, message["body"].encode(), properties, mandatory=True)
    else:
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, exchange, key)
        print("ready", flush=True)
        for _, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=PATIENCE):
            if body is None:
                sys.exit("no message came")
            headers = dict(properties.headers or {})
            if properties.content_type:
                headers["content-type"] = properties.content_type
            shown(headers, body)
            break
    connection.close()


command, broker, *rest = sys.argv[1:]
if broker == "nats":
    asyncio.run(nats(command, *rest))
else:
    rabbitmq(command, *rest)
