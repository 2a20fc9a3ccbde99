//! The groups of a channel: made, joined, deleted.

use std::sync::{Arc, atomic::Ordering};

use pubsub_core::{GroupName, Ordering as EventOrder, Result, driver::SubscribeOptions};

use super::{Channel, State};
use crate::memory::group::{Group, Member, Window};

impl Channel {
    /// Makes a group of this name, unless there is one.
    pub(in crate::memory) fn group(&self, name: &GroupName, base: u64) {
        let mut state = self.lock();
        if state.find_group(name).is_none() {
            state.add_group(self, name, base);
        }
    }

    /// Takes part in a group, which begins where the options say if it is made now. Under one lock: it is not deleted in
    /// between.
    pub(in crate::memory) fn join(
        &self,
        name: &GroupName,
        options: &SubscribeOptions,
        window: Arc<Window>,
    ) -> Result<(Arc<Group>, Arc<Member>)> {
        let mut state = self.lock();
        let group = match state.find_group(name) {
            // The start position is for fresh groups; a known one goes on where it stopped.
            Some(group) => group.clone(),
            None => {
                let base = self.resolve(&state, &options.start, false)?;
                state.add_group(self, name, base)
            }
        };
        let member = group.join(&self.name, options, window)?;
        Ok((group, member))
    }

    pub(in crate::memory) fn has_group(&self, name: &GroupName) -> bool {
        self.lock().find_group(name).is_some()
    }

    /// How many messages wait for a group; none if there is none.
    pub(in crate::memory) fn lag(&self, name: &GroupName) -> Option<u64> {
        let state = self.lock();
        Some(state.find_group(name)?.lag(state.first(), state.end()))
    }

    /// Takes out a group; none if there is none, or it has members. Afterwards, with no lock held, comes
    /// [`Channel::let_go`], and the group may be dropped.
    pub(in crate::memory) fn take_group(&self, name: &GroupName) -> Option<Arc<Group>> {
        let mut state = self.lock();
        let index = state.groups.iter().position(|group| group.name == *name && group.end())?;
        state.room_until = 0;
        self.readers.fetch_sub(1, Ordering::AcqRel);
        Some(state.groups.remove(index))
    }

    /// Lets go whoever waited for a group that is gone.
    pub(in crate::memory) fn let_go(&self) {
        self.announce_room();
        self.confirms.check();
    }
}

impl State {
    pub(in crate::memory) fn find_group(&self, name: &GroupName) -> Option<&Arc<Group>> {
        self.groups.iter().find(|group| group.name == *name)
    }

    fn add_group(&mut self, channel: &Channel, name: &GroupName, base: u64) -> Arc<Group> {
        let base = base.max(self.log.first);
        let ordered = match self.policy.ordering {
            EventOrder::None => None,
            EventOrder::Total => Some(true),
            _ => Some(false),
        };
        let group = Arc::new(Group::new(name.clone(), ordered, channel.capacity, base, self.log.reader_at(base)));
        self.groups.push(group.clone());
        self.room_until = 0;
        channel.readers.fetch_add(1, Ordering::AcqRel);
        group
    }
}
