//! Dead letters: look, deliver again, drop.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pubsub::{
    ChannelName, DeadLetterBox, Envelope, ErrorKind, EventId, Events, GroupName, LetterFilter, Payload, PubSub,
    TopologyMode,
};

#[pubsub::event("notes:taken")]
struct Note {
    number: u32,
}

/// A bus whose group `g` has given up so many notes, and the group.
async fn given_up(count: u32) -> (PubSub, Events<Note>, DeadLetterBox) {
    let bus = pubsub::connect("memory:").await.unwrap();
    let mut notes = bus.subscribe::<Note>().group("g").await.unwrap();
    for number in 0..count {
        bus.publish(&Note { number }).id(id(number)).await.unwrap();
        let reason = if number % 2 == 0 { "even" } else { "odd" };
        notes.next().await.unwrap().unwrap().reject(reason).unwrap();
    }
    let letters = bus.dead_letter_box("notes", "g").unwrap();
    until(&letters, &LetterFilter::all(), count as usize).await;
    (bus, notes, letters)
}

fn id(number: u32) -> EventId {
    EventId::parse(&format!("note-{number}")).unwrap()
}

/// Waits until so many letters are left; the writer works beside us.
async fn until(letters: &DeadLetterBox, filter: &LetterFilter, count: usize) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let found = letters.list(filter, 10_000).await.unwrap();
        if found.len() == count {
            return found.iter().map(|letter| letter.id().to_string()).collect();
        }
        assert!(tokio::time::Instant::now() < deadline, "{} letters, not {count}", found.len());
        tokio::task::yield_now().await;
    }
}

async fn silent(events: &mut Events<Note>) {
    let event = events.next_timeout(Duration::from_millis(50)).await.unwrap();
    assert!(event.is_none(), "{:?}", event.map(|event| event.number));
}

#[tokio::test]
async fn letters_are_listed_and_shown() {
    let (bus, _notes, letters) = given_up(6).await;
    let all = letters.list(&LetterFilter::all(), 4).await.unwrap();
    assert_eq!(
        all.iter().map(|letter| letter.id().to_string()).collect::<Vec<_>>(),
        ["note-0", "note-1", "note-2", "note-3"]
    );
    assert_eq!((all[1].reason(), all[1].attempts()), ("odd", 1));
    assert!(all[1].first_seen().is_some());
    assert_eq!(until(&letters, &LetterFilter::all().reason("odd"), 3).await, ["note-1", "note-3", "note-5"]);
    let later = all[3].time();
    assert!(letters.list(&LetterFilter::all().until(later), 9).await.unwrap().iter().all(|one| one.time() < later));
    assert!(letters.list(&LetterFilter::all().since(later), 9).await.unwrap().iter().all(|one| one.time() >= later));
    assert_eq!(letters.list(&LetterFilter::all().names("notes:*").unwrap(), 9).await.unwrap().len(), 6);
    assert!(letters.list(&LetterFilter::all().names("other:*").unwrap(), 9).await.unwrap().is_empty());
    let shown = letters.show(&id(3)).await.unwrap();
    assert_eq!(shown.message().decode::<Note>().unwrap().number, 3);
    assert_eq!(letters.show(&id(9)).await.unwrap_err().kind(), ErrorKind::NotFound);
    let nobody = bus.dead_letter_box("notes", "nobody").unwrap();
    assert!(nobody.list(&LetterFilter::all(), 9).await.unwrap().is_empty());
    assert!(bus.dead_letter_box("no channel", "g").is_err());
}

#[tokio::test]
async fn a_letter_is_delivered_again_to_its_group_alone_and_once() {
    let (bus, mut notes, letters) = given_up(3).await;
    let mut others = bus.subscribe::<Note>().group("other").from_latest().await.unwrap();
    let mut everybody = bus.subscribe::<Note>().await.unwrap();
    for expected in [1, 0] {
        let outcome = letters.redrive(&LetterFilter::id(id(1))).await.unwrap();
        assert_eq!((outcome.done, outcome.failed), (expected, 0), "{:?}", outcome.first_error);
    }
    let again = notes.next().await.unwrap().unwrap();
    assert_eq!((again.number, again.id(), again.attempt()), (1, &id(1), 1));
    let meta = again.meta().clone();
    assert!(meta.dead_reason.is_none() && meta.dead_source.is_none() && meta.dead_time.is_none());
    again.ack();
    silent(&mut notes).await;
    silent(&mut others).await;
    silent(&mut everybody).await;
    assert_eq!(until(&letters, &LetterFilter::all(), 2).await, ["note-0", "note-2"]);
    assert_eq!(letters.show(&id(1)).await.unwrap_err().kind(), ErrorKind::NotFound);
    // Other groups go on as before.
    bus.publish(&Note { number: 9 }).await.unwrap();
    for events in [&mut notes, &mut others, &mut everybody] {
        let note = events.next().await.unwrap().unwrap();
        assert_eq!(note.number, 9);
        note.ack();
    }
}

#[tokio::test]
async fn all_letters_are_delivered_again_and_one_that_fails_anew_is_a_letter_anew() {
    let (_bus, mut notes, letters) = given_up(5).await;
    let outcome = letters.redrive(&LetterFilter::all().reason("even")).await.unwrap();
    assert_eq!((outcome.done, outcome.failed), (3, 0));
    for expected in [0, 2, 4] {
        let note = notes.next().await.unwrap().unwrap();
        assert_eq!(note.number, expected);
        if expected == 2 { note.reject("still even").unwrap() } else { note.ack() }
    }
    assert_eq!(until(&letters, &LetterFilter::all(), 3).await, ["note-1", "note-3", "note-2"]);
    assert_eq!(letters.show(&id(2)).await.unwrap().reason(), "still even");
    assert_eq!(letters.redrive(&LetterFilter::all()).await.unwrap().done, 3);
    assert_eq!(letters.redrive(&LetterFilter::all()).await.unwrap().done, 0);
    for expected in [1, 3, 2] {
        let note = notes.next().await.unwrap().unwrap();
        assert_eq!(note.number, expected);
        note.ack();
    }
    silent(&mut notes).await;
}

#[tokio::test]
async fn what_is_dropped_is_gone_and_stays_in_the_log() {
    let (bus, mut notes, letters) = given_up(4).await;
    assert_eq!(letters.discard(&LetterFilter::all().reason("odd")).await.unwrap().done, 2);
    assert_eq!(letters.discard(&LetterFilter::all().reason("odd")).await.unwrap().done, 0);
    assert_eq!(until(&letters, &LetterFilter::all(), 2).await, ["note-0", "note-2"]);
    assert_eq!(letters.redrive(&LetterFilter::id(id(1))).await.unwrap().done, 0);
    silent(&mut notes).await;
    let log = bus.dead_letters("notes", "g", pubsub::StartPosition::Earliest).await.unwrap();
    assert_eq!(log.events.len(), 4);
}

#[tokio::test]
async fn a_channel_that_remembers_the_id_refuses_and_the_letter_stays() {
    let policy = pubsub::ChannelPolicy::new().dedup_window(Duration::from_secs(60));
    let bus = pubsub::builder("memory:").await.unwrap().policy("notes", policy).unwrap().build();
    let mut notes = bus.subscribe::<Note>().group("g").await.unwrap();
    bus.publish(&Note { number: 1 }).id(id(1)).await.unwrap();
    notes.next().await.unwrap().unwrap().reject("no").unwrap();
    let letters = bus.dead_letter_box("notes", "g").unwrap();
    until(&letters, &LetterFilter::all(), 1).await;
    let outcome = letters.redrive(&LetterFilter::all()).await.unwrap();
    assert_eq!((outcome.done, outcome.failed), (0, 1));
    assert_eq!(outcome.first_error.unwrap().kind(), ErrorKind::Conflict);
    assert_eq!(letters.list(&LetterFilter::all(), 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_letter_whose_channel_is_missing_stays_until_there_is_one() {
    let open = async |mode| {
        let builder = pubsub::builder("memory://letters-whose-channel-is-missing").await.unwrap();
        builder.topology_mode(mode).build()
    };
    let (making, strict) = (open(TopologyMode::Create).await, open(TopologyMode::Validate).await);
    let (channel, group) = (ChannelName::parse("notes").unwrap(), GroupName::parse("g").unwrap());
    let name = "notes:taken".parse().unwrap();
    let mut letter = Envelope::new(name, channel.dead_letter(&group), Payload::json(r#"{"number":1}"#));
    letter.meta.dead_reason = Some("no".to_owned());
    letter.meta.dead_time = Some(letter.timestamp);
    letter.meta.dead_source = Some(channel);
    making.publish_envelope(letter).await.unwrap();
    let letters = strict.dead_letter_box("notes", "g").unwrap();
    let outcome = letters.redrive(&LetterFilter::all()).await.unwrap();
    assert_eq!((outcome.done, outcome.failed), (0, 1));
    assert_eq!(outcome.first_error.unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(letters.list(&LetterFilter::all(), 9).await.unwrap().len(), 1);
    let mut notes = making.subscribe::<Note>().group("g").await.unwrap();
    assert_eq!(letters.redrive(&LetterFilter::all()).await.unwrap().done, 1);
    assert_eq!(notes.next().await.unwrap().unwrap().number, 1);
}

#[tokio::test]
async fn more_letters_than_a_page_are_all_found() {
    let (_bus, _notes, letters) = given_up(2_500).await;
    assert_eq!(letters.list(&LetterFilter::all(), 2_400).await.unwrap().len(), 2_400);
    assert_eq!(letters.discard(&LetterFilter::all()).await.unwrap().done, 2_500);
    assert!(letters.list(&LetterFilter::all(), 1).await.unwrap().is_empty());
}
