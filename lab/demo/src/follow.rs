//! Converts the logs of the routers and the client to the events that are shown.
//!
//! Pure, except for the logs that it reads.

use std::time::Duration;

use lab::flows::Control;
use scene::fib::Change;
use scene::wire::{Message, between};
use scene::{FRONTENDS, ROUTERS, address};

use crate::flows::broken;
use crate::script::{Logs, VIP};
use crate::view::{EventKind, View};

/// A route that is removed and added again within this time was only replaced: netlink reports both.
const REPLACED: Duration = Duration::from_millis(20);

/// The positions up to which the logs were read.
pub(crate) struct LogFollower {
    logs: Logs,
    wire: Vec<usize>,
    fib: Vec<usize>,
    buckets: usize,
    /// The long-lived connections, from when they are open.
    pub(crate) flows: Option<Control>,
}

impl LogFollower {
    /// Starts now, when every frontend is in both FIBs.
    pub(crate) fn new(logs: Logs) -> LogFollower {
        let wire = logs.wire.iter().map(scene::log::Log::count).collect();
        let fib = logs.fib.iter().map(scene::log::Log::count).collect();
        LogFollower { logs, wire, fib, buckets: 0, flows: None }
    }

    /// Reads the new entries, and passes them to the view.
    pub(crate) fn catch_up(&mut self, view: &mut View) {
        for router in 0..ROUTERS.len() {
            let heard = self.logs.wire[router].skip(self.wire[router]);
            self.wire[router] += heard.len();
            heard.iter().for_each(|message| message_seen(view, router, message));

            let changes = self.logs.fib[router].skip(self.fib[router]);
            self.fib[router] += changes.len();
            let changes: Vec<&Change> =
                changes.iter().filter(|change| change.prefix.addr().to_string() == VIP).collect();
            for (index, change) in changes.iter().enumerate() {
                let next = changes.get(index + 1);
                if next.is_none_or(|next| between(change.at, next.at) > REPLACED) {
                    let there = |frontend: &&str| change.next_hops.contains(&address(router, frontend, VIP));
                    let hops: Vec<&str> = FRONTENDS.iter().filter(|fe| there(fe)).copied().collect();
                    view.fib(router, change.at, &hops);
                }
            }
        }
        let full = self.logs.buckets.skip(self.buckets);
        self.buckets += full.len();
        full.iter().for_each(|bucket| view.requests(bucket));
        if let Some(flows) = &self.flows {
            view.flows_broken(broken(&flows.report()));
        }
        view.settle();
    }
}

fn message_seen(view: &mut View, router: usize, message: &Message) {
    let Ok(vip) = VIP.parse() else { return };
    let Some(frontend) = FRONTENDS.into_iter().find(|fe| address(router, fe, VIP) == message.from) else {
        return;
    };
    let name = ROUTERS[router];
    if message.withdraws(vip) {
        view.event(message.at, EventKind::Gone, format!("{name} hears {frontend} withdraw {VIP}"));
    }
    if message.announces(vip) {
        view.event(message.at, EventKind::Back, format!("{name} hears {frontend} announce {VIP}"));
    }
    if let Some((code, subcode, _)) = message.notification() {
        let text = format!("{name} hears {frontend} end the session (NOTIFICATION {code}/{subcode})");
        view.event(message.at, EventKind::Gone, text);
    }
}
