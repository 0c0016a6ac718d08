//! Asks rtnetlink, and reads every answer to its end.
//!
//! Touches rtnetlink and the clock. The kernel makes one dump at a time for each socket: until the last part of a dump was read, it refuses
//! the next one with EBUSY (`__netlink_dump_start` of net/netlink/af_netlink.c). So whoever stops at the answer that he looked for makes
//! the next question fail. [`dump`] and [`one`] always read the rest. clippy.toml forbids every other way to ask, with the lint
//! `disallowed_methods`.
//!
//! A dump is busy for other reasons too, which end soon: a clone of the handle waits for its own dump, or a future that had waited for one
//! was dropped, and the connection still reads the rest. Therefore [`dump`] asks again.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")
)]

use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use rtnetlink::{AddressGetRequest, LinkGetRequest, NeighbourGetRequest, RouteGetRequest, RuleGetRequest};
use tokio::time::{Instant, sleep};

/// For how long a dump that is refused with EBUSY is asked for again. The kernel needs milliseconds for the other one.
const PATIENCE: Duration = Duration::from_secs(2);
/// The wait before a dump is asked for again.
const RETRY: Duration = Duration::from_millis(1);

/// A request of rtnetlink that changes nothing.
pub trait GetRequest {
    /// One message of the answer.
    type Answer;

    /// Sends the request. What is returned has to be read to its end.
    fn answers(self) -> impl Stream<Item = Result<Self::Answer, rtnetlink::Error>> + Send;
}

macro_rules! get_requests {
    ($($request:ident -> $answer:ident)*) => {
        $(impl GetRequest for $request {
            type Answer = $answer;

            #[allow(clippy::disallowed_methods, reason = "the functions of this crate read it to its end")]
            fn answers(self) -> impl Stream<Item = Result<$answer, rtnetlink::Error>> + Send {
                self.execute()
            }
        })*
    };
}

get_requests! {
    AddressGetRequest -> AddressMessage
    LinkGetRequest -> LinkMessage
    NeighbourGetRequest -> NeighbourMessage
    RouteGetRequest -> RouteMessage
    RuleGetRequest -> RuleMessage
}

/// All answers to a dump. `ask` makes the request, as in `handle.address().get()`, each time that it is called.
///
/// # Errors
/// Those of rtnetlink; EBUSY only if the socket is busy for two seconds.
pub async fn dump<R: GetRequest>(ask: impl Fn() -> R) -> Result<Vec<R::Answer>, rtnetlink::Error> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match all(ask()).await {
            Err(error) if is_busy(&error) && Instant::now() < give_up => sleep(RETRY).await,
            other => return other,
        }
    }
}

/// The answer to a request that has one, such as that for a link with a name, or for the route to an address. `None`: the kernel gave none.
///
/// # Errors
/// Those of rtnetlink.
pub async fn one<R: GetRequest>(request: R) -> Result<Option<R::Answer>, rtnetlink::Error> {
    Ok(all(request).await?.into_iter().next())
}

/// Reads to the end also after an answer that is an error.
async fn all<R: GetRequest>(request: R) -> Result<Vec<R::Answer>, rtnetlink::Error> {
    let answers: Vec<_> = request.answers().collect().await;
    answers.into_iter().collect()
}

fn is_busy(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    message.to_io().raw_os_error() == Some(libc::EBUSY)
}

#[cfg(test)]
mod tests;
