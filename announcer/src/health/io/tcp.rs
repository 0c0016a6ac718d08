//! The TCP probe: one connection, over TCP or to a unix socket, on which text may be sent and expected.
//!
//! Touches the network. A probe of a VIP also comes from the VIP, as in [`super::http`] (RFC 9293).
//!
//! We close first, with a FIN, so that TIME-WAIT is at our port and not at the server's. A reset would avoid TIME-WAIT, but many
//! servers log a reset as an aborted client, and lose data that they have not read. Before the close, everything that has arrived
//! is read, because otherwise the close would be a reset. On one host, TIME-WAIT costs little: the kernel reuses such a port after
//! a second (`tcp_tw_reuse` 2, the default), and a VIP has 28,000 ports.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::{connect, probe_error};
use super::prober::Prober;
use super::result::{self, ProbeError};
use super::stream::ProbeStream;
use crate::config::endpoint::Endpoint;
use crate::config::kind;
use crate::config::kind::tcp::{Answer, Failure};
use crate::config::pattern::Pattern;
use crate::health::Target;
use crate::health::outcome::{Outcome, Reason, TimeoutPhase};
use crate::model::text::PrintableText;
use crate::time_limit::io::within;

#[cfg(test)]
mod tests;

/// How many octets of an answer are searched for the expected text.
const MOST: usize = 16 * 1024;

/// A prepared probe of one address and port, which can be repeated.
#[derive(Debug)]
pub struct TcpProbe {
    /// The endpoint to connect to.
    endpoint: Endpoint,
    /// The text to send after connecting; may be empty.
    send: String,
    /// The expected text; without it the connection is enough.
    expect: Option<Pattern>,
    /// For a whole probe.
    timeout: Duration,
}

impl TcpProbe {
    /// A probe of `tcp` at a target.
    pub fn of(_: &Prober, target: &Target, tcp: &kind::tcp::TcpConfig) -> Self {
        TcpProbe {
            endpoint: target.endpoint(tcp.port, None),
            send: tcp.talk.send.as_ref().map_or_else(String::new, |send| send.as_str().to_owned()),
            expect: tcp.talk.expect.clone(),
            timeout: target.config.timeout,
        }
    }

    /// Makes one probe. If the future is dropped, the connection is closed.
    pub async fn probe(&self) -> Outcome {
        let start = Instant::now();
        let (mut waiting, mut came) = (TimeoutPhase::Connection, Vec::with_capacity(1024));
        let mut answer = within(self.timeout, self.ask(&mut waiting, &mut came)).await;
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
            said.map_err(|error| probe_error(&self.endpoint, &error))?;
            finish(&stream);
            return Ok(Answer::Connected);
        };
        // A server may send a refusal before it reads our text. Then its text counts, and not our failed write.
        while !expect.found_in(&String::from_utf8_lossy(came)) {
            let room = MOST.saturating_sub(came.len());
            let read = (&mut stream).take(u64::try_from(room).unwrap_or(0)).read_buf(came).await;
            match read {
                Ok(0) if came.is_empty() => return Err(ProbeError::Fail(Reason::Closed)),
                Ok(0) => return Err(unexpected(came)),
                Ok(_) => {}
                Err(_) if !came.is_empty() => return Err(unexpected(came)),
                Err(error) => return Err(probe_error(&self.endpoint, &error)),
            }
        }
        finish(&stream);
        Ok(Answer::Expected)
    }
}

fn unexpected(came: &[u8]) -> ProbeError {
    ProbeError::of(Failure::Unexpected(PrintableText::new(&String::from_utf8_lossy(came))))
}

/// Reads the octets that have arrived, so that the close is a FIN.
fn finish(stream: &ProbeStream) {
    let mut left = MOST;
    while let Ok(read @ 1..) = stream.try_read(&mut [0; 4096])
        && left > 0
    {
        left = left.saturating_sub(read);
    }
}
