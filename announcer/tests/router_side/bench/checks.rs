//! What a router has to do with the printed configuration.

use super::{Bench, FRONTENDS, FRONTENDS6, STRANGER, Setup, VIP, VIP6, text_of};

impl Bench<'_> {
    /// The VIPs come from both frontends, and what the second one announces beside them is refused.
    pub(crate) fn accepts_the_vips_and_nothing_else(&self) {
        for prefix in [VIP, VIP6] {
            let from_both = |shown: &str| (0..2).all(|index| self.is_next_hop(index, prefix, shown));
            self.wait("both frontends are next hops", || {
                let shown = self.routes(prefix);
                if from_both(&shown) { Ok(()) } else { Err(shown) }
            });
            if self.router.has_fib {
                self.wait("both are in the forwarding table", || {
                    let shown =
                        text_of(&self.run(&format!("ip route show {prefix}; ip -6 route show {prefix}")));
                    if from_both(&shown) { Ok(()) } else { Err(shown) }
                });
            }
        }
        self.wait("the printed command shows what was refused", || {
            let shown = self.arrived_from(1);
            if shown.contains("192.0.2.99") { Ok(()) } else { Err(shown) }
        });
        let shown = self.routes(STRANGER);
        assert!(!self.is_next_hop(1, STRANGER, &shown), "{STRANGER} was accepted: {shown}");
    }

    /// Whether a text about the routes to a prefix has the address of a frontend. On a session over IPv6, both families have IPv6 next
    /// hops if the router has RFC 8950.
    fn is_next_hop(&self, index: usize, prefix: &str, shown: &str) -> bool {
        let v6 = prefix.contains(':') || self.setup == Setup::OverIpv6;
        let v4 = !prefix.contains(':');
        v6 && shown.contains(FRONTENDS6[index]) || v4 && shown.contains(FRONTENDS[index])
    }

    /// The address of a frontend's session.
    fn frontend(&self, index: usize) -> &'static str {
        if self.setup == Setup::OverIpv6 { FRONTENDS6[index] } else { FRONTENDS[index] }
    }

    /// BFD is up at both sides; with a router that has none, the frontend says so and has its session.
    pub(crate) fn has_bfd(&self) {
        let shown = self.printed.contains("No BFD: ");
        assert_eq!(shown, self.router.bfd_up.is_none(), "{}", self.printed);
        let wanted = if self.router.bfd_up.is_some() { "Up" } else { "Down" };
        for index in 0..2 {
            self.wait("the frontend's BFD", || {
                let peer = &self.status(index)["peers"][0];
                let found = (peer["bfd"]["state"] == wanted && peer["state"] == "Established").then_some(());
                found.ok_or_else(|| peer.to_string())
            });
            let commands = self.verify_commands(self.frontend(index));
            let asked = commands.iter().filter(|(question, _)| question.contains("BFD"));
            let asked: Vec<_> = asked.map(|(_, command)| text_of(&self.run(command))).collect();
            assert_eq!(asked.len(), usize::from(self.router.bfd_up.is_some()), "{commands:#?}");
            let up = self.router.bfd_up.unwrap_or_default();
            assert!(asked.iter().all(|shown| shown.contains(up)), "{asked:#?}");
        }
    }

    /// Each command that `--verify` prints succeeds, and those that show routes name the VIP.
    pub(crate) fn shows_what_verify_promises(&self) {
        let commands = self.verify_commands(self.frontend(0));
        for (question, command) in &commands {
            let output = self.run(command);
            let shown = text_of(&output);
            assert!(output.status.success(), "{command}: {shown}");
            let asks_routes =
                ["accepted", "forwarding", "next hops"].iter().any(|word| question.contains(word));
            let names = |vip: &str| shown.contains(vip.split_once('/').unwrap().0);
            assert!(!asks_routes || names(VIP) || names(VIP6), "{command}: {shown}");
        }
        assert!(commands.len() >= 5, "{commands:#?}");
    }

    /// The commands that `--verify` prints, for a frontend and for the folder of this test, each with its question.
    fn verify_commands(&self, frontend: &str) -> Vec<(String, String)> {
        let printed = self.print(&["--verify"]).replace("FRONTEND-ADDRESS", self.frontend(0));
        let mut question = "";
        let mut commands = Vec::new();
        let printed = printed.replace(self.frontend(0), frontend);
        for line in printed.lines() {
            if let Some(asked) = line.strip_prefix("# ") {
                question = asked;
                continue;
            }
            let (own, here) = self.router.prompt;
            let command = line.strip_prefix(own).map_or(line.to_owned(), |rest| self.here(here) + rest);
            commands.push((question.to_owned(), command));
        }
        commands
    }

    /// The commands for the router's shell, which the configuration has as comments, succeed.
    pub(crate) fn runs_the_commands_for_the_shell(&self) {
        for command in
            self.printed.lines().filter_map(|line| line.split_once(" $ ").map(|(_, command)| command))
        {
            let output = self.run(command);
            assert!(output.status.success(), "{command}: {}", text_of(&output));
        }
        let rules = text_of(&self.run("nft list table inet announcer"));
        for words in ["ip daddr 192.0.2.80 drop", "ip6 daddr 2001:db8::80 tcp dport 443 accept"] {
            assert!(rules.contains(words), "{words}: {rules}");
        }
    }

    /// The first frontend sends GRACEFUL_SHUTDOWN: it is the last choice.
    pub(crate) fn acts_on_graceful_shutdown(&self) {
        let config = self.announcer_config(0, "", "communities = [\"graceful-shutdown\"]");
        self.reload_frontend(&config);
        self.wait("the route is the last choice", || {
            let shown = self.routes(VIP);
            if shown.contains(self.router.last_choice) { Ok(()) } else { Err(shown) }
        });
        if self.router.has_fib {
            self.wait("the first frontend gets nothing", || {
                let shown = text_of(&self.run(&format!("ip route show {VIP}")));
                let other = self.is_next_hop(1, VIP, &shown) && !self.is_next_hop(0, VIP, &shown);
                if other { Ok(()) } else { Err(shown) }
            });
        }
    }

    /// The first frontend announces 42 VIPs more than the router was configured for, and then one less: the session stays.
    pub(crate) fn keeps_its_sessions_when_vips_are_added(&self) {
        let sessions = || {
            let peer = &self.status(0)["peers"][0];
            (peer["state"].to_string(), peer["established"].to_string())
        };
        let before = sessions();
        assert_eq!(before.0, "\"Established\"");
        for last in [141, 140] {
            let more: String = (100..=last).map(|byte| format!(", \"192.0.2.{byte}\"")).collect();
            self.reload_frontend(&self.announcer_config(0, &more, ""));
            self.wait("the added VIPs arrive", || {
                let shown = self.arrived_from(0);
                let has = |byte: u8| shown.contains(&format!("192.0.2.{byte}"));
                if has(last) && !has(last + 1) { Ok(()) } else { Err(shown) }
            });
        }
        assert_eq!(sessions(), before, "{:#}", self.status(0)["peers"]);
        let shown = self.routes(VIP);
        assert!(self.is_next_hop(0, VIP, &shown), "{VIP} was lost: {shown}");
    }

    /// Gives the first frontend another configuration.
    fn reload_frontend(&self, config: &str) {
        self.write("fe0.toml", config, 0o644);
        self.must(&format!(
            "{} reload --socket {}",
            env!("CARGO_BIN_EXE_announcer"),
            self.path("fe0.sock").display()
        ));
    }

    /// What the printed commands show of the routes that arrived from a frontend, with those that were refused.
    fn arrived_from(&self, index: usize) -> String {
        let commands = self.verify_commands(self.frontend(index));
        let asks = commands.iter().filter(|(question, _)| question.contains("arrived"));
        asks.map(|(_, command)| text_of(&self.run(command))).collect()
    }

    /// Both frontends end, and packets for the VIPs are discarded.
    pub(crate) fn discards_packets_for_a_vip_that_nobody_announces(&mut self) {
        for process in self.processes.drain(self.router.start.len()..) {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(process.0.id()).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
            let mut process = process;
            process.0.wait().unwrap();
        }
        for prefix in [VIP, VIP6] {
            self.wait("the route of last resort is used", || {
                let shown = text_of(&self.run(&format!("ip route show {prefix}; ip -6 route show {prefix}")));
                if shown.contains("blackhole") && !shown.contains("via") { Ok(()) } else { Err(shown) }
            });
        }
    }
}
