//! The commands that show, on the router, whether its side works.

use std::fmt;

use ipnet::IpNet;

use crate::facts::{Facts, Family};
use crate::system::System;
use crate::{bird, eos, frr, gobgp, ios_xe, ios_xr, junos, nx_os, openbgpd, routeros, srlinux};

/// What a command shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Whether the session is Established.
    Session,
    /// Whether BFD is up.
    Bfd,
    /// The routes that the router received, before its policy.
    Received,
    /// The routes that its policy accepted.
    Accepted,
    /// The route in the forwarding table.
    Fib,
    /// The next hops of the route: one for each frontend.
    Members,
}

impl Question {
    /// The word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Question::Session => "session",
            Question::Bfd => "bfd",
            Question::Received => "received",
            Question::Accepted => "accepted",
            Question::Fib => "fib",
            Question::Members => "members",
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Question::Session => "is the session Established?",
            Question::Bfd => "is BFD up?",
            Question::Received => "which routes arrived?",
            Question::Accepted => "which of them were accepted?",
            Question::Fib => "is the VIP in the forwarding table?",
            Question::Members => "which frontends are its next hops?",
        })
    }
}

/// A command for the router's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What it shows.
    pub question: Question,
    /// The command, in one line.
    pub text: String,
}

impl Command {
    pub(crate) fn new(question: Question, text: impl Into<String>) -> Self {
        Command { question, text: text.into() }
    }
}

/// The commands that show the session, BFD if the frontends have it, the received and the accepted routes, the forwarding table and the members of ECMP, in this
/// order.
pub fn commands(system: System, facts: &Facts) -> Vec<Command> {
    let mut all = match system {
        System::Frr => frr::verify(facts),
        System::Bird => bird::verify(facts),
        System::Openbgpd => openbgpd::verify(facts),
        System::Gobgp => gobgp::verify(facts),
        System::Junos => junos::verify(facts),
        System::Eos => eos::verify(facts),
        System::IosXe => ios_xe::verify(facts),
        System::NxOs => nx_os::verify(facts),
        System::IosXr => ios_xr::verify(facts),
        System::Srlinux => srlinux::verify(facts),
        System::Routeros => routeros::verify(facts),
    };
    all.sort_by_key(|command| command.question);
    all
}

/// The command that shows BFD, if the frontends have it.
pub(crate) fn bfd(facts: &Facts, text: impl FnOnce() -> String) -> Option<Command> {
    facts.bfd.map(|_| Command::new(Question::Bfd, text()))
}

/// Calls `of` for each announced prefix.
pub(crate) fn each(facts: &Facts, mut of: impl FnMut(Family, &IpNet)) {
    for prefix in &facts.prefixes {
        of(Family::of(prefix), prefix);
    }
}
