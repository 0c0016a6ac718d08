//! Asks a running announcer which VIPs it holds on lo.
//!
//! Touches its control socket.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use hyper::Method;
use tokio::net::UnixStream;

use super::http::{self, HttpReply};
use crate::answer;

const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_ANSWER: usize = 64 << 20; // octets

/// The VIPs that it holds; none if no daemon listens at `socket`.
pub async fn held(socket: &Path) -> Result<BTreeSet<IpAddr>, AskError> {
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(BTreeSet::new());
        }
        Err(error) => return Err(error.into()),
    };
    let reply = http::send(stream, Method::GET, answer::PATH, Vec::new(), LONGEST_ANSWER);
    let HttpReply { status, body } =
        tokio::time::timeout(PATIENCE, reply).await.map_err(|_| AskError::Silent)??;
    if status != 200 {
        return Err(AskError::Refused(answer::error(&body).unwrap_or_else(|| format!("HTTP {status}"))));
    }
    Ok(answer::held(&body)?)
}

/// Why the request to a daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Connecting, writing or reading failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It accepted the request and gave no answer.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// It refused the request, with this text.
    #[error("{0}")]
    Refused(String),
    /// Its answer cannot be read.
    #[error("its answer was not understood: {0}")]
    Answer(#[from] serde_json::Error),
}
