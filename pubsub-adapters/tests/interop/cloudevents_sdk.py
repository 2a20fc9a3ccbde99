"""The stock SDK of CloudEvents: writes an event as a parcel, or reads one from it.

    cloudevents_sdk.py write kafka|amqp|http binary|structured
    cloudevents_sdk.py read kafka|amqp|http

NATS has the rules of HTTP.
"""

import json
import sys
from datetime import datetime

from cloudevents.core.bindings import amqp, http, kafka
from cloudevents.core.v1.event import CloudEvent


def write(binding, mode, event):
    if binding == "kafka":
        message = getattr(kafka, f"to_{mode}_event")(event)
        headers = {name: value.decode() for name, value in message.headers.items()}
        return {"headers": headers, "key": message.key, "body": message.value.decode()}
    if binding == "amqp":
        message = getattr(amqp, f"to_{mode}_event")(event)
        return {
            "headers": message.application_properties | message.properties,
            "body": message.application_data.decode(),
        }
    message = getattr(http, f"to_{mode}_event")(event)
    return {"headers": message.headers, "body": message.body.decode()}


def read(binding, parcel):
    headers, body = parcel["headers"], parcel["body"].encode()
    if binding == "kafka":
        headers = {name: value.encode() for name, value in headers.items()}
        return kafka.from_kafka_event(kafka.KafkaMessage(headers, parcel.get("key"), body))
    if binding == "amqp":
        properties = {name: headers.pop(name) for name in ["content-type"] if name in headers}
        return amqp.from_amqp_event(amqp.AMQPMessage(properties, headers, body))
    return http.from_http_event(http.HTTPMessage(headers, body))


def text(value):
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(f"not a value of JSON: {value!r}")


verb, binding, *mode = sys.argv[1:]
given = json.load(sys.stdin)
if verb == "write":
    attributes = given["attributes"]
    attributes["time"] = datetime.fromisoformat(attributes["time"])
    print(json.dumps(write(binding, *mode, CloudEvent(attributes, given["data"]))))
else:
    event = read(binding, given)
    print(json.dumps({"attributes": event.get_attributes(), "data": event.get_data()}, default=text))
