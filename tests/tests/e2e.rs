//! End-to-end tests: the daemon with real routers, real web servers and real clients.
//!
//! All scenarios run in one lab, one after the other; before each, all faults are repaired.

#[path = "e2e/announce.rs"]
mod announce;
#[path = "e2e/bgp.rs"]
mod bgp;
#[path = "e2e/checks.rs"]
mod checks;
#[path = "e2e/clock.rs"]
mod clock;
#[path = "e2e/common.rs"]
mod common;
#[path = "e2e/daemon.rs"]
mod daemon;
#[path = "e2e/drain.rs"]
mod drain;
#[path = "e2e/host.rs"]
mod host;
#[path = "e2e/listener.rs"]
mod listener;
#[path = "e2e/operator.rs"]
mod operator;
#[path = "e2e/paths.rs"]
mod paths;
#[path = "e2e/refusal.rs"]
mod refusal;
#[path = "e2e/reload.rs"]
mod reload;
#[path = "e2e/replaced.rs"]
mod replaced;
#[path = "e2e/router.rs"]
mod router;
#[path = "e2e/server.rs"]
mod server;
#[path = "e2e/session.rs"]
mod session;
#[path = "e2e/shortage.rs"]
mod shortage;
#[path = "e2e/silence.rs"]
mod silence;
#[path = "e2e/support.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use scene::Scene;

type Scenario = fn(&Scene) -> Result<()>;

/// It takes minutes, so only `make soak` runs it.
const SOAK: &str = "servers_replaced_for_minutes_are_never_withdrawn";

/// It needs a daemon of another build than the installed one, which the lab's image does not have.
const CLOCK: &str = "a_clock_stepped_by_a_year_withdraws_nothing";

/// Whether a scenario is only run if it is asked for.
fn is_ignored(name: &str) -> bool {
    name == SOAK || (name == CLOCK && lab::engine::installed().is_some())
}

const SCENARIOS: &[(&str, Scenario)] = &[
    ("announce", announce::announce),
    ("announced_octets_are_what_the_rfc_says", announce::octets),
    ("ecmp_spreads_over_all_three", announce::ecmp),
    ("crash_is_withdrawn_and_return_announced", server::crash_and_return),
    ("hang_is_withdrawn", server::hang),
    ("http_503_is_withdrawn", server::unhealthy),
    ("a_server_that_flaps_is_the_last_choice_until_it_has_stayed", server::flaps),
    ("a_backend_that_failed_three_times_everywhere_is_reachable_at_once", common::flapping),
    ("a_check_that_fails_everywhere_withdraws_the_vip", common::withdraw),
    ("deprefer_everywhere_loses_no_request", common::deprefer),
    ("a_backup_takes_over_and_gives_back", common::backup),
    ("each_kind_of_check_against_real_servers", checks::kinds),
    ("drain_by_command_and_undrain", drain::drain_by_command),
    ("drain_by_file", drain::drain_by_file),
    ("drain_outlives_a_restart", drain::drain_over_restart),
    ("a_drain_of_nothing_is_a_usage_error", drain::drain_usage),
    ("sigterm_withdraws_then_ceases_and_leaves_the_vips", daemon::sigterm),
    ("a_stop_before_the_web_server_loses_no_request", daemon::stop_under_load),
    ("daemon_killed_and_started_again", daemon::daemon_killed),
    ("one_daemon_a_host", daemon::one_daemon),
    ("a_vip_removed_by_hand_is_put_back", host::vip_removed),
    ("a_vip_removed_again_and_again_has_to_stay", listener::vip_removed),
    ("a_crash_is_withdrawn_within_milliseconds_whatever_the_interval", listener::crashes),
    ("nginx_reloads_upgrades_and_loses_workers_without_a_withdraw", replaced::nginx),
    ("haproxy_reloads_without_a_withdraw", replaced::haproxy),
    ("a_server_activated_by_its_socket_is_never_withdrawn", replaced::activated),
    ("a_listener_that_dies_before_a_translated_server_is_no_crash", replaced::translated),
    ("a_link_that_is_cut_ends_its_session_alone", listener::link_down),
    ("a_vip_without_a_service_is_removed_if_ours", host::vip_without_service),
    ("a_server_that_is_not_ready_is_not_announced", operator::slow_start),
    ("explain_and_check_say_what_is", operator::explain_and_check),
    ("recheck_probes_at_once", operator::recheck),
    ("metrics_follow_what_happens", operator::metrics),
    ("a_hook_is_run_and_waited_for_by_nobody", operator::hook),
    ("no_descriptor_left_withdraws_nothing", shortage::descriptors),
    ("a_full_disk_refuses_drains_alone", shortage::disk),
    ("a_storm_of_reloads_resets_nothing", shortage::reloads),
    ("a_rolling_restart_loses_no_request", shortage::rolling_restart),
    ("the_acl_lets_the_web_through_alone", paths::acl),
    ("replies_leave_by_the_other_router", paths::other_way),
    ("silence_is_ended_by_the_hold_timer", silence::hold_timer),
    ("a_router_that_falls_silent_is_survived", silence::router),
    (CLOCK, clock::stepped),
    ("one_router_goes_and_the_other_has_all", silence::one_router_gone),
    ("a_wrong_as_is_reported_on_either_side", refusal::wrong_as),
    ("a_refused_prefix_leaves_the_session_and_a_route_refresh_is_answered", refusal::prefix_refused),
    ("a_tripped_maximum_prefix_is_reported", refusal::maximum_prefix),
    ("reload_changes_what_changed_and_nothing_else", reload::reload),
    ("a_reload_that_is_wrong_or_too_much_changes_nothing", reload::reload_refused),
    ("each_key_reloaded_under_load_withdraws_nothing", reload::reload_under_load),
    ("a_key_rotated_router_by_router_never_takes_the_vip_away", session::key_rotation),
    ("ttl_security_against_an_unmodified_router_is_hinted_at", session::ttl_security),
    ("a_router_mended_under_ttl_security_is_seen_soon", bgp::ttl_security_mended),
    ("rfc_8950_ipv4_goes_over_an_ipv6_session", bgp::ipv4_over_ipv6),
    ("rfc_4724_a_daemon_back_in_time_is_never_missed", bgp::graceful_restart),
    ("router_restart", router::router_restart),
    ("dsr_setup_is_idempotent_and_refuses_while_announced", host::dsr_setup),
    (SOAK, replaced::soak),
    ("power_off_of_a_router_is_survived", router::router_power_off), // the last: the router stays off
];

fn main() -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let wanted = |name: &str| {
        let fits =
            |filter: &String| if arguments.exact { name == filter } else { name.contains(filter.as_str()) };
        arguments.filter.as_ref().is_none_or(fits)
    };
    let patient = arguments.ignored || arguments.include_ignored;
    let any = SCENARIOS.iter().any(|(name, _)| wanted(name) && (patient || !is_ignored(name)));
    if arguments.list || !any {
        return run(&arguments, None);
    }
    match Scene::up() {
        Err(e) => {
            eprintln!("the lab did not come up: {e:#}");
            ExitCode::FAILURE
        }
        Ok(scene) => {
            let scene = Arc::new(scene);
            let code = run(&arguments, Some(scene.clone()));
            let down = Arc::into_inner(scene).context("a scenario still holds the lab").and_then(Scene::down);
            match down {
                Ok(()) => code,
                Err(e) => {
                    eprintln!("the lab did not end: {e:#}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

fn run(arguments: &Arguments, scene: Option<Arc<Scene>>) -> ExitCode {
    let trial = |(name, scenario): &(&'static str, Scenario)| {
        let (name, scenario, scene) = (*name, *scenario, scene.clone());
        Trial::test(name, move || {
            let scene = scene.ok_or_else(|| Failed::from("no lab"))?;
            let played = scene.mend().context("before it").and_then(|()| scenario(&scene));
            played.map_err(|e| Failed::from(format!("{e:#}")))
        })
        .with_ignored_flag(is_ignored(name))
    };
    libtest_mimic::run(arguments, SCENARIOS.iter().map(trial).collect()).exit_code()
}
