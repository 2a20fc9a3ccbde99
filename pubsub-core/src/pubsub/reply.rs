//! Answering a request.

use std::{sync::Arc, time::Duration};

use smallvec::smallvec;

use super::PubSub;
use crate::{
    Clock, Error, ErrorKind, EventId, Message, Result, Timestamp,
    clock::LONGEST_WAIT,
    driver::PublishOptions,
    rpc::{Failure, FailureCode, ReplyBody, ReplyTo, StreamControl},
    wire::bounds,
};

/// Between two attempts to send an answer; a caller waits for it.
const PAUSE: Duration = Duration::from_millis(50);

impl PubSub {
    /// Sends an answer to whoever asked, and resolves when the broker has it. What does not arrive for a passing reason is
    /// sent again until the request's deadline, so that a request that was executed need not be executed again.
    ///
    /// Also while the bus is being closed: what was begun is finished. On a channel of the users' the answer is held
    /// against its policy.
    ///
    /// Order: answers of one request that are sent one after the other from one task arrive in that order, unless the
    /// broker refuses one of them.
    ///
    /// Cancel safety: dropped before it resolves, the answer may have been sent.
    ///
    /// # Errors
    /// `DeadlineExceeded` with nothing sent, `TooLarge` (the caller is told of that instead), `Unroutable` and `NotFound`
    /// where nobody listens any more, and others from the broker. None of them is a reason to execute the request again.
    pub async fn reply(&self, to: &ReplyTo, body: ReplyBody) -> Result<()> {
        let sent = self.send_reply(to, body).await;
        if let Err(error) = &sent
            && error.kind() == ErrorKind::TooLarge
        {
            let failure =
                Failure::new(FailureCode::PayloadTooLarge, format!("the reply is too large: {}", error.message()));
            self.send_reply(to, ReplyBody::Failure(failure)).await?;
        }
        sent
    }

    async fn send_reply(&self, to: &ReplyTo, body: ReplyBody) -> Result<()> {
        let id = EventId::generate(self.inner.settings.id_kind);
        let message = Arc::new(body.into_message(to, id, self.clock().now())?);
        self.send_until(message, to.deadline()).await
    }

    /// Tells the responder of the stream that answers `request` something, where it listens for it.
    ///
    /// # Errors
    /// As [`PubSub::reply`], whatever the broker says; it is not tried again.
    pub async fn steer(&self, to: &crate::ChannelName, request: &str, control: StreamControl) -> Result<()> {
        let id = EventId::generate(self.inner.settings.id_kind);
        let message = control.into_message(to, request, id, self.clock().now())?;
        self.send_once(&Arc::new(message), self.inner.settings.publish).await
    }

    /// Publishes an event that was published before: its payload is not held against the catalog again.
    pub(super) async fn publish_again(&self, message: Message) -> Result<crate::driver::Receipt> {
        self.open("redrive")?;
        let channel = self.inner.registry.channel(message.channel())?;
        let options = self.inner.settings.publish;
        super::publish::Draft::new(message, channel, true, options).send_unconditionally(self, options).await
    }

    async fn send_until(&self, message: Arc<Message>, deadline: Option<Timestamp>) -> Result<()> {
        let clock = self.clock();
        loop {
            let mut options = self.inner.settings.publish;
            if let Some(deadline) = deadline {
                let left = deadline.since(clock.now());
                if left.is_zero() {
                    let text = "nobody waits for the reply any more";
                    return Err(Error::new(ErrorKind::DeadlineExceeded, "reply", text).on(message.channel()));
                }
                options.timeout = options.timeout.min(left).min(LONGEST_WAIT);
            }
            match self.send_once(&message, options).await {
                Err(error) if deadline.is_some() && error.is_retryable() => {
                    // A clock that is moved by hand stands still while the broker, which it does not move, recovers.
                    Clock::system().check_timers("reply")?;
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn send_once(&self, message: &Arc<Message>, options: PublishOptions) -> Result<()> {
        bounds::check(message.meta(), "reply").map_err(|error| error.on(message.channel()))?;
        if !message.channel().is_inbox() {
            self.draft_raw(Message::clone(message))?.send_unconditionally(self, options).await?;
            return Ok(());
        }
        // Past the registry: it remembers channels, and every caller has an inbox of its own.
        let mut message = message.clone();
        let mut publishing = self.inner.observer.publishing(&mut message);
        let sent = match self.inner.adapter.enqueue(smallvec![message], &options).await {
            Ok(tickets) => tickets.await.and_then(super::publish::single).map(drop),
            Err(error) => Err(error),
        };
        publishing.ended(&sent);
        sent
    }
}
