//! Events of the outbox that go out once more: in their old places, before whatever is new.

use std::sync::Arc;

use pubsub_core::{Error, ErrorKind, Result};

use super::{
    connection::Shared,
    outbox::State,
    post::{Need, Post, Stage},
    topology::Route,
};

impl State {
    /// Makes a stream that is gone anew. The events that need it are held meanwhile.
    pub(super) fn revive(&mut self, shared: &Arc<Shared>, need: Need, route: Arc<Route>) {
        if self.reviving.contains(&need) {
            return;
        }
        self.reviving.push(need.clone());
        shared.routes.forget(&need.0);
        let task = shared.clone();
        shared.spawn(async move {
            let shared = task;
            let (channel, scheduled) = &need;
            let found = match shared.find_or_restore(&route).await {
                Ok(info) if *scheduled && !info.config.allow_message_schedules => {
                    shared.allow_schedules(channel, info).await
                }
                found => found.map(drop),
            };
            let found = match found {
                Ok(()) => {
                    shared.route("publish", channel).await.ok();
                    Ok(())
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let text = "the channel does not exist, and channels must be declared";
                    Err(Error::new(ErrorKind::NotFound, "publish", text))
                }
                Err(error) => Err(error),
            };
            shared.outbox.tell_revived(&need, &found);
        });
    }

    /// Whether what an event needs is being made anew.
    pub(super) fn is_reviving(&self, post: &Post) -> bool {
        !self.reviving.is_empty() && self.reviving.contains(&post.need())
    }

    /// Lets go of what was held. What was never refused itself is tried in any case.
    pub(super) fn revived(&mut self, need: &Need, outcome: &Result<()>) {
        self.reviving.retain(|other| other != need);
        for (slot, number) in self.sent.iter_mut().zip(self.first..) {
            let held = |post: &mut Box<Post>| post.stage == Stage::Held && post.need() == *need;
            let Some(mut post) = slot.take_if(held) else { continue };
            match outcome {
                Err(error) if post.revived => post.finish(Err(error.clone())),
                _ => {
                    post.stage = Stage::Due;
                    *slot = Some(post);
                    self.due = Some(self.due.map_or(number, |due| due.min(number)));
                }
            }
        }
    }

    /// Has unconfirmed events sent again, unless they are held.
    pub(super) fn make_due(&mut self, mut wanted: impl FnMut(u64, &Post) -> bool) {
        for (slot, number) in self.sent.iter_mut().zip(self.first..) {
            if let Some(post) = slot
                && wanted(number, post)
                && post.stage != Stage::Held
                && post.may_go_again()
            {
                post.stage = Stage::Due;
                self.due = Some(self.due.map_or(number, |due| due.min(number)));
            }
        }
    }

    /// Sends what is due, in its order. False if the client does not take all of it now.
    pub(super) fn send_due(&mut self, shared: &Arc<Shared>) -> bool {
        let Some(due) = self.due else { return true };
        if !self.up {
            return false;
        }
        let begin = usize::try_from(due.saturating_sub(self.first)).unwrap_or(usize::MAX);
        for index in begin..self.sent.len() {
            let Some(mut post) = self.sent[index].take_if(|post| post.stage == Stage::Due) else { continue };
            let number = self.first + index as u64;
            match self.hand_over(shared, &mut post, self.reply(number)) {
                Ok(true) => {
                    post.stage = Stage::Sent;
                    self.sent[index] = Some(post);
                }
                Ok(false) => {
                    self.sent[index] = Some(post);
                    self.due = Some(number);
                    return false;
                }
                Err(error) => post.finish(Err(error)),
            }
        }
        self.due = None;
        true
    }
}
