"""A plain client of RabbitMQ: publishes a parcel from standard input, or prints what a queue gets.

    rabbitmq_client.py URL publish EXCHANGE ROUTING_KEY
    rabbitmq_client.py URL bind EXCHANGE ROUTING_KEY QUEUE
    rabbitmq_client.py URL get QUEUE
"""

import json
import sys
import time

import pika

url, verb, *names = sys.argv[1:]
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
if verb == "publish":
    exchange, routing_key = names
    parcel = json.load(sys.stdin)
    headers = parcel["headers"]
    properties = pika.BasicProperties(content_type=headers.pop("content-type", None), headers=headers)
    channel.confirm_delivery()
    channel.basic_publish(exchange, routing_key, parcel["body"].encode(), properties, mandatory=True)
elif verb == "bind":
    exchange, routing_key, queue = names
    channel.queue_declare(queue, arguments={"x-expires": 120_000})
    channel.queue_bind(queue, exchange, routing_key)
else:
    deadline = time.monotonic() + 20
    method = None
    while method is None:
        if time.monotonic() > deadline:
            sys.exit("nothing came")
        method, properties, body = channel.basic_get(names[0], auto_ack=True)
        time.sleep(0 if method else 0.05)
    headers = dict(properties.headers or {})
    if properties.content_type:
        headers["content-type"] = properties.content_type
    print(json.dumps({"headers": headers, "body": body.decode()}, default=str))
connection.close()
