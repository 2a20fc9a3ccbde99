//! A5–A8, A13: payloads and metadata survive unchanged, and foreign bytes do no harm.

use pubsub_core::{ContentType, Envelope, ErrorKind, Key, Origin, Payload, Timestamp, driver::Feature};
use serde_json::json;

use crate::{
    conformance::{Case, Ctx, Mode, Note, Verdict, dead_letters, ensure, failed, next, same, text},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "A5",
        title: "JSON text survives byte for byte",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::CorruptPayload, Fault::DropContentType],
        run: |ctx| Box::pin(json_text(ctx, Mode::Durable)),
    },
    Case {
        id: "A5-ephemeral",
        title: "JSON text survives a broadcast byte for byte",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::CorruptPayload, Fault::DropContentType],
        run: |ctx| Box::pin(json_text(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "A6",
        title: "bodies of any bytes and media type survive: all of ASCII, unicode, paths, invalid UTF-8",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::CorruptPayload, Fault::DropContentType],
        run: |ctx| Box::pin(any_bytes(ctx, Mode::Durable)),
    },
    Case {
        id: "A6-ephemeral",
        title: "bodies of any bytes and media type survive a broadcast",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::CorruptPayload, Fault::DropContentType],
        run: |ctx| Box::pin(any_bytes(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "A7",
        title: "metadata survives: odd names, unicode, all of ASCII, structured values, key, time and trace",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::DropHeaders, Fault::DropKey],
        run: |ctx| Box::pin(metadata(ctx, Mode::Durable)),
    },
    Case {
        id: "A7-ephemeral",
        title: "metadata survives a broadcast",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::DropHeaders, Fault::DropKey],
        run: |ctx| Box::pin(metadata(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "A8",
        title: "bytes that are no UTF-8 where JSON is promised become dead letters, and the group goes on",
        needs: &[Feature::DurableGroup, Feature::DeadLetter],
        bites: &[Fault::CorruptPayload, Fault::LoseMessage],
        run: |ctx| Box::pin(foreign_bytes_in_a_group(ctx)),
    },
    Case {
        id: "A8-ephemeral",
        title: "bytes that are no UTF-8 where JSON is promised are an error of a broadcast, which goes on",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::CorruptPayload, Fault::LoseMessage],
        run: |ctx| Box::pin(foreign_bytes_in_a_broadcast(ctx)),
    },
    Case {
        id: "A13",
        title: "an empty body, `null` and a tombstone stay distinct",
        needs: &[Feature::DurableGroup, Feature::Tombstone],
        bites: &[Fault::TombstoneIsEmpty],
        run: |ctx| Box::pin(nothing(ctx, Mode::Durable)),
    },
    Case {
        id: "A13-ephemeral",
        title: "an empty body, `null` and a tombstone stay distinct in a broadcast",
        needs: &[Feature::EphemeralBroadcast, Feature::Tombstone],
        bites: &[Fault::TombstoneIsEmpty],
        run: |ctx| Box::pin(nothing(ctx, Mode::Ephemeral)),
    },
];

/// Each event arrives as it was published, with everything that belongs to it.
async fn survives(ctx: &Ctx, mode: Mode, make: impl FnOnce(&mut Vec<Envelope>, Envelope) -> Verdict) -> Verdict {
    let (bus, channel) = (ctx.bus_in(mode).await?, ctx.channel("a")?);
    let mut events = ctx.reader(&bus, &channel, mode, "readers").await?;
    let mut all = Vec::new();
    make(&mut all, text(&channel, "null")?)?;
    for (index, sent) in all.into_iter().enumerate() {
        bus.publish_envelope(sent.clone()).await?;
        let event = next(ctx, &mut events).await.map_err(|failure| failure.during(format!("event {index}")))?;
        same(&format!("event {index}"), event.message().envelope().clone(), sent)?;
        event.ack();
    }
    Ok(())
}

/// A copy of an envelope with an id of its own and another payload.
fn with(plain: &Envelope, payload: Payload) -> Envelope {
    let mut envelope = Envelope::new(plain.name.clone(), plain.channel.clone(), payload);
    envelope.meta = plain.meta.clone();
    envelope
}

async fn json_text(ctx: Ctx, mode: Mode) -> Verdict {
    let texts = [
        "{\"b\" : 1,\n\t\"a\":[ 1.0 , 1e400,-0 ]}",
        r#"{"a":"\u00e9\ud83d\ude00 é😀","a":null}"#,
        "  \"text\"\r\n",
        "12345678901234567890123456789012345678901234567890",
    ];
    survives(&ctx, mode, |all, plain| {
        all.extend(texts.map(|text| with(&plain, Payload::json(text))));
        Ok(())
    })
    .await
}

async fn any_bytes(ctx: Ctx, mode: Mode) -> Verdict {
    survives(&ctx, mode, |all, plain| {
        let bodies: [Vec<u8>; 6] = [
            (0..=127).collect(),
            "Ünïcödé – 漢字 – 😀 – \u{202e}".into(),
            b"/../../etc/passwd\0C:\\x\\%00".to_vec(),
            vec![0xff, 0xfe, 0x00, 0xc3, 0x28],
            (0..=255).collect(),
            Vec::new(),
        ];
        for body in bodies {
            all.push(with(&plain, Payload::bytes(body.clone())));
            let content_type = ContentType::parse("text/plain; charset=\"x-odd\"")?;
            all.push(with(&plain, Payload::Data { bytes: body.into(), content_type }));
        }
        Ok(())
    })
    .await
}

async fn metadata(ctx: Ctx, mode: Mode) -> Verdict {
    let ascii: String = (0..=127_u8).map(char::from).collect();
    let odd = ["a/b", "a.b..c", "\"quoted\"", "with space", "1st", "Ünï-漢", "ce_id", "", "=;,", "UPPER-lower"];
    survives(&ctx, mode, |all, plain| {
        let mut names = plain.clone();
        names.meta.extra.extend(odd.map(|name| (name.to_owned(), json!(format!("value of {name}")))));
        let mut values = with(&plain, Payload::json("1"));
        values.meta.extra.insert(ascii.clone(), json!(ascii));
        values.meta.extra.insert("line".into(), json!("a\r\nb: c\u{0}"));
        values.meta.extra.insert("nested".into(), json!({"list": [1, -2.5, null, true], "empty": {}}));
        let mut fields = with(&plain, Payload::json("2"));
        fields.key = Some(Key::new("key / ключ")?);
        fields.version = 7;
        fields.timestamp = Timestamp::from_millis(1_234_567_890_123)?;
        fields.meta.correlation_id = Some("correlation 1".into());
        fields.meta.causation_id = Some("cause/2".into());
        fields.meta.user_id = Some("üser".into());
        fields.meta.client_event_id = Some("client-3".into());
        fields.meta.origin = Some(Origin::Api);
        fields.meta.deadline = Some(Timestamp::from_millis(4_102_444_800_000)?);
        fields.meta.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
        fields.meta.tracestate = Some("vendor=1".into());
        all.extend([names, values, fields]);
        Ok(())
    })
    .await
}

const FOREIGN: [&[u8]; 3] = [b"\xff\xfe{}", b"{\"topic\":\"\xc3\x28\",\"number\":1}", b"{\"topic\":"];

fn foreign(body: &'static [u8]) -> Verdict<Envelope> {
    let note = Envelope::of(Note { topic: "t".into(), number: 0 })?.encode()?;
    Ok(Envelope { payload: Payload::json(body), ..note })
}

async fn foreign_bytes_in_a_group(ctx: Ctx) -> Verdict {
    let bus = ctx.bus().await?;
    let mut events = bus.subscribe::<Note>().group("readers").await?;
    for body in FOREIGN {
        bus.publish_envelope(foreign(body)?).await?;
    }
    let good = Note { topic: "t".into(), number: 1 };
    bus.publish(&good).await?;
    let event = next(&ctx, &mut events).await?;
    same("the event after the foreign ones", (*event).clone(), good)?;
    let channel = event.message().channel().clone();
    event.ack();
    let dead = dead_letters(&ctx, &bus, &channel, "readers", FOREIGN.len()).await?;
    let mut bodies: Vec<_> = dead.iter().filter_map(|stored| stored.message.payload().data().cloned()).collect();
    bodies.sort();
    let mut expected = FOREIGN.map(bytes::Bytes::from_static).to_vec();
    expected.sort();
    same("the dead letters' bytes", bodies, expected)
}

async fn foreign_bytes_in_a_broadcast(ctx: Ctx) -> Verdict {
    let bus = ctx.bus_in(Mode::Ephemeral).await?;
    let mut events = bus.subscribe::<Note>().await?;
    for body in FOREIGN {
        bus.publish_envelope(foreign(body)?).await?;
        match tokio::time::timeout(ctx.bounds().receive, events.next()).await {
            Ok(Some(Err(error))) => {
                ensure(error.kind() == ErrorKind::Codec, "an error of kind codec", format!("{error:?}"))?;
            }
            other => return failed("an error of kind codec", format!("{other:?}")),
        }
    }
    let good = Note { topic: "t".into(), number: 1 };
    bus.publish(&good).await?;
    same("the event after the foreign ones", (*next(&ctx, &mut events).await?).clone(), good)
}

async fn nothing(ctx: Ctx, mode: Mode) -> Verdict {
    survives(&ctx, mode, |all, plain| {
        let payloads = [Payload::json(""), Payload::json("null"), Payload::bytes(""), Payload::Tombstone];
        for payload in payloads {
            let mut event = with(&plain, payload);
            event.key = Some(Key::new("subject")?);
            all.push(event);
        }
        Ok(())
    })
    .await
}
