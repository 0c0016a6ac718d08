//! Tests the requests, and what answers to them mean.

use super::*;

const NONCE: u64 = 0x0102_0304_0506_0708;

/// Any time; the answer takes 20 ms to come and go.
fn at(millis: u64) -> NtpTime {
    NtpTime::of_unix(Duration::from_secs(1_800_000_000) + Duration::from_millis(millis))
}

fn answer(first: u8, stratum: u8, ahead: i64) -> Vec<u8> {
    let mut octets = vec![0; LENGTH];
    (octets[0], octets[1]) = (first, stratum);
    octets[12..16].copy_from_slice(b"RATE");
    octets[24..32].copy_from_slice(&NONCE.to_be_bytes());
    for (place, millis) in [(32, 10), (40, 10)] {
        let time =
            NtpTime::of_unix(Duration::from_millis((1_800_000_000_000 + millis + ahead).unsigned_abs()));
        octets[place..place + 8].copy_from_slice(&time.0.to_be_bytes());
    }
    octets
}

/// The same without a code.
fn without_code(mut octets: Vec<u8>) -> Vec<u8> {
    octets[12..16].fill(0);
    octets
}

fn said(max_offset: Option<Duration>, octets: &[u8]) -> String {
    let ntp = NtpConfig { port: 123, max_offset, max_stratum: 3 };
    match judge(&ntp, NONCE, octets, at(0), at(20)) {
        Ok(answer) => format!("pass: {answer}"),
        Err(failure) => format!("fail: {failure}"),
    }
}

#[test]
fn a_request_says_nothing_about_our_clock() {
    let octets = request(NONCE);
    assert_eq!(
        (octets[0], &octets[1..40], &octets[40..]),
        (0x23, &[0; 39][..], &[1, 2, 3, 4, 5, 6, 7, 8][..])
    );
}

#[test]
fn an_answer_passes_if_its_clock_is_right() {
    let most = Some(Duration::from_millis(100));
    for (octets, most, want) in [
        (answer(0x24, 2, 0), most, "pass: stratum 2, offset +0.000 ms"),
        (answer(0x1c, 3, 0), most, "pass: stratum 3, offset +0.000 ms"), // version 3
        (answer(0x64, 1, 0), most, "pass: stratum 1, offset +0.000 ms"), // a leap second today
        (answer(0x24, 2, 100), most, "pass: stratum 2, offset +100.000 ms"),
        (answer(0x24, 2, 101), most, "fail: the clocks differ, offset +101.000 ms"),
        (answer(0x24, 2, 101), None, "pass: stratum 2, offset +101.000 ms"),
        (answer(0x24, 4, 0), most, "fail: the server's stratum is 4"),
        (answer(0x24, 16, 0), most, "fail: the server's clock is not synchronised"),
        (answer(0xe4, 2, 0), most, "fail: the server's clock is not synchronised"),
        (answer(0x24, 0, 0), most, "fail: the server refuses with the code RATE"),
        (answer(0x23, 2, 0), most, "fail: answer is not NTP"), // a request
        (answer(0x04, 2, 0), most, "fail: answer is not NTP"), // version 0
        (without_code(answer(0xe4, 0, 0)), most, "fail: the server's clock is not synchronised"), // as chrony says it
        (without_code(answer(0x24, 0, 0)), most, "fail: the server's clock is not synchronised"),
        (b"garbage".to_vec(), most, "fail: answer is not NTP"),
        (answer(0x24, 2, 0)[..47].to_vec(), most, "fail: answer is not NTP"),
        ([answer(0x24, 2, 0), vec![0; 20]].concat(), most, "pass: stratum 2, offset +0.000 ms"),
    ] {
        assert_eq!(said(most, &octets), want);
    }
    let mut other = answer(0x24, 2, 0);
    other[31] ^= 1;
    assert_eq!(said(most, &other), "fail: answered another request");
    // A clock that is behind, and one at the other side of the end of an era in 2036.
    let behind = said(most, &answer(0x24, 2, -2000));
    assert!(behind.starts_with("fail: the clocks differ, offset -"), "{behind}");
    let era = Duration::from_secs(2_085_978_496);
    let (before, after) = (NtpTime::of_unix(era - Duration::from_secs(1)), NtpTime::of_unix(era));
    assert_eq!((after.since(before), before.since(after)), (1 << 32, -(1 << 32)));
}
