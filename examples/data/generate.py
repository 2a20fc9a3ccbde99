#!/usr/bin/env python3
"""Writes orders.jsonl, the input of the example `orders`: python3 generate.py > orders.jsonl

A web shop's export as such files arrive: most lines are fine, and every kind of flaw that the example must survive is
among them. The seed is fixed and only `random()` is used, whose numbers no Python release changes, so the file is the
same on every machine. What each flaw leads to is in `FLAWS`; the counts go to standard error.
"""

import json
import random
import sys
from collections import Counter

GOOD_ORDERS = 3000
CUSTOMERS = 400
ITEMS = [  # sku, price in cents
    ("LAMP-DESK", 3490), ("LAMP-FLOOR", 8900), ("CHAIR-OAK", 12950), ("CHAIR-FOLD", 2499), ("TABLE-120", 24900),
    ("TABLE-160", 32900), ("SHELF-S", 4550), ("SHELF-L", 7995), ("RUG-WOOL", 15900), ("MUG-BLUE", 895),
    ("MUG-WHITE", 850), ("PLATE-SET", 4200), ("CANDLE-3", 1299), ("FRAME-A4", 1450), ("CLOCK-WALL", 2795),
]
DISCONTINUED = [("LAMP-LAVA", 2990), ("CHAIR-BAG", 5400), ("RADIO-TUBE", 9900)]  # the stock group gives these up
FIRST = ["Ada", "Bruno", "Chiara", "Dmitri", "Elif", "Farah", "Goran", "Hanna", "Ines", "Jörg", "Kofi", "Léa"]
CURRENCIES = ["EUR", "EUR", "EUR", "EUR", "USD", "GBP", "CHF"]

rng = random.Random(82)
flaws = Counter()


def below(limit):
    return int(rng.random() * limit)


def pick(items):
    return items[below(len(items))]


def chance(share):
    return rng.random() < share


def customer():
    # A few customers order often.
    number = below(20) if chance(0.2) else below(CUSTOMERS)
    name = FIRST[number % len(FIRST)]
    # Every fortieth customer left no address: the notifications group rejects their orders.
    email = None if number % 40 == 7 else f"{name.lower()}.{number:03}@shop.example"
    return f"C-{number:04}", name, email


def order(number):
    user_id, name, email = customer()
    items = [pick(ITEMS) for _ in range(1 + below(4))]
    if chance(0.01):
        items[below(len(items))] = pick(DISCONTINUED)
    lines = [{"sku": sku, "quantity": 1 + below(3), "price": cents / 100} for sku, cents in items]
    document = {"orderId": f"A-{number:05}", "userId": user_id}
    if email:
        document["email"] = email
    document["currency"] = pick(CURRENCIES)
    document["lines"] = lines
    document["total"] = sum(line["quantity"] * round(line["price"] * 100) for line in lines) / 100
    if chance(0.08):  # fields that nobody asked for are accepted
        flaws["(fine) unknown fields"] += 1
        document["note"] = pick(["ring twice", "Geschenk – bitte ohne Rechnung", "", None])
        document["shipping"] = {"name": name, "express": chance(0.3), "floor": below(9)}
    return document


def text(document):
    return json.dumps(document, ensure_ascii=False)


def changed(document, **fields):
    return text({**document, **fields})


def without(document, field):
    return text({key: value for key, value in document.items() if key != field})


def with_line(document, **fields):
    first, *rest = document["lines"]
    return changed(document, lines=[{**first, **fields}, *rest])


def cut(document):
    whole = text(document)
    return whole[: 1 + below(len(whole) - 2)]


def nested(depth):
    return "[" * depth + "]" * depth


# What is wrong with the line, how many of them, and the line made of an otherwise good order.
FLAWS = [
    ("blank_line", 9, lambda o: pick(["", "", "   ", "\t"])),
    ("line_too_long", 2, lambda o: changed(o, note="x" * 20_000)),
    ("not_utf8", 4, lambda o: changed(o, note="caf\0").encode().replace(b"\\u0000", b"\xe9")),
    ("not_json: truncated", 14, cut),
    ("not_json: NaN", 4, lambda o: changed(o, total=float("nan"))),
    ("not_json: two documents", 3, lambda o: text(o) + text(o)),
    ("not_json: not a document", 3, lambda o: pick(["orderId;userId;total", "<order/>", "-- end of page --"])),
    ("bad_field: no total", 8, lambda o: without(o, "total")),
    ("bad_field: null total", 4, lambda o: changed(o, total=None)),
    ("bad_field: total as text", 7, lambda o: changed(o, total=str(o["total"]))),
    ("bad_field: NaN as text", 4, lambda o: changed(o, total="NaN")),
    ("bad_field: total beyond all numbers", 2, lambda o: text(o).replace(f'"total": {o["total"]}', '"total": 1e999')),
    ("bad_field: no user", 4, lambda o: without(o, "userId")),
    ("bad_field: id as number", 5, lambda o: changed(o, orderId=int(o["orderId"][2:]))),
    ("bad_field: empty id", 3, lambda o: changed(o, orderId="")),
    ("bad_field: unknown currency", 4, lambda o: changed(o, currency="XBT")),
    ("bad_field: no lines", 4, lambda o: changed(o, lines=[], total=0)),
    ("bad_field: lines as object", 3, lambda o: changed(o, lines=o["lines"][0])),
    ("bad_field: quantity zero", 3, lambda o: with_line(o, quantity=0)),
    ("bad_field: quantity not whole", 3, lambda o: with_line(o, quantity=1.5)),
    ("bad_field: values without names", 2, lambda o: text(list(o.values()))),
    ("bad_field: very deep", 2, lambda o: text(o).replace('"lines": [', '"lines": [' + nested(4000) + ", ")),
    ("bad_amount: negative total", 9, lambda o: changed(o, total=-o["total"])),
    ("bad_amount: negative price", 3, lambda o: with_line(o, price=-1.0)),
    ("bad_amount: a tenth of a cent", 3, lambda o: changed(o, total=o["total"] + 0.001)),
    ("total_mismatch", 28, lambda o: changed(o, total=round(o["total"] + pick([-0.01, 0.01, 1, 10, 99.5]), 2))),
]


def main():
    lines = [text(order(number)) for number in range(1, GOOD_ORDERS + 1)]
    # Flawed lines come from orders of their own, so that none of them takes an id from a good one.
    number = GOOD_ORDERS
    for flaw, count, make in FLAWS:
        for _ in range(count):
            number += 1
            lines.insert(1 + below(len(lines)), make(order(number)))
            flaws[flaw] += 1
    # Unknown and very deep: read over, not read.
    lines.insert(700, text(order(number + 1))[:-1] + f', "trace": {nested(2000)}}}')
    # Repetitions come after the order that they repeat: the same bytes, or the same id with something else.
    for kind, count in (("duplicate", 46), ("conflict", 17)):
        for _ in range(count):
            at = below(len(lines) - 300)
            try:
                document = json.loads(lines[at])
                total = document["total"]
                valid = float(total) >= 0 and document["orderId"] <= f"A-{GOOD_ORDERS:05}"
            except (ValueError, TypeError, KeyError):
                valid = False
            if not valid or "trace" in document:
                continue
            line = lines[at]
            if kind == "conflict":
                first, *rest = document["lines"]
                line = changed(document, lines=[{**first, "quantity": first["quantity"] + 1}, *rest],
                               total=round(total + first["price"], 2))
            lines.insert(at + 1 + below(250), line)
            flaws[kind] += 1
    write(lines)
    for flaw, count in sorted(flaws.items()):
        print(f"{count:6} {flaw}", file=sys.stderr)


def write(lines):
    out = sys.stdout.buffer
    out.write(b"\xef\xbb\xbf")  # a byte order mark
    for at, line in enumerate(lines):
        out.write(line if isinstance(line, bytes) else line.encode())
        # One batch was exported on another system; the last line lacks its end.
        if at + 1 < len(lines):
            out.write(b"\r\n" if 1200 <= at < 1300 else b"\n")


if __name__ == "__main__":
    main()
