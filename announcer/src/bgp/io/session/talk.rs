//! Converts received octets to events, and the messages of the state machine to octets.
//!
//! Touches the session's connection.

use tracing::debug;

use super::{Session, WrittenCause, now};
use crate::bgp::fsm::{Backlog, Event, OutgoingMessage};
use crate::bgp::io::connection::{Connection, Progress, ReadResult};
use crate::bgp::open::negotiate;
use crate::bgp::reason::TcpFailure;
use crate::bgp::wire::{self, Message};

/// The most reads at once: with 16 KiB each, more than a session's peer sends in its hold time.
const MOST_READS: usize = 64;

impl Session {
    /// Reads once, and handles every complete message.
    pub(super) fn read(&mut self) {
        let read = self.connection.as_mut().map(Connection::read);
        self.received(read);
    }

    /// Reads everything that has arrived, even if this happens late, so that only missing messages count against the peer.
    pub(super) fn read_all(&mut self) {
        for _ in 0..MOST_READS {
            let read = self.connection.as_mut().map(Connection::read_now);
            if self.received(read) == 0 {
                return;
            }
        }
    }

    /// Handles the messages that have arrived, and ignores how the connection ends.
    fn read_rest(&mut self) {
        for _ in 0..MOST_READS {
            let Some(Ok(ReadResult::Octets)) = self.connection.as_mut().map(Connection::read_now) else {
                return;
            };
            self.messages();
            let Some(Ok(1..)) = self.connection.as_mut().map(Connection::taken) else { return };
        }
    }

    /// Handles the messages of a read, and returns how many octets they had.
    fn received(&mut self, read: Option<Result<ReadResult, TcpFailure>>) -> usize {
        match read {
            Some(Ok(ReadResult::Octets)) => self.messages(),
            Some(Ok(ReadResult::Nothing)) | None => return 0,
            Some(Err(failure)) => {
                self.handle(Event::TcpFails(failure));
                return 0;
            }
        }
        // The messages may have ended the connection.
        match self.connection.as_mut().map(Connection::taken) {
            Some(Ok(count)) => count,
            None => 0,
            Some(Err(failure)) => {
                self.handle(Event::TcpFails(failure));
                0
            }
        }
    }

    fn messages(&mut self) {
        while let Some(connection) = &mut self.connection {
            let event = match connection.framer.next() {
                Ok(Some(message)) => self.event(message),
                Ok(None) => return,
                Err(notification) => Event::HeaderError(notification),
            };
            let broken = matches!(event, Event::HeaderError(_));
            self.handle(event);
            if broken {
                return;
            }
        }
    }

    fn event(&mut self, message: Message) -> Event {
        let received = &mut self.status.received;
        match message {
            Message::Open(open) => {
                received.open += 1;
                debug!(kind = "OPEN", "message received");
                match open.and_then(|open| negotiate(&self.offer, &open)) {
                    Ok(negotiated) => {
                        self.status.outage.open_accepted();
                        self.hang = Some(now() + super::HANG);
                        Event::Open(negotiated)
                    }
                    Err(error) => Event::OpenError(error),
                }
            }
            Message::Update(envelope) => {
                received.update += 1;
                debug!(kind = "UPDATE", "message received");
                envelope.map_or_else(Event::UpdateError, |()| Event::Update)
            }
            Message::Notification(notification) => {
                received.notification += 1;
                debug!(kind = "NOTIFICATION", %notification, "message received");
                Event::Notification(notification)
            }
            Message::Keepalive => {
                received.keepalive += 1;
                debug!(kind = "KEEPALIVE", "message received");
                Event::Keepalive
            }
            Message::Refresh(refresh) => {
                received.refresh += 1;
                debug!(kind = "ROUTE-REFRESH", "message received");
                let asked =
                    self.routes.as_ref().map_or(Ok(None), |routes| routes.negotiated.refresh(&refresh));
                asked.map_or_else(Event::RefreshError, Event::Refresh)
            }
        }
    }

    pub(super) fn send(&mut self, message: &OutgoingMessage) {
        let Some(connection) = &mut self.connection else { return };
        let tail = connection.outbox.tail();
        let sent = &mut self.status.sent;
        match message {
            OutgoingMessage::Open => {
                sent.open += 1;
                debug!(kind = "OPEN", "message sent");
                wire::open(tail, &self.offer);
            }
            OutgoingMessage::Keepalive => {
                sent.keepalive += 1;
                debug!(kind = "KEEPALIVE", "message sent");
                wire::keepalive(tail);
            }
            OutgoingMessage::Notification(notification) => {
                sent.notification += 1;
                debug!(kind = "NOTIFICATION", %notification, "message sent");
                wire::notification(tail, notification);
            }
        }
    }

    pub(super) fn flush(&mut self) {
        if self.is_silent() {
            return;
        }
        let Some(connection) = &mut self.connection else { return };
        let written = connection.write();
        while let Some(known) = connection.outbox.written_for() {
            let written = now();
            self.status.wire.add(written.duration_since(known));
            self.status.last_written = Some(WrittenCause { known, written });
        }
        match written {
            Ok(true) => self.handle(Event::Unsent),
            Ok(false) => {}
            Err(failure) => {
                // The peer's last messages may still be unread. The end of the stream says less than the write error, and the
                // kernel returns that error only once.
                self.read_rest();
                if self.connection.is_some() {
                    self.handle(Event::TcpFails(failure));
                }
            }
        }
    }

    pub(super) fn ask(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        match connection.ask() {
            Ok(Progress::All) => self.handle(Event::Sent(Backlog::Nothing)),
            Ok(Progress::Some) => self.handle(Event::Sent(Backlog::Some)),
            Ok(Progress::None) => {}
            Ok(Progress::Lost) => self.handle(Event::TcpFails(TcpFailure::TimedOut)),
            Err(error) => self.handle(Event::TcpFails(TcpFailure::Other(error.to_string()))),
        }
    }
}
