use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn settings(interval: u32, multiplier: u8) -> BfdSettings {
    BfdSettings { interval: MS * interval, multiplier }
}

/// A packet of the other end, in this state.
fn says(state: BfdState) -> Packet {
    Packet {
        diag: Diagnostic::NONE,
        state,
        poll: false,
        is_final: false,
        demand: false,
        multiplier: 3,
        my_discriminator: 9,
        your_discriminator: 7,
        desired_min_tx: MS * 50,
        required_min_rx: MS * 50,
    }
}

fn machine(now: Instant) -> Machine {
    Machine::new(settings(50, 3), 7, now)
}

/// A session that is Up and has agreed on its intervals; without packets that are due.
fn up(now: Instant) -> Machine {
    let mut machine = machine(now);
    machine.receive(&says(BfdState::Init), now).unwrap();
    sent(&mut machine, now);
    machine.receive(&Packet { is_final: true, ..says(BfdState::Up) }, now);
    sent(&mut machine, now);
    assert_eq!((machine.state(), machine.poll), (BfdState::Up, Poll::No));
    machine
}

/// All packets that are due.
fn sent(machine: &mut Machine, now: Instant) -> Vec<Packet> {
    std::iter::from_fn(|| machine.transmit(now, 1.0)).collect()
}

#[test]
fn all_sixteen_cells() {
    use BfdState::{AdminDown, Down, Init, Up};
    let now = Instant::now();
    for (ours, received, want, diag) in [
        (AdminDown, AdminDown, AdminDown, 0),
        (AdminDown, Down, AdminDown, 0),
        (AdminDown, Init, AdminDown, 0),
        (AdminDown, Up, AdminDown, 0),
        (Down, AdminDown, Down, 0),
        (Down, Down, Init, 0),
        (Down, Init, Up, 0),
        (Down, Up, Down, 0),
        (Init, AdminDown, Down, 3),
        (Init, Down, Init, 0),
        (Init, Init, Up, 0),
        (Init, Up, Up, 0),
        (Up, AdminDown, Down, 3),
        (Up, Down, Down, 3),
        (Up, Init, Up, 0),
        (Up, Up, Up, 0),
    ] {
        let mut machine = Machine { state: ours, ..machine(now) };
        let transition = machine.receive(&says(received), now);
        assert_eq!((machine.state(), machine.diag().number()), (want, diag), "{ours} hears {received}");
        assert_eq!(transition.map(|change| (change.from, change.to)), (ours != want).then_some((ours, want)));
        let cause = transition.and_then(|change| change.cause);
        assert_eq!(cause.is_some(), diag == 3, "{ours} hears {received}");
        assert_eq!(cause.is_some_and(DownCause::is_loss), diag == 3 && received != AdminDown);
    }
}

#[test]
fn a_session_comes_up_and_its_intervals_are_agreed() {
    let now = Instant::now();
    let mut machine = machine(now);
    let [first] = sent(&mut machine, now)[..] else { panic!() };
    assert_eq!((first.state, first.poll, first.your_discriminator), (BfdState::Down, false, 0));
    assert_eq!((first.desired_min_tx, first.required_min_rx), (SLOW, MS * 50));
    assert_eq!(machine.deadline(), Some(now + SLOW));

    machine.receive(&says(BfdState::Down), now);
    let [second] = sent(&mut machine, now)[..] else { panic!() };
    assert_eq!((second.state, second.your_discriminator), (BfdState::Init, 9));
    assert_eq!(machine.interval(), SLOW);

    machine.receive(&says(BfdState::Up), now);
    let [third] = sent(&mut machine, now)[..] else { panic!() };
    assert_eq!((third.state, third.poll, third.desired_min_tx), (BfdState::Up, true, MS * 50));
    assert_eq!(machine.interval(), MS * 50, "a decrease is used at once");
    machine.receive(&Packet { is_final: true, ..says(BfdState::Up) }, now);
    let [fourth] = sent(&mut machine, now + MS * 50)[..] else { panic!() };
    assert!(!fourth.poll);
}

#[test]
fn at_least_a_second_is_between_packets_while_a_session_is_not_up() {
    let begin = Instant::now();
    for state in [BfdState::AdminDown, BfdState::Down, BfdState::Init] {
        let mut machine = Machine { state, ..machine(begin) };
        let count = (0..10_000).map(|ms| sent(&mut machine, begin + MS * ms).len()).sum::<usize>();
        assert_eq!(count, 10, "{state}");
    }
    let slow = Machine::new(settings(3000, 3), 7, begin);
    assert_eq!(slow.interval(), MS * 3000);
}

#[test]
fn jitter_is_between_75_and_100_percent_and_90_with_multiplier_1() {
    for (multiplier, jitter, want) in
        [(3, 0.0, 75), (3, 1.0, 100), (3, 7.0, 100), (1, 0.0, 75), (1, 1.0, 90), (255, 0.5, 87)]
    {
        let got = jittered(MS * 100, multiplier, jitter).as_millis();
        assert_eq!(got, want, "multiplier {multiplier}, jitter {jitter}");
    }
}

#[test]
fn silence_for_the_detection_time_takes_a_session_down() {
    let now = Instant::now();
    // The other end's multiplier and intervals, and the detection time.
    for (multiplier, min_tx, want) in [(3, 50, 150), (3, 100, 300), (5, 10, 250), (1, 1000, 1000)] {
        let mut machine = up(now);
        let packet = Packet { multiplier, desired_min_tx: MS * min_tx, ..says(BfdState::Up) };
        machine.receive(&packet, now);
        assert_eq!(machine.detection_time(), Some(MS * want));
        assert_eq!(machine.expire(now + MS * want - MS), None);
        let change = machine.expire(now + MS * want).unwrap();
        assert_eq!(change.cause, Some(DownCause::Silence(MS * want)));
        assert_eq!((machine.state(), machine.diag()), (BfdState::Down, Diagnostic::DETECTION_EXPIRED));
        let [packet] = sent(&mut machine, now + MS * want)[..] else { panic!("it is said at once") };
        assert_eq!(
            (packet.state, packet.diag, packet.your_discriminator),
            (BfdState::Down, Diagnostic::DETECTION_EXPIRED, 0)
        );
        assert_eq!(machine.expire(now + MS * want * 2), None);
    }
}

#[test]
fn a_poll_is_answered_by_final_at_once() {
    let now = Instant::now();
    let mut machine = up(now);
    machine.receive(&Packet { poll: true, ..says(BfdState::Up) }, now);
    let [answer] = sent(&mut machine, now)[..] else { panic!() };
    assert!(answer.is_final && !answer.poll);
    assert_eq!(sent(&mut machine, now), []);
    machine.configure(settings(100, 3), now); // we ask and answer at the same time
    machine.receive(&Packet { poll: true, ..says(BfdState::Up) }, now);
    let both = sent(&mut machine, now + MS * 100);
    assert_eq!(both.iter().map(|p| (p.poll, p.is_final)).collect::<Vec<_>>(), [(false, true), (true, false)]);
}

#[test]
fn an_interval_grows_only_after_final() {
    let now = Instant::now();
    let mut machine = up(now);
    machine.configure(settings(200, 3), now);
    assert_eq!(machine.interval(), MS * 50, "we still send in the old one");
    assert_eq!(machine.detection_time(), Some(MS * 600), "and wait for the new one");
    machine.receive(&Packet { is_final: true, ..says(BfdState::Up) }, now);
    assert_eq!(machine.interval(), MS * 50, "a Final before the question answers another one");
    let [question] = sent(&mut machine, now)[..] else { panic!() };
    assert!(question.poll);
    assert_eq!((question.desired_min_tx, question.required_min_rx), (MS * 200, MS * 200));
    machine.receive(&Packet { is_final: true, ..says(BfdState::Up) }, now);
    assert_eq!(machine.interval(), MS * 200);

    machine.configure(settings(20, 3), now);
    assert_eq!(machine.interval(), MS * 50, "the remote's RequiredMinRx");
    assert_eq!(machine.detection_time(), Some(MS * 600), "the old one, until the other end knows");
    sent(&mut machine, now);
    machine.receive(&Packet { is_final: true, ..says(BfdState::Up) }, now);
    assert_eq!(machine.detection_time(), Some(MS * 150));
    assert_eq!(machine.state(), BfdState::Up);
}

#[test]
fn intervals_that_change_during_a_poll_are_asked_for_again() {
    let now = Instant::now();
    let mut machine = up(now);
    machine.configure(settings(200, 3), now);
    sent(&mut machine, now);
    machine.configure(settings(300, 3), now);
    machine.receive(&Packet { is_final: true, ..says(BfdState::Up) }, now);
    assert_eq!(machine.interval(), MS * 50, "this Final may be for 200 ms");
    let [question] = sent(&mut machine, now + MS * 50)[..] else { panic!() };
    assert!(question.poll);
    machine.receive(&Packet { is_final: true, ..says(BfdState::Up) }, now);
    assert_eq!(machine.interval(), MS * 300);
}

#[test]
fn the_next_packet_goes_at_once_when_the_other_end_lowers_its_required_interval() {
    let now = Instant::now();
    let mut machine = up(now);
    machine.receive(&Packet { required_min_rx: MS * 1000, ..says(BfdState::Up) }, now);
    sent(&mut machine, now + MS * 50);
    assert_eq!(machine.deadline(), Some(now + MS * 150)); // the detection time
    assert_eq!(machine.next, now + MS * 1050);
    machine.receive(&says(BfdState::Up), now + MS * 60);
    assert_eq!(sent(&mut machine, now + MS * 60).len(), 1);
}

#[test]
fn a_required_interval_of_zero_stops_periodic_packets() {
    let now = Instant::now();
    let mut machine = up(now);
    machine.receive(&Packet { required_min_rx: Duration::ZERO, ..says(BfdState::Up) }, now);
    assert_eq!(sent(&mut machine, now + MS * 100), []);
    assert_eq!(machine.remote_detection_time(), None);
    machine.receive(&Packet { poll: true, required_min_rx: Duration::ZERO, ..says(BfdState::Up) }, now);
    assert_eq!(sent(&mut machine, now + MS * 100).len(), 1, "Final is not periodic");
    machine.receive(&says(BfdState::Up), now + MS * 100);
    assert_eq!(sent(&mut machine, now + MS * 100).len(), 1);
}

#[test]
fn demand_mode_of_the_other_end_stops_periodic_packets_outside_of_a_poll() {
    let now = Instant::now();
    let mut machine = up(now);
    machine.receive(&Packet { demand: true, ..says(BfdState::Up) }, now);
    assert_eq!(sent(&mut machine, now + MS * 100), []);
    machine.configure(settings(60, 3), now);
    assert!(sent(&mut machine, now + MS * 100).iter().all(|packet| packet.poll));
}

#[test]
fn admin_down_is_said_with_its_diagnostic_and_heard_without_a_loss() {
    let now = Instant::now();
    let mut machine = up(now);
    let change = machine.admin_down(now).unwrap();
    assert!(!change.cause.unwrap().is_loss());
    let [packet] = sent(&mut machine, now)[..] else { panic!() };
    assert_eq!((packet.state, packet.diag), (BfdState::AdminDown, Diagnostic::ADMIN_DOWN));
    machine.receive(&Packet { poll: true, ..says(BfdState::Up) }, now);
    assert_eq!(sent(&mut machine, now), [], "a packet is discarded in AdminDown");
    assert_eq!(machine.expire(now + SLOW * 60), None);
}

#[test]
fn a_snapshot_continues_the_session() {
    let now = Instant::now();
    let mut machine = up(now);
    machine.configure(settings(200, 4), now);
    sent(&mut machine, now);
    let snapshot = machine.snapshot(now + MS * 20);
    let text = serde_json::to_string(&snapshot).unwrap();
    let later = now + SLOW * 9;
    let mut restored = Machine::restore(&serde_json::from_str(&text).unwrap(), later);
    assert!(!snapshot.differs(&restored.snapshot(later)));
    let [packet] = sent(&mut restored, later)[..] else { panic!("it says at once that it lives") };
    assert_eq!(
        (packet.state, packet.poll, packet.my_discriminator, packet.your_discriminator),
        (BfdState::Up, true, 7, 9)
    );
    assert_eq!(restored.expire(later + MS * 149), None);
    assert_eq!(restored.expire(later + MS * 600).unwrap().to, BfdState::Down);
    assert!(snapshot.differs(&restored.snapshot(later)));
}

/// Two machines on one clock, whose packets take `delay` and are lost if `lost` says so.
struct Pair {
    now: Instant,
    ends: [Machine; 2],
    /// By arrival time: the receiver and the packet.
    flying: BTreeMap<(Instant, u64), (usize, Packet)>,
    count: u64,
    delay: Duration,
    downs: usize,
}

impl Pair {
    fn new(now: Instant, first: BfdSettings, second: BfdSettings, delay: Duration) -> Self {
        let ends = [Machine::new(first, 1, now), Machine::new(second, 2, now)];
        Pair { now, ends, flying: BTreeMap::new(), count: 0, delay, downs: 0 }
    }

    fn note(&mut self, change: Option<Transition>) {
        self.downs += usize::from(change.is_some_and(|change| change.from == BfdState::Up));
    }

    fn run(&mut self, time: Duration, mut lost: impl FnMut() -> bool, mut jitter: impl FnMut() -> f64) {
        let end = self.now + time;
        loop {
            for index in 0..2 {
                while let Some(packet) = self.ends[index].transmit(self.now, jitter()) {
                    self.count += 1;
                    if !lost() {
                        self.flying.insert((self.now + self.delay, self.count), (1 - index, packet));
                    }
                }
            }
            let due =
                self.ends.iter().filter_map(Machine::deadline).chain(self.flying.keys().map(|key| key.0));
            let Some(next) = due.min().filter(|next| *next <= end) else { break };
            self.now = next.max(self.now);
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (index, packet) = entry.remove();
                let octets = crate::bfd::packet::encode(&packet);
                let packet = crate::bfd::packet::decode(&octets).unwrap();
                let change = self.ends[index].receive(&packet, self.now);
                self.note(change);
            }
            for index in 0..2 {
                let change = self.ends[index].expire(self.now);
                self.note(change);
            }
        }
        self.now = end;
    }

    fn states(&self) -> [BfdState; 2] {
        [self.ends[0].state(), self.ends[1].state()]
    }
}

proptest! {
    #[test]
    fn two_ends_agree_and_find_each_other_again_after_any_loss(
        first in (10_u32..2000, 2_u8..10), second in (10_u32..2000, 2_u8..10), changed in 10_u32..2000,
        delay in 0_u32..5, loss in 0_u32..40, seed: u64,
    ) {
        let random = std::cell::RefCell::new(fastrand::Rng::with_seed(seed));
        let jitter = || random.borrow_mut().f64();
        let never = || false;
        let (a, b) = (settings(first.0, first.1), settings(second.0, second.1));
        let mut pair = Pair::new(Instant::now(), a, b, MS * delay);
        pair.run(SLOW * 30, || random.borrow_mut().u32(0..100) < loss, jitter);
        pair.run(SLOW * 70, never, jitter); // a detection time is at most 9 * 2 s, and an interval 2 s
        prop_assert_eq!(pair.states(), [BfdState::Up; 2]);

        // No loss, no down; not even while the intervals change, on one end and then on both.
        pair.downs = 0;
        pair.run(SLOW * 10, never, jitter);
        pair.ends[0].configure(settings(changed, first.1), pair.now);
        pair.run(MS * 7, never, jitter);
        pair.ends[1].configure(settings(first.0, second.1), pair.now);
        pair.run(MS, never, jitter);
        pair.ends[0].configure(settings(second.0, first.1), pair.now);
        pair.run(SLOW * 30, never, jitter);
        prop_assert_eq!(pair.downs, 0);
        let agreed = MS * first.0.max(second.0);
        prop_assert_eq!([pair.ends[0].interval(), pair.ends[1].interval()], [agreed; 2]);
        prop_assert_eq!(pair.ends[0].detection_time(), Some(agreed * u32::from(second.1)));
        prop_assert_eq!(pair.ends[0].detection_time(), pair.ends[1].remote_detection_time());

        // All is lost: both are down after the detection time.
        let longest = agreed * u32::from(first.1.max(second.1)) + MS * delay;
        pair.run(longest, || true, jitter);
        prop_assert_eq!(pair.states(), [BfdState::Down; 2]);

        // An end that is switched off takes the other one down, and nothing brings it up.
        pair.run(SLOW * 70, never, jitter);
        prop_assert_eq!(pair.states(), [BfdState::Up; 2]);
        pair.ends[1].admin_down(pair.now);
        pair.run(SLOW * 10, never, jitter);
        prop_assert_eq!(pair.states(), [BfdState::Down, BfdState::AdminDown]);
    }

    #[test]
    fn an_end_that_continues_from_a_snapshot_is_not_noticed(
        interval in 50_u32..1000, multiplier in 3_u8..6, at in 0_u32..20_000, seed: u64,
    ) {
        let random = std::cell::RefCell::new(fastrand::Rng::with_seed(seed));
        let jitter = || random.borrow_mut().f64();
        let mut pair = Pair::new(Instant::now(), settings(interval, multiplier), settings(interval, multiplier), MS);
        pair.run(SLOW * 10 + MS * at, || false, jitter);
        prop_assert_eq!(pair.states(), [BfdState::Up; 2]);
        pair.downs = 0;
        let snapshot = pair.ends[0].snapshot(pair.now);
        pair.ends[0] = Machine::restore(&snapshot, pair.now + MS * interval);
        pair.run(SLOW * 30, || false, jitter);
        prop_assert_eq!((pair.states(), pair.downs), ([BfdState::Up; 2], 0));
    }
}
