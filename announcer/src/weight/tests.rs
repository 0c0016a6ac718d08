use super::*;

fn weight(number: u8) -> Weight {
    Weight::new(number).unwrap()
}

#[test]
fn a_file_has_a_number_of_1_to_100_and_nothing_else() {
    for (text, want) in [("1", 1), ("100", 100), ("70\n", 70), (" 7 \r\n", 7), ("007", 7)] {
        assert_eq!(parse(text), Ok(weight(want)), "{text:?}");
    }
    for text in ["", "\n", "0", "101", "-1", "+1", "1.5", "70 %", "7 0", "0070", "seventy", "\u{663}"] {
        assert!(parse(text).is_err(), "{text:?}");
    }
    let long = parse(&"x\u{1b}[2J".repeat(100)).unwrap_err();
    assert!(long.len() < 100 && !long.contains('\u{1b}'), "{long}");
    assert_eq!(parse("0").unwrap_err(), "`0` is not a weight: write a number of 1 to 100");
}

#[test]
fn every_number_has_a_step_that_is_near() {
    for number in 1..=100 {
        let step = nearest(weight(number)).get();
        assert!(STEPS.contains(&step), "{number}");
        let (low, high) = (number.min(step), number.max(step));
        assert!(
            u32::from(high) * u32::from(high) <= 2 * u32::from(low) * u32::from(low),
            "{number} as {step}"
        );
    }
    for (number, step) in [(1, 1), (6, 7), (8, 7), (9, 10), (12, 10), (13, 15), (60, 70), (83, 70), (84, 100)]
    {
        assert_eq!(nearest(weight(number)), weight(step), "{number}");
    }
}

/// Times in seconds with the numbers of the file at that time, and the announced weight after each.
#[test]
fn the_announced_weight_follows_a_step_and_at_most_once_a_minute() {
    let start = Instant::now();
    for (what, announced, reads, want) in [
        ("the first number is announced at once", None, &[(0, 68)][..], "70"),
        (
            "noise moves nothing",
            None,
            &[(0, 70), (100, 99), (200, 51), (300, 85), (400, 60)],
            "70 70 70 70 70",
        ),
        ("a whole step does", None, &[(0, 70), (100, 100), (200, 71), (300, 70)], "70 100 100 70"),
        ("down as well", None, &[(0, 70), (100, 50), (200, 69)], "70 50 50"),
        (
            "two changes are a minute apart",
            None,
            &[(0, 70), (59, 10), (60, 10), (119, 70), (121, 70)],
            "70 70 10 10 70",
        ),
        (
            "what is gone within the minute was never announced",
            None,
            &[(0, 70), (30, 1), (61, 70)],
            "70 70 70",
        ),
        ("the largest and the smallest", None, &[(0, 1), (60, 100), (120, 1)], "1 100 1"),
        ("after a takeover the weight goes on", Some(50), &[(0, 60), (1, 65), (2, 70)], "50 50 70"),
        ("a weight between the steps", Some(60), &[(0, 51), (1, 69), (2, 70)], "60 60 70"),
    ] {
        let mut damped = Damped::continued(announced.map(weight));
        let seen = reads.iter().map(|(second, number)| {
            let before = damped.announced();
            let changed = damped.read(weight(*number), start + Duration::from_secs(*second));
            assert_eq!(changed, before != damped.announced(), "{what}");
            damped.announced().unwrap().to_string()
        });
        assert_eq!(seen.collect::<Vec<_>>().join(" "), want, "{what}");
    }
}
