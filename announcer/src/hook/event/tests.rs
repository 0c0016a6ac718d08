use super::*;
use crate::config::tests::with_services;
use crate::director::{NotAnnouncedReason, Standing};
use crate::drain::Drain;

fn table() -> HookTable {
    let text = with_services!(
        "hooks = { on_change = [\"/r1\"] }\n\
         [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[service.hooks]\non_change = [\"/www\"]\n\
         [[service.check]]\ntcp = 80\n\
         [[service]]\nname = \"mail\"\nvips = [\"192.0.2.25\"]\n[service.hooks]\non_drain = [\"/mail-drain\", \"a\"]\n\
         timeout = \"3s\"\n[[service.check]]\ntcp = 25\n\
         [[service]]\nname = \"dns\"\nvips = [\"192.0.2.53\"]\n[[service.check]]\ntcp = 53\n\
         [hooks]\non_change = [\"/all\"]\non_drain = [\"/all-drain\"]\n"
    );
    HookTable::of(&crate::config::parse("x", text).unwrap_or_else(|errors| panic!("{errors}")))
}

fn standing(service: &str) -> HookEvent {
    HookEvent::of_standing(&StandingChange {
        service: service.parse().unwrap(),
        vip: [192, 0, 2, 80].into(),
        standing: Standing::Drained(Drain::parse("new\0kernel").into()),
        before: Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor("lo".into())),
    })
}

fn session(peer: &str, lost: bool) -> HookEvent {
    HookEvent::of_session(
        peer.parse().unwrap(),
        lost.then(|| ("hold_expired", "the hold timer expired".into())),
    )
}

fn drain(target: DrainTarget, services: &[&str]) -> HookEvent {
    let services = services.iter().map(|name| name.parse().unwrap()).collect();
    let source = EventSource::Drain { target, services };
    HookEvent { source, state: "begun", before: "ended", reason: "", message: "by ann".into() }
}

#[test]
fn each_event_runs_the_hooks_of_the_host_and_of_its_own_service_or_router_alone() {
    let table = table();
    for (what, event, want) in [
        ("a service with a hook", standing("www"), &["/all", "/www"][..]),
        ("a service with a hook for drains alone", standing("mail"), &["/all"]),
        ("a service without hooks", standing("dns"), &["/all"]),
        ("a session", session("r1", false), &["/r1"]),
        ("its loss", session("r1", true), &["/r1"]),
        ("the session of another router", session("r2", true), &[]),
        ("a drain of all", drain(DrainTarget::All, &["www", "mail", "dns"]), &["/all-drain", "/mail-drain"]),
        ("a drain of one", drain(DrainTarget::Service("www".into()), &["www"]), &["/all-drain"]),
        ("a drain of a router", drain(DrainTarget::Peer("r1".into()), &[]), &["/all-drain"]),
    ] {
        let owners = table.owners(&event);
        let programs: Vec<String> =
            (owners.iter()).map(|owner| table.command(owner, &event).unwrap().words[0].to_string()).collect();
        assert_eq!(programs, want, "{what}");
    }
    let mail =
        table.command(&HookOwner::Service("mail".parse().unwrap()), &drain(DrainTarget::All, &[])).unwrap();
    assert_eq!((mail.words.len(), mail.timeout), (2, Duration::from_secs(3)));
    assert_eq!(HookTable::default().owners(&standing("www")), []);
}

#[test]
fn the_environment_says_all_that_status_does() {
    let mail = HookOwner::Service("mail".parse().unwrap());
    for (event, owner, want) in [
        (
            standing("www"),
            HookOwner::Host,
            "EVENT=standing SERVICE=www VIP=192.0.2.80 STANDING=drained REASON=drained MESSAGE=drained: new kernel PREVIOUS=was",
        ),
        (
            session("r1", true),
            HookOwner::Peer("r1".parse().unwrap()),
            "EVENT=session PEER=r1 SESSION=down REASON=hold_expired MESSAGE=the hold timer expired PREVIOUS=was",
        ),
        (
            session("r1", false),
            HookOwner::Peer("r1".parse().unwrap()),
            "EVENT=session PEER=r1 SESSION=up REASON=established MESSAGE=the session is established PREVIOUS=was",
        ),
        (
            drain(DrainTarget::All, &["mail"]),
            HookOwner::Host,
            "EVENT=drain TARGET=--all DRAIN=begun MESSAGE=by ann PREVIOUS=was",
        ),
        (
            drain(DrainTarget::Vip([192, 0, 2, 25].into()), &["mail"]),
            mail,
            "EVENT=drain TARGET=192.0.2.25 DRAIN=begun SERVICE=mail MESSAGE=by ann PREVIOUS=was",
        ),
    ] {
        let environment = HookCall { event, previous: "was" }.environment(&owner);
        let words = environment
            .iter()
            .map(|(name, value)| format!("{}={value}", name.strip_prefix("ANNOUNCER_").unwrap()));
        assert_eq!(words.collect::<Vec<_>>().join(" "), want);
    }
}
