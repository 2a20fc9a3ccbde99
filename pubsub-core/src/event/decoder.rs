//! A decoder of a handler's own, for events that others write in another way.

use std::{error::Error as StdError, fmt, marker::PhantomData, ops::Deref};

use crate::{Error, ErrorKind, Event, EventArg, EventDefinition, Fault, Message, Result};

/// Reads an event that is not written as the library writes it: not as JSON, or as other JSON.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not decode `{E}`",
    label = "not a decoder of this event",
    note = "implement `Decoder<{E}>` for it"
)]
pub trait Decoder<E: Event>: Send + 'static {
    /// Reads it. The message's version is the decoder's to look at: no upcaster runs before it, and no schema is held
    /// against what it returns.
    ///
    /// # Errors
    /// Why it is no such event; the text reaches the dead letter.
    fn decode(message: &Message) -> std::result::Result<E, Box<dyn StdError + Send + Sync>>;
}

/// The first argument of a handler that reads its event by the decoder `D`. Only this handler does: others of the same
/// event, in this group or another, read it as they are written.
///
/// ```
/// use std::error::Error;
///
/// # use pubsub_core as pubsub;
/// use pubsub::{DecodedBy, Decoder, Event, Message};
///
/// # #[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
/// struct Measured {
///     celsius: f64,
/// }
/// # impl Event for Measured {
/// #     const NAME: &'static str = "sensors:measured";
/// #     const CHANNEL: &'static str = "sensors";
/// # }
///
/// /// Old sensors send bare text.
/// struct Text;
///
/// impl Decoder<Measured> for Text {
///     fn decode(message: &Message) -> Result<Measured, Box<dyn Error + Send + Sync>> {
///         let text = std::str::from_utf8(message.payload().data().ok_or("a tombstone")?)?;
///         Ok(Measured { celsius: text.parse()? })
///     }
/// }
///
/// async fn store(measured: DecodedBy<Text, Measured>) {
///     println!("{} degrees", measured.celsius);
/// }
/// ```
pub struct DecodedBy<D, E>(E, PhantomData<fn() -> D>);

impl<D, E> DecodedBy<D, E> {
    /// The event.
    pub fn into_inner(self) -> E {
        self.0
    }
}

impl<D, E> Deref for DecodedBy<D, E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.0
    }
}

impl<D, E: fmt::Debug> fmt::Debug for DecodedBy<D, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DecodedBy").field(&self.0).finish()
    }
}

impl<D: Decoder<E>, E: Event> EventArg for DecodedBy<D, E> {
    type Event = E;

    fn take(message: &Message, _: bool, definition: &EventDefinition) -> Result<Self> {
        definition.check_name(message)?;
        match D::decode(message) {
            Ok(event) => Ok(Self(event, PhantomData)),
            Err(cause) => {
                let text = "the handler's own decoder does not take the payload";
                let fault = Fault { pointer: String::new(), message: cause.to_string() };
                let error = Error::new(ErrorKind::Codec, "decode", text).with_faults(vec![fault]).because(cause);
                Err(error.on(message.channel()))
            }
        }
    }
}
