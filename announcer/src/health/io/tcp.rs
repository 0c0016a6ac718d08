//! The TCP probe: one connection, over which something may be said and something be expected.
//!
//! Touches the network. A probe of a VIP comes from the VIP too, as that of [`super::http`] does (RFC 9293).
//!
//! We close first and with a FIN, so that TIME-WAIT stays at our port and never takes up the server's. A reset would leave
//! none, but many servers log it as a client that broke off, and with it what they had not read is lost to them. What has
//! arrived is read before the close, which would be a reset otherwise. On one host TIME-WAIT costs little: the kernel
//! uses such a port again after a second (`tcp_tw_reuse` 2, the default), and a VIP has 28,000 of them.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connect::{connect, meaning};
use super::prober::Prober;
use super::result::{self, ProbeError};
use crate::config::endpoint::Endpoint;
use crate::config::kind;
use crate::config::kind::tcp::{Answer, Failure};
use crate::config::pattern::Pattern;
use crate::health::Target;
use crate::health::outcome::{Outcome, Reason, TimeoutPhase};
use crate::model::text::PrintableText;

#[cfg(test)]
mod tests;

/// Octets of an answer in which the expected is looked for.
const MOST: usize = 16 * 1024;

/// A probe of one address and port, ready to be sent again and again.
#[derive(Debug)]
pub struct TcpProbe {
    /// Where it goes.
    endpoint: Endpoint,
    /// What is said once connected; may be empty.
    send: String,
    /// What has to come; without it the connection is enough.
    expect: Option<Pattern>,
    /// For a whole probe.
    timeout: Duration,
}

impl TcpProbe {
    /// A probe of `tcp` at a target.
    pub fn of(_: &Prober, target: &Target, tcp: &kind::tcp::TcpConfig) -> Self {
        TcpProbe {
            endpoint: target.endpoint(tcp.port, None),
            send: tcp.send.clone().unwrap_or_default(),
            expect: tcp.expect.clone(),
            timeout: target.config.timeout,
        }
    }

    /// Asks once. Dropped, it lets go of its connection.
    pub async fn probe(&self) -> Outcome {
        let start = Instant::now();
        let (mut waiting, mut came) = (TimeoutPhase::Connection, Vec::with_capacity(1024));
        let mut answer = tokio::time::timeout(self.timeout, self.ask(&mut waiting, &mut came)).await;
        if answer.is_err() && !came.is_empty() {
            answer = Ok(Err(unexpected(&came)));
        }
        result::outcome(answer, waiting, self.timeout, start.elapsed())
    }

    async fn ask(&self, waiting: &mut TimeoutPhase, came: &mut Vec<u8>) -> Result<Answer, ProbeError> {
        let mut stream = connect(&self.endpoint).await?;
        *waiting = TimeoutPhase::Answer;
        let said = stream.write_all(self.send.as_bytes()).await;
        let Some(expect) = &self.expect else {
            said.map_err(|error| meaning(&self.endpoint, &error))?;
            finish(&stream);
            return Ok(Answer::Connected);
        };
        // A server that refuses before it has listened says so: what it said counts, and not that we could not speak.
        while !expect.found_in(&String::from_utf8_lossy(came)) {
            let room = MOST.saturating_sub(came.len());
            let read = (&mut stream).take(u64::try_from(room).unwrap_or(0)).read_buf(came).await;
            match read {
                Ok(0) if came.is_empty() => return Err(ProbeError::Fail(Reason::Closed)),
                Ok(0) => return Err(unexpected(came)),
                Ok(_) => {}
                Err(_) if !came.is_empty() => return Err(unexpected(came)),
                Err(error) => return Err(meaning(&self.endpoint, &error)),
            }
        }
        finish(&stream);
        Ok(Answer::Expected)
    }
}

fn unexpected(came: &[u8]) -> ProbeError {
    ProbeError::of(Failure::Unexpected(PrintableText::new(&String::from_utf8_lossy(came))))
}

/// Takes what has arrived, so that the close is a FIN.
fn finish(stream: &TcpStream) {
    let mut left = MOST;
    while let Ok(read @ 1..) = stream.try_read(&mut [0; 4096])
        && left > 0
    {
        left = left.saturating_sub(read);
    }
}
