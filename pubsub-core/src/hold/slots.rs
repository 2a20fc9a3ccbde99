//! The unsettled events: slots with a free list, threaded by two lists in order of arrival, one over all events and
//! one over the events of each key.

use std::{
    collections::{HashMap, hash_map::Entry as MapEntry},
    mem,
    sync::Arc,
    time::Duration,
};

use crate::{AckHandle, Delivery, Error, Key, Mark, Message, Position, Timestamp};

pub(super) type Index = u32;
const NIL: Index = Index::MAX;

/// Where an unsettled event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// With a consumer, under this lease.
    Out(u64),
    /// In the process: handed out once this time has come and all before it in its key are out.
    Waiting(Option<Duration>),
}

pub(super) struct Entry {
    /// Grows with each arrival.
    pub(super) order: u64,
    pub(super) message: Arc<Message>,
    pub(super) attempt: u32,
    pub(super) shared: bool,
    pub(super) position: Option<Position>,
    pub(super) first_seen: Option<Timestamp>,
    pub(super) fault: Option<Arc<Error>>,
    /// The handle at the source inside, kept until the event is settled for good.
    pub(super) ack: AckHandle,
    pub(super) since: Mark,
    pub(super) state: State,
    links: [Links; 2],
}

impl Entry {
    pub(super) fn new(order: u64, delivery: Delivery, since: Mark) -> Self {
        let Delivery { message, attempt, shared, position, first_seen, fault, ack } = delivery;
        let (state, links) = (State::Waiting(None), [Links::NONE; 2]);
        Self { order, message, attempt, shared, position, first_seen, fault, ack, since, state, links }
    }
}

#[derive(Clone, Copy)]
struct Links {
    prev: Index,
    next: Index,
}

impl Links {
    const NONE: Self = Self { prev: NIL, next: NIL };
}

/// The two lists.
#[derive(Clone, Copy)]
enum List {
    All = 0,
    Key = 1,
}

#[derive(Clone, Copy)]
struct Ends {
    first: Index,
    last: Index,
}

impl Ends {
    const NONE: Self = Self { first: NIL, last: NIL };
}

struct Slot {
    entry: Option<Entry>,
    next_free: Index,
}

/// What events keep their order with: a key, or all others.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    All,
    Key(Key),
}

pub(super) struct Slots {
    /// Whether all events are in one lane.
    total: bool,
    slots: Vec<Slot>,
    free: Index,
    used: usize,
    all: Ends,
    /// Only keys with unsettled events are here, so the map is as bounded as the slots are.
    keys: HashMap<Lane, Ends>,
}

impl Slots {
    pub(super) fn new(total: bool) -> Self {
        Self { total, slots: Vec::new(), free: NIL, used: 0, all: Ends::NONE, keys: HashMap::new() }
    }

    pub(super) fn lane_of(&self, message: &Message) -> Option<Lane> {
        if self.total { Some(Lane::All) } else { message.key().cloned().map(Lane::Key) }
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    pub(super) fn get(&self, index: Index) -> Option<&Entry> {
        self.slots.get(index as usize)?.entry.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: Index) -> Option<&mut Entry> {
        self.slots.get_mut(index as usize)?.entry.as_mut()
    }

    /// The event that arrived first.
    pub(super) fn first(&self) -> Option<Index> {
        present(self.all.first)
    }

    /// The event that arrived after this one.
    pub(super) fn next(&self, index: Index) -> Option<Index> {
        present(self.links(index, List::All).next)
    }

    /// The event of a key that arrived first.
    pub(super) fn first_of_key(&self, key: Option<&Lane>) -> Option<Index> {
        self.keys.get(key?).map(|ends| ends.first)
    }

    /// The event before this one in its key.
    pub(super) fn before_in_key(&self, index: Index) -> Option<Index> {
        present(self.links(index, List::Key).prev)
    }

    /// The event after this one in its key.
    pub(super) fn after_in_key(&self, index: Index) -> Option<Index> {
        present(self.links(index, List::Key).next)
    }

    fn links(&self, index: Index, list: List) -> Links {
        self.get(index).map_or(Links::NONE, |entry| entry.links[list as usize])
    }

    /// Adds the latest event.
    pub(super) fn push(&mut self, entry: Entry) -> Index {
        let key = self.lane_of(&entry.message);
        let index = match self.slots.get_mut(self.free as usize) {
            Some(slot) => {
                slot.entry = Some(entry);
                mem::replace(&mut self.free, slot.next_free)
            }
            None => {
                self.slots.push(Slot { entry: Some(entry), next_free: NIL });
                // The window, which bounds the slots, is smaller than NIL.
                (self.slots.len() - 1) as Index
            }
        };
        self.used += 1;
        self.all = self.append(List::All, self.all, index);
        if let Some(key) = key {
            let before = match self.keys.entry(key) {
                MapEntry::Occupied(mut known) => {
                    let ends = *known.get();
                    known.get_mut().last = index;
                    ends
                }
                MapEntry::Vacant(new) => {
                    new.insert(Ends { first: index, last: index });
                    Ends::NONE
                }
            };
            self.append(List::Key, before, index);
        }
        index
    }

    /// Takes an event out.
    pub(super) fn remove(&mut self, index: Index) -> Option<Entry> {
        let slot = self.slots.get_mut(index as usize)?;
        let entry = slot.entry.take()?;
        slot.next_free = mem::replace(&mut self.free, index);
        self.used -= 1;
        self.all = self.unlink(List::All, self.all, entry.links[List::All as usize]);
        let links = entry.links[List::Key as usize];
        if links.prev != NIL && links.next != NIL {
            // The map knows the ends of a key alone.
            self.unlink(List::Key, Ends::NONE, links);
        } else if let Some(key) = self.lane_of(&entry.message) {
            if links.prev == NIL && links.next == NIL {
                self.keys.remove(&key);
            } else {
                let ends = self.keys.get(&key).copied().unwrap_or(Ends::NONE);
                let ends = self.unlink(List::Key, ends, links);
                if let Some(known) = self.keys.get_mut(&key) {
                    *known = ends;
                }
            }
        }
        Some(entry)
    }

    fn append(&mut self, list: List, ends: Ends, index: Index) -> Ends {
        if let Some(last) = self.get_mut(ends.last) {
            last.links[list as usize].next = index;
        }
        if let Some(entry) = self.get_mut(index) {
            entry.links[list as usize] = Links { prev: ends.last, next: NIL };
        }
        Ends { first: present(ends.first).unwrap_or(index), last: index }
    }

    fn unlink(&mut self, list: List, mut ends: Ends, links: Links) -> Ends {
        match self.get_mut(links.prev) {
            Some(prev) => prev.links[list as usize].next = links.next,
            None => ends.first = links.next,
        }
        match self.get_mut(links.next) {
            Some(next) => next.links[list as usize].prev = links.prev,
            None => ends.last = links.prev,
        }
        ends
    }
}

fn present(index: Index) -> Option<Index> {
    (index != NIL).then_some(index)
}
