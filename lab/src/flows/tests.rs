use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use until::assert_until;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// A server with a thread for each connection; it returns the address.
fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

/// Answers one request; `false` if the connection has ended.
fn answer(stream: &mut TcpStream, header: &str) -> bool {
    let mut request = [0; 1024];
    let read = stream.read(&mut request).unwrap_or(0);
    let text = format!("HTTP/1.1 200 OK\r\nX-Frontend: fe1\r\n{header}Content-Length: 2\r\n\r\nok");
    read > 0 && stream.write_all(text.as_bytes()).is_ok()
}

/// Stops a client when its first phase fits.
fn stop_when(control: &Control, fits: impl Fn(&Phase) -> bool + Send + 'static) {
    let control = control.clone();
    thread::spawn(move || {
        assert_until(LIMIT, "the first phase fits", || fits(&control.report().phases[0]));
        control.stop();
    });
}

fn plan(address: SocketAddr) -> Plan {
    let mut plan = Plan::new(&format!("http://{address}/"), Duration::from_millis(600)).unwrap();
    (plan.flows, plan.every, plan.new.rate) = (10, Duration::from_millis(50), 0);
    plan
}

#[test]
fn flows_that_are_answered_stay_open_and_new_connections_are_counted_beside_them() {
    let address = server(|mut stream| {
        let mut request = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut request) {
            let last = String::from_utf8_lossy(&request[..read]).contains("Connection: close");
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Frontend: fe1\r\nContent-Length: 2\r\n\r\nok");
            if last {
                return;
            }
        }
    });
    let control = Control::new();
    let mut plan = plan(address);
    (plan.new.rate, plan.new.lasts) = (100, LIMIT);
    stop_when(&control, |Phase { flows, new, .. }| flows.answered >= 30 && new.counts.answered() >= 20);
    let report = run(&plan, &control).unwrap();
    let [phase] = report.phases.as_slice() else { panic!("{report:?}") };
    assert_eq!((phase.flows.opened, phase.flows.broken.len()), (10, 0), "{report}");
    assert_eq!(phase.new.counts.lost(), 0);
}

#[test]
fn each_way_to_break_is_told_from_a_polite_end() {
    // If a request is not read, the kernel sends RST instead of FIN.
    let closed = server(|mut stream| {
        let _ = answer(&mut stream, "") && answer(&mut stream, "");
    });
    let reset = server(|mut stream| {
        answer(&mut stream, "");
        let _ = stream.peek(&mut [0]); // the next request has arrived, and is not read
    });
    let silent = server(|mut stream| {
        answer(&mut stream, "");
        thread::sleep(Duration::from_secs(1));
    });
    let polite = server(|mut stream| {
        answer(&mut stream, "Connection: close\r\n");
    });
    for (address, how) in [
        (closed, Some(Break::Closed)),
        (reset, Some(Break::Reset)),
        (silent, Some(Break::Silent)),
        (polite, None),
    ] {
        let control = Control::new();
        let mut plan = plan(address);
        plan.new.lasts = LIMIT;
        if how == Some(Break::Silent) {
            plan.silence = Duration::from_millis(500);
        }
        stop_when(&control, |Phase { flows, .. }| flows.broken.len() >= 10 || flows.ended >= 10);
        let report = run(&plan, &control).unwrap();
        let flows = &report.phases[0].flows;
        let ways: Vec<Break> = flows.ways().into_keys().collect();
        assert_eq!(ways, Vec::from_iter(how), "{report}");
        assert_eq!(flows.broken_of("fe1"), flows.broken.len());
        assert_eq!(flows.ended > 0, how.is_none(), "{report}");
    }
}

#[test]
fn what_happens_counts_in_the_phase_of_its_request() {
    // The first answers come at once, the next ones never.
    let address = server(|mut stream| {
        answer(&mut stream, "");
        thread::sleep(Duration::from_secs(2));
    });
    let control = Control::new();
    let marking = control.clone();
    let mut plan = plan(address);
    (plan.flows, plan.every) = (1, Duration::from_millis(300));
    (plan.silence, plan.new.lasts) = (Duration::from_secs(1), Duration::from_secs(10));
    let marks = thread::spawn(move || {
        assert_until(LIMIT, "the flow is open", || marking.open_flows() == 1);
        marking.mark("second");
        thread::sleep(Duration::from_millis(800)); // the second request is sent 300 ms after the first, and given up a second later
        marking.mark("third");
        assert_until(LIMIT, "the flow has broken", || marking.report().phases[1].flows.broken.len() == 1);
        marking.stop();
    });
    let report = run(&plan, &control).unwrap();
    marks.join().unwrap();
    let broken: Vec<(&str, usize)> =
        report.phases.iter().map(|phase| (phase.name.as_str(), phase.flows.broken.len())).collect();
    assert_eq!(broken, [(FIRST_PHASE, 0), ("second", 1), ("third", 0)], "{report}");
    let (second, third) = (report.phase("second").unwrap(), report.phase("third").unwrap());
    assert!(second.flows.broken[0].at_ms >= third.began_ms, "{report:?}");
    assert_eq!(second.began_ms + second.lasted_ms, third.began_ms);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    assert_eq!(report.to_string().lines().count(), 4);
}

#[test]
fn a_renewed_flow_is_opened_again_and_is_not_broken() {
    let address = server(|mut stream| while answer(&mut stream, "") {});
    let control = Control::new();
    let renewing = control.clone();
    let renew = thread::spawn(move || {
        let opened = || renewing.report().phases[0].flows.opened;
        assert_until(LIMIT, "all flows are open", || opened() == 10);
        renewing.renew();
        assert_until(LIMIT, "all flows are open again", || opened() == 20);
        renewing.stop();
    });
    let mut plan = plan(address);
    plan.new.lasts = LIMIT;
    let report = run(&plan, &control).unwrap();
    renew.join().unwrap();
    let flows = &report.phases[0].flows;
    assert_eq!((flows.opened, flows.ended, flows.broken.len()), (20, 10, 0), "{report:?}");
}

#[test]
fn more_connections_than_those_of_two_seconds_do_not_wait_for_an_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let control = Control::new();
    let mut plan = plan(silent.local_addr().unwrap());
    (plan.flows, plan.new.rate, plan.new.lasts) = (0, 20, LIMIT);
    plan.new.patience = LIMIT;
    stop_when(&control, |Phase { new, .. }| new.skipped >= 3);
    // The connections that wait end when the listener does.
    let listener = thread::spawn({
        let control = control.clone();
        move || {
            assert_until(LIMIT, "connections were skipped", || control.report().phases[0].new.skipped >= 3);
            drop(silent);
        }
    });
    let report = run(&plan, &control).unwrap();
    listener.join().unwrap();
    assert_eq!(report.phases[0].new.counts.lost(), 40, "{report}");
}

#[test]
fn nobody_listening_is_a_flow_that_is_not_opened_and_a_connection_that_is_refused() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let control = Control::new();
    let mut plan = plan(closed);
    (plan.new.rate, plan.new.lasts) = (100, LIMIT);
    stop_when(&control, |Phase { flows, new, .. }| flows.not_opened > 0 && new.counts.refused > 0);
    let report = run(&plan, &control).unwrap();
    let phase = &report.phases[0];
    assert!(phase.flows.broken.is_empty(), "{report}");
    assert_eq!(phase.new.counts.refused, phase.new.lost.len() as u64);
}

#[test]
fn a_request_without_an_answer_when_a_phase_begins_counts_there_unless_it_was_late_before() {
    let (short, long) = (Duration::from_millis(1), DELAYED + Duration::from_millis(50));
    // How long before the mark it was sent, whether it ended after the mark, and whether it counts in the new phase.
    for (before, is_open, is_new) in [(short, true, true), (short, false, false), (long, true, false)] {
        let control = Control::new();
        let sent = Instant::now();
        thread::sleep(before);
        control.mark("died");
        let took = if is_open { sent.elapsed() + short } else { Duration::ZERO };
        control.ended(sent, took, &Outcome::TimedOut);
        control.answered(sent, took);
        if is_open {
            control.broke(sent, sent, Break::Reset, "fe1");
        }
        let report = control.report();
        let died = report.phase("died").unwrap();
        let counted = (died.new.lost.len(), died.flows.answered, died.flows.broken.len());
        let n = usize::from(is_new);
        assert_eq!(counted, (n, n as u64, n), "{before:?} {is_open}");
        assert_eq!(report.phases[0].new.lost.len(), 1 - n, "{before:?} {is_open}");
    }
}
