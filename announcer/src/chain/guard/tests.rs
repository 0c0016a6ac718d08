use super::*;
use crate::chain::heartbeat::{HeartbeatStart, MemberVipState};

mod simulation;

const HEARTBEAT: Duration = Duration::from_millis(100);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The member with this last octet.
fn member(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 1, last])
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn www() -> IpAddr {
    ip("192.0.2.80")
}

fn needs_of(least: u32) -> BTreeMap<IpAddr, CapacityNeed> {
    [(www(), CapacityNeed { service: "www".parse().unwrap(), least })].into()
}

fn intent(phase: IntentPhase, kind: IntentKind, vips: &[IpAddr]) -> Intent {
    Intent { kind, phase, number: number(5), scope: IntentScope::of(vips.iter().copied()) }
}

/// The words are: a state of www (`announced`, `last`, `drained`, `not`, `starting`, `unsaid`), a state of the member (`dead`, `unknown`,
/// `silent`, `left`, `leaving`), an answer (`accepts`, `refuses`, `accepts-4`), an intent (`asks`, `carries`, `asks-mail`).
fn a_member(words: &str, now: Instant) -> GuardMember {
    let mut member = GuardMember {
        state: MemberState::Alive,
        last_heartbeat: Some(now),
        interval: HEARTBEAT,
        presence: MemberPresence::Here,
        vips: SaidVips::default(),
        answer: None,
    };
    let answer = |number, verdict| Some(IntentAnswer { number, verdict });
    let (mut page, mut intended) = (vec![(www(), MemberVipState::Announced)], None);
    for word in words.split_whitespace() {
        match word {
            "announced" => {}
            "last" => page = vec![(www(), MemberVipState::LastChoice)],
            "drained" => page = vec![(www(), MemberVipState::Drained)],
            "not" => page = vec![(www(), MemberVipState::NotAnnounced)],
            "starting" => page = vec![(www(), MemberVipState::Starting)],
            "unsaid" => page = Vec::new(),
            "dead" => member.state = MemberState::Dead,
            "unknown" => member.state = MemberState::Unknown,
            "silent" => member.state = MemberState::Silent,
            "silent-long" => {
                member.state = MemberState::Silent;
                member.last_heartbeat = Some(now - HEARTBEAT * 3);
            }
            "left" => member.state = MemberState::Left,
            "leaving" => member.presence = MemberPresence::Leaving,
            "accepts" => member.answer = answer(number(1), IntentVerdict::Accepted),
            "accepts-4" => member.answer = answer(number(4), IntentVerdict::Accepted),
            "refuses" => member.answer = answer(number(1), IntentVerdict::Refused),
            "asks" => intended = Some(intent(IntentPhase::Asked, IntentKind::Upgrade, &[www()])),
            "asks-mail" => {
                intended = Some(intent(IntentPhase::Asked, IntentKind::Drain, &[ip("192.0.2.25")]));
            }
            "carries" => intended = Some(intent(IntentPhase::CarriedOut, IntentKind::Reload, &[www()])),
            other => panic!("{other}"),
        }
    }
    member.vips.hear(HeartbeatStart::new(1).unwrap(), 0, intended, &page);
    member
}

/// Members 12, 13, … with these words.
fn a_site(words: &[&str], now: Instant) -> GuardMembers {
    (12..).map(member).zip(words.iter().map(|words| a_member(words, now))).collect()
}

#[test]
fn a_vip_is_withdrawn_while_enough_other_members_announce_it() {
    let now = Instant::now();
    for (least, words, early, late) in [
        (2, &["accepts", "accepts"][..], "proceed", "proceed"),
        (1, &["accepts last", "accepts", "dead"], "proceed", "proceed"),
        (2, &["accepts", "accepts silent"], "proceed", "proceed"),
        // Everybody who is heard has to answer, or 3 heartbeats have to pass.
        (2, &["accepts", "accepts", "announced"], "wait", "proceed"),
        (
            2,
            &["accepts", "accepts-4"],
            "wait",
            "192.0.2.80 would be announced by 1 member, and www needs 2: 10.0.1.13 (has not answered) does not announce it",
        ),
        (
            3,
            &["accepts drained", "accepts", "dead", "accepts"],
            "192.0.2.80 would be announced by 2 members, and www needs 3: 10.0.1.12 (drained), 10.0.1.14 (dead) do not announce it",
            "",
        ),
        (
            1,
            &["accepts not"],
            "192.0.2.80 would be announced by 0 members, and www needs 1: 10.0.1.12 (not announced) does not announce it",
            "",
        ),
        (
            1,
            &["accepts starting"],
            "192.0.2.80 would be announced by 0 members, and www needs 1: 10.0.1.12 (starts) does not announce it",
            "",
        ),
        (
            1,
            &["accepts unsaid"],
            "192.0.2.80 would be announced by 0 members, and www needs 1: 10.0.1.12 (its state is not known) does not announce it",
            "",
        ),
        (
            1,
            &["accepts leaving"],
            "192.0.2.80 would be announced by 0 members, and www needs 1: 10.0.1.12 (stops) does not announce it",
            "",
        ),
        (
            1,
            &["accepts carries"],
            "192.0.2.80 would be announced by 0 members, and www needs 1: 10.0.1.12 (reloads) does not announce it",
            "",
        ),
        (
            1,
            &["accepts asks"],
            "192.0.2.80 would be announced by 0 members, and www needs 1: 10.0.1.12 (is being upgraded) does not announce it",
            "",
        ),
        (1, &["accepts asks-mail"], "proceed", "proceed"),
        (3, &["accepts", "accepts"], "192.0.2.80 would be announced by 2 members, and www needs 3", ""),
        (
            1,
            &["accepts", "refuses asks"],
            "an upgrade on member 10.0.1.13 is about the same VIPs at the same time, and the lower address comes first; try again when it is done",
            "",
        ),
        // Half of them.
        (1, &["accepts", "dead", "unknown"], "proceed", "proceed"),
        (
            1,
            &["accepts", "dead", "unknown", "left"],
            "only 2 of 5 members are heard, this one too, so it is not known who would announce the VIPs: 10.0.1.13 (dead), 10.0.1.14 (not heard yet), 10.0.1.15 (has left)",
            "",
        ),
        (
            1,
            &["silent-long", "dead"],
            "only 1 of 3 members are heard, this one too, so it is not known who would announce the VIPs: 10.0.1.12 (its heartbeats have stopped), 10.0.1.13 (dead)",
            "",
        ),
    ] {
        let members = a_site(words, now);
        let until = now + Duration::from_millis(1);
        for (want, now) in [(early, now), (if late.is_empty() { early } else { late }, until)] {
            let said = match may_withdraw(&needs_of(least), number(1), until, &members, now) {
                Ruling::Proceed => "proceed".to_owned(),
                Ruling::Wait(_) => "wait".to_owned(),
                Ruling::Refused(refusal) => refusal.to_string(),
            };
            assert_eq!(said, want, "{words:?}");
        }
    }
}

#[test]
fn a_dry_run_answers_from_what_is_heard_now() {
    let now = Instant::now();
    for (least, words, want) in [
        // Nobody was asked, so nobody has answered.
        (2, &["announced", "announced"][..], None),
        (
            2,
            &["announced", "last"],
            Some(
                "192.0.2.80 would be announced by 1 member, and www needs 2: 10.0.1.13 (last choice) does not announce it",
            ),
        ),
        (
            1,
            &["asks"],
            Some(
                "192.0.2.80 would be announced by 0 members, and www needs 1: 10.0.1.12 (is being upgraded) does not announce it",
            ),
        ),
        (
            1,
            &["announced", "dead", "dead", "dead"],
            Some(
                "only 2 of 5 members are heard, this one too, so it is not known who would announce the VIPs: 10.0.1.13 (dead), 10.0.1.14 (dead), 10.0.1.15 (dead)",
            ),
        ),
    ] {
        let refusal = would_withdraw(&needs_of(least), &a_site(words, now), now).map(|why| why.to_string());
        assert_eq!(refusal.as_deref(), want, "{least} {words:?}");
    }
}

#[test]
fn vips_that_too_few_members_announce_are_named() {
    use MemberVipState::{Announced, Drained, LastChoice};
    let now = Instant::now();
    for (least, own, words, want) in [
        (2, Some(Announced), &["announced"][..], None),
        (1, Some(Drained), &["announced"], None),
        (1, Some(Announced), &["dead"], None),
        (
            2,
            Some(Drained),
            &["announced"],
            Some(
                "1 member is known to announce 192.0.2.80 of www, whose `min_announcers` is 2: not 10.0.1.11 (drained)",
            ),
        ),
        (
            3,
            Some(LastChoice),
            &["announced", "dead", "leaving"],
            Some(
                "1 member is known to announce 192.0.2.80 of www, whose `min_announcers` is 3: not 10.0.1.11 (last choice), 10.0.1.13 (dead), 10.0.1.14 (stops)",
            ),
        ),
        (
            1,
            None,
            &["unsaid"],
            Some(
                "0 members are known to announce 192.0.2.80 of www, whose `min_announcers` is 1: not 10.0.1.11 (its state is not known), 10.0.1.12 (its state is not known)",
            ),
        ),
    ] {
        let found = few_announcers(&needs_of(least), member(11), |_| own, &a_site(words, now), now);
        assert_eq!(found.map(|few| few.to_string()).as_deref(), want, "{least} {own:?} {words:?}");
    }
    let mut needs = needs_of(2);
    needs.insert(ip("192.0.2.81"), needs[&www()].clone());
    let found = few_announcers(&needs, member(11), |_| None, &a_site(&["announced"], now), now).unwrap();
    assert_eq!((found.more, found.announcers), (1, 1));
    assert!(found.to_string().ends_with("; 1 more VIP has too few"), "{found}");
}

#[test]
fn other_vips_with_too_few_announcers_are_counted() {
    let now = Instant::now();
    let mut needs = needs_of(1);
    needs.insert(ip("192.0.2.81"), needs[&www()].clone());
    let Ruling::Refused(refusal) =
        may_withdraw(&needs, number(1), now, &a_site(&["accepts drained"], now), now)
    else {
        panic!("it was not refused")
    };
    let want = "192.0.2.80 would be announced by 0 members, and www needs 1: 10.0.1.12 (drained) does not announce it; 1 more VIPs would be announced by too few";
    assert_eq!(refusal.to_string(), want);
}

#[test]
fn of_two_questions_about_the_same_vip_the_lower_address_comes_first() {
    let now = Instant::now();
    for (own, words, gives_up, verdict) in [
        (11, "accepts asks", false, IntentVerdict::Refused),
        (11, "accepts asks-mail", false, IntentVerdict::Accepted),
        (11, "accepts carries", false, IntentVerdict::Accepted),
        (99, "accepts asks", true, IntentVerdict::Accepted),
        (99, "accepts asks-mail", false, IntentVerdict::Accepted),
        (99, "accepts carries", false, IntentVerdict::Accepted),
    ] {
        let mut members = a_site(&[words, "accepts"], now);
        members.insert(member(14), a_member("announced", now)); // who has not answered yet
        let mut guard = Guard::new(NonZeroU32::MAX); // the next number is 1
        guard.ask(IntentKind::Drain, needs_of(1), HEARTBEAT, now);
        let step = guard.step(member(own), &members, |_| true, HEARTBEAT, now);
        assert_eq!(step.decided.is_some(), gives_up, "{own} {words}");
        assert_eq!(step.intent.is_none(), gives_up, "{own} {words}");
        assert_eq!(step.answers[&member(12)], IntentAnswer { number: number(5), verdict }, "{own} {words}");
    }
}

#[test]
fn an_intent_that_is_carried_out_is_said_until_the_vip_is_withdrawn() {
    let start = Instant::now();
    let members = a_site(&["accepts", "accepts"], start);
    let mut guard = Guard::new(NonZeroU32::MAX);
    guard.ask(IntentKind::Drain, needs_of(2), HEARTBEAT, start);
    let at = |intervals: u32| start + HEARTBEAT * intervals;
    let mut phase = |now: Instant, advertised: bool, acted: Option<Duration>| {
        if let Some(hold) = acted {
            guard.carried_out(hold, now);
        }
        let step = guard.step(member(11), &members, |_| advertised, HEARTBEAT, now);
        (step.intent.map(|intent| (intent.phase, intent.scope.has(www()))), step.decided, step.due)
    };
    let carried = Some((IntentPhase::CarriedOut, true));
    assert_eq!(phase(at(0), true, None), (carried, Some(Ok(())), None));
    assert_eq!(phase(at(50), true, None), (carried, None, None), "whoever has asked has not acted yet");
    let acted = phase(at(51), true, Some(HEARTBEAT * 9));
    assert_eq!(acted, (carried, None, Some(at(60))), "it has, and the VIP is still announced");
    assert_eq!(phase(at(52), false, None), (None, None, None), "it is withdrawn");

    let mut guard = Guard::new(NonZeroU32::MAX);
    guard.ask(IntentKind::Drain, needs_of(2), HEARTBEAT, start);
    guard.step(member(11), &members, |_| true, HEARTBEAT, start).decided.unwrap().unwrap();
    guard.carried_out(HEARTBEAT * 9, start);
    for (intervals, advertised, said) in
        [(3, false, true), (4, true, true), (8, true, true), (9, true, false)]
    {
        let mut guard = guard.clone();
        let step = guard.step(member(11), &members, |_| advertised, HEARTBEAT, at(intervals));
        assert_eq!(step.intent.is_some(), said, "{intervals} {advertised}");
    }
}

#[test]
fn a_question_after_another_covers_both() {
    let now = Instant::now();
    let mut guard = Guard::new(NonZeroU32::MAX);
    guard.ask(IntentKind::Drain, needs_of(1), HEARTBEAT, now);
    assert!(guard.is_asking());
    let members = a_site(&["accepts", "accepts"], now);
    assert_eq!(guard.step(member(11), &members, |_| true, HEARTBEAT, now).decided, Some(Ok(())));
    assert!(!guard.is_asking());
    let mail = ip("192.0.2.25");
    guard.ask(IntentKind::Drain, [(mail, needs_of(1)[&www()].clone())].into(), HEARTBEAT, now);
    let step = guard.step(member(11), &members, |_| true, HEARTBEAT, now);
    let intent = step.intent.unwrap();
    assert_eq!((intent.phase, step.due), (IntentPhase::Asked, Some(now + HEARTBEAT * 3)));
    assert!(intent.scope.has(mail) && intent.scope.has(www()));
    // It is refused, and the first one goes on.
    let step = guard.step(member(11), &members, |_| true, HEARTBEAT, now + HEARTBEAT * 3);
    assert!(matches!(step.decided, Some(Err(CapacityRefusal::TooFewAnnounce { .. }))));
    let intent = step.intent.unwrap();
    assert_eq!(intent.phase, IntentPhase::CarriedOut);
    assert!(!intent.scope.has(mail) && intent.scope.has(www()));
}

#[test]
fn the_state_of_a_vip_is_not_known_after_an_intent_or_another_start() {
    let (one, other) = (HeartbeatStart::new(1).unwrap(), HeartbeatStart::new(2).unwrap());
    let page = |state| [(www(), state)];
    let asked = || Some(intent(IntentPhase::Asked, IntentKind::Drain, &[www()]));
    let mut said = SaidVips::default();
    assert!(!said.hear(one, 1, None, &[(www(), MemberVipState::Removed)]), "it was never there");
    assert!(said.hear(one, 2, None, &page(MemberVipState::Announced)));
    assert!(!said.hear(one, 3, None, &page(MemberVipState::Announced)));
    assert!(said.hear(one, 4, asked(), &[]));
    assert_eq!((said.state(www()), said.is_intended(www())), (Some(MemberVipState::Announced), true));
    assert!(said.hear(one, 5, None, &[]));
    assert_eq!(said.state(www()), None, "the intent has ended");
    assert_eq!(
        said.states().get(&www()),
        Some(&MemberVipState::Announced),
        "for people it is what was said last"
    );
    assert!(said.hear(one, 6, None, &page(MemberVipState::Announced)));
    assert_eq!(said.state(www()), Some(MemberVipState::Announced));
    assert!(said.hear(other, 7, None, &[]));
    assert_eq!(said.state(www()), None, "it has started again");
    assert!(said.hear(other, 8, asked(), &page(MemberVipState::Announced)));
    assert!(said.hear(other, 9, None, &page(MemberVipState::Drained)));
    assert_eq!(said.state(www()), Some(MemberVipState::Drained));
    assert!(said.hear(other, 10, None, &page(MemberVipState::Removed)));
    assert_eq!(said.state(www()), None);
    assert!(said.hear(other, 20, None, &page(MemberVipState::Announced)));
    assert!(!said.hear(other, 24, None, &[]), "3 heartbeats were lost, and an intent is in 4");
    assert_eq!(said.state(www()), Some(MemberVipState::Announced));
    assert!(said.hear(other, 29, None, &[]));
    assert_eq!(said.state(www()), None, "an intent may have been among the 4 that were lost");
}

#[test]
fn a_vip_whose_probes_fail_is_withdrawn_while_enough_others_announce_it() {
    let start = Instant::now();
    for (least, words, intervals, may) in [
        (2, &["announced", "announced"][..], 3, true),
        // Not before the others could say that their probes fail too.
        (2, &["announced", "announced"], 2, false),
        (2, &["announced", "last"], 3, false),
        (2, &["announced", "announced asks"], 3, true),
        (2, &["announced", "announced carries"], 3, false),
        (2, &["announced", "announced leaving"], 3, false),
        (1, &["announced", "dead"], 3, true),
        (1, &["announced", "dead", "dead"], 3, true),
        (1, &["announced", "dead", "dead", "dead"], 3, false),
    ] {
        let now = start + HEARTBEAT * intervals;
        let vips = [(www(), (needs_of(least)[&www()].clone(), start))].into();
        let found = enough_others(&vips, &a_site(words, now), HEARTBEAT, now);
        assert_eq!(found.contains(&www()), may, "{least} {words:?} {intervals}");
    }
}

#[test]
fn the_vips_of_a_prefix_are_withdrawn_together() {
    let text = crate::config::tests::with_services!(
        "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\", \"192.0.2.81\"]\nprefix = \"192.0.2.80/30\"\nmin_announcers = 2\n[[service.check]]\ntcp = 443\n\
         [[service]]\nname = \"mail\"\nvips = [\"192.0.2.25\", \"192.0.2.26\"]\nmin_announcers = 1\n[[service.check]]\ntcp = 25\n\
         [[service]]\nname = \"file\"\nvips = [\"192.0.2.90\"]\n[[service.check]]\nfile = \"/up\"\n\
         [chain]\ninterface = \"eth0\"\nmembers = [\"10.0.0.1\", \"10.0.0.2\"]\nkey_file = \"/k\"\n"
    );
    let mut config = crate::config::parse("x", text).unwrap_or_else(|errors| panic!("{errors}"));
    for (vips, want) in [
        (&["192.0.2.80"][..], &["192.0.2.80", "192.0.2.81"][..]),
        (&["192.0.2.25"], &["192.0.2.25"]),
        (&["192.0.2.90", "192.0.2.99"], &[]),
    ] {
        let vips = vips.iter().map(|vip| ip(vip)).collect();
        let found = needs(&config, &withdrawn_together(&config, &vips));
        assert_eq!(found.into_keys().collect::<Vec<_>>(), want.iter().map(|vip| ip(vip)).collect::<Vec<_>>());
    }
    assert_eq!(needs(&config, &[www()].into()), needs_of(2), "a reload may withdraw one alone");
    config.chain = None;
    assert!(needs(&config, &[www()].into()).is_empty());
}
