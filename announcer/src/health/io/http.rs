//! The HTTP probe: one GET of what a client would ask, over a new connection to the VIP itself.
//!
//! Touches the network. The connection comes from the VIP too: its socket is bound to it, so that a probe fails when the
//! VIP is not on this host, and never asks another host that has it. No name is looked up, no proxy used, no redirect
//! followed (RFC 9110).

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use reqwest::header::{HOST, HeaderValue, LOCATION};
use reqwest::{Client, Response, redirect};
use url::{Host, Position, Url};

use super::trouble::{self, Trouble, of_kernel};
use crate::health::outcome::{Answer, Outcome, Reason, Shown, Waiting};

#[cfg(test)]
mod tests;

/// Octets of a body that are read; the rest is nobody's concern.
const MOST_BODY: usize = 64 * 1024;

/// What we call ourselves.
const USER_AGENT: &str = concat!("announcer/", env!("CARGO_PKG_VERSION"));

/// A probe of one URL at one VIP, ready to be sent again and again.
#[derive(Debug)]
pub struct Http {
    /// Why it cannot be sent, if so: then each probe fails with that.
    ready: Result<Ready, Reason>,
    timeout: Duration,
}

#[derive(Debug)]
struct Ready {
    client: Client,
    url: Url,
    /// The Host field, where it is not that of `url`.
    host: Option<HeaderValue>,
}

impl Http {
    /// A probe of `url` at `vip`, on the port of `url`; `timeout` is for a whole probe.
    pub fn new(vip: IpAddr, url: &Url, timeout: Duration) -> Self {
        Http { ready: Ready::new(vip, url, timeout), timeout }
    }

    /// Asks once. Dropped, it lets go of its connection.
    pub async fn probe(&self) -> Outcome {
        let start = Instant::now();
        let mut waiting = Waiting::Answer;
        let answer = match &self.ready {
            Ok(ready) => tokio::time::timeout(self.timeout, ready.ask(&mut waiting)).await,
            Err(reason) => Ok(Err(Trouble::Fail(reason.clone()))),
        };
        trouble::outcome(answer, waiting, self.timeout, start.elapsed())
    }
}

impl Ready {
    fn new(vip: IpAddr, url: &Url, timeout: Duration) -> Result<Self, Reason> {
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .pool_max_idle_per_host(0)
            .tcp_keepalive(None)
            .local_address(vip)
            // A little less than the whole, so that it is this one that ends, and we know what was being waited for.
            .connect_timeout(timeout.saturating_sub(Duration::from_millis(2)).max(timeout / 2));
        let mut url = url.clone();
        let mut host = None;
        match url.host() {
            Some(Host::Domain(name)) => builder = builder.resolve(name, SocketAddr::new(vip, 0)),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => {
                host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]).ok();
                url.set_ip_host(vip).map_err(|()| other("URL has no host that could be replaced"))?;
            }
            None => return Err(other("URL has no host")),
        }
        let client = builder.build().map_err(|error| other(&innermost(&error)))?;
        Ok(Ready { client, url, host })
    }

    async fn ask(&self, waiting: &mut Waiting) -> Result<Answer, Trouble> {
        let mut request = self.client.get(self.url.clone());
        if let Some(host) = &self.host {
            request = request.header(HOST, host);
        }
        let response = request.send().await.map_err(|error| before_answer(&error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(Trouble::Fail(redirected(&response)));
        }
        if !status.is_success() {
            return Err(Trouble::Fail(Reason::Status(status.as_u16())));
        }
        *waiting = Waiting::Body;
        read(response).await?;
        Ok(Answer::Http(status.as_u16()))
    }
}

/// Reads a body, or as much of it as we care for.
async fn read(mut response: Response) -> Result<(), Trouble> {
    let mut left = MOST_BODY;
    while left > 0 {
        match response.chunk().await.map_err(|error| within_answer(&error))? {
            Some(chunk) => left = left.saturating_sub(chunk.len()),
            None => break,
        }
    }
    Ok(())
}

fn redirected(response: &Response) -> Reason {
    let status = response.status().as_u16();
    match response.headers().get(LOCATION) {
        Some(to) => Reason::Redirect { status, to: Shown::new(&String::from_utf8_lossy(to.as_bytes())) },
        None => Reason::Status(status),
    }
}

/// What an error means that came before a whole header did.
fn before_answer(error: &reqwest::Error) -> Trouble {
    if error.is_connect() && error.is_timeout() {
        return Trouble::TimedOut(Waiting::Connection);
    }
    if let Some(trouble) = find::<io::Error>(error).and_then(of_kernel) {
        return trouble;
    }
    match find::<hyper::Error>(error) {
        Some(hyper) if hyper.is_parse() => Trouble::Fail(Reason::NotHttp),
        Some(hyper) if hyper.is_incomplete_message() || hyper.is_canceled() || hyper.is_closed() => {
            Trouble::Fail(Reason::Closed)
        }
        Some(_) | None => Trouble::Fail(other(&innermost(error))),
    }
}

/// What an error means that came after the header.
fn within_answer(error: &reqwest::Error) -> Trouble {
    match find::<io::Error>(error).map(io::Error::kind) {
        // A chunk that is none.
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Trouble::Fail(Reason::NotHttp),
        Some(_) | None => Trouble::Fail(Reason::CutShort),
    }
}

fn other(text: &str) -> Reason {
    Reason::Other(Shown::new(text))
}

/// The first cause of a type.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
