//! Asks a running announcer which VIPs it holds on lo.
//!
//! Touches its control socket: one line of JSON out, one line back.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::answer;

const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_ANSWER: u64 = 64 << 20; // octets

/// The VIPs that it holds; none if no daemon listens at `socket`.
pub async fn held(socket: &Path) -> Result<BTreeSet<IpAddr>, AskError> {
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(BTreeSet::new());
        }
        Err(error) => return Err(error.into()),
    };
    let line = tokio::time::timeout(PATIENCE, ask(stream)).await.map_err(|_| AskError::Silent)??;
    Ok(answer::held(&line)?)
}

async fn ask(mut stream: UnixStream) -> io::Result<String> {
    stream.write_all(answer::REQUEST.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_ANSWER)).read_line(&mut line).await?;
    Ok(line)
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
    /// Its answer cannot be read.
    #[error("its answer was not understood: {0}")]
    Answer(#[from] serde_json::Error),
}
