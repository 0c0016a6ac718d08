//! Which rows are shown, and in which order.

use super::*;

#[test]
fn the_filter_is_for_names_and_addresses() {
    let mut state = view_of(scene(), (80, 24));
    for (filter, want) in [
        ("MAIL", &["mail 192.0.2.5"][..]),
        ("192.0.2.16", &["images-and-other-static-files 192.0.2.16"]),
        ("r3", &["router r3"]),
        ("ap", &["api-public 192.0.2.7", "api-internal 192.0.2.11"]),
        ("nonsuch", &[]),
    ] {
        type_in(&mut state, "/");
        type_in(&mut state, filter);
        assert_eq!(names(&state), want, "{filter}");
        assert!(drawn(&state, (80, 24)).ends_with(&format!("/{filter}")));
        press(&mut state, &[Enter]);
        assert_eq!(names(&state), want, "{filter}");
        assert!(drawn(&state, (80, 24)).contains(&format!("[filter `{filter}`] q quit")));
        press(&mut state, &[Escape]);
        assert_eq!(names(&state).len(), 16, "{filter}");
    }
    type_in(&mut state, "/rr");
    press(&mut state, &[Backspace]);
    assert_eq!(state.settings.filter, "r");
    press(&mut state, &[Escape]);
    assert!(state.settings.filter.is_empty() && names(&state).len() == 16);
}

#[test]
fn the_filter_is_for_events_too_and_nothing_found_is_said() {
    let mut state = view_of(scene(), (80, 24));
    type_in(&mut state, "/r2");
    let shown = drawn(&state, (80, 24));
    assert!(shown.contains("r2: Established -> Connect") && !shown.contains("api-public"), "{shown}");
    type_in(&mut state, "x");
    assert!(drawn(&state, (80, 24)).contains("no name has `r2x` in it; Escape shows all"));
    assert_eq!(press(&mut state, &[Enter, Enter, Down, PageDown]), [], "there is nothing to explain");
}

#[test]
fn only_problems_are_shown() {
    let mut state = view_of(scene(), (80, 24));
    press(&mut state, &[Char('p')]);
    assert_eq!(
        names(&state),
        [
            "router r2",
            "api-public 192.0.2.7",
            "images-and-other-static-files 192.0.2.15",
            "images-and-other-static-files 192.0.2.16",
            "mail 192.0.2.5"
        ]
    );
    press(&mut state, &[Char('p')]);
    assert_eq!(names(&state).len(), 16);
    let mut fine = view_of(status(), (80, 24));
    press(&mut fine, &[Char('p')]);
    assert!(drawn(&fine, (80, 24)).contains("there are no problems; `p` shows all"));
}

#[test]
fn rows_are_sorted_in_three_ways() {
    let mut state = view_of(scene(), (80, 24));
    let mut first = || {
        let names = names(&state);
        let found = (names[0].clone(), names[3].clone(), names[names.len() - 1].clone());
        press(&mut state, &[Char('s')]);
        found
    };
    assert_eq!(first(), ("router r2".into(), "api-public 192.0.2.7".into(), "feeds 192.0.2.31".into()));
    assert_eq!(first(), ("router r1".into(), "api-internal 192.0.2.11".into(), "www 192.0.2.1".into()));
    assert_eq!(first(), ("router r1".into(), "www 192.0.2.1".into(), "feeds 192.0.2.31".into()));
    assert_eq!(first().0, "router r2");
}

#[test]
fn a_row_for_each_vip_on_request() {
    let mut state = view_of(scene(), (80, 24));
    press(&mut state, &[Char('a')]);
    assert_eq!(names(&state).len(), 3 + 32);
    // The selection is always seen.
    for key in [PageDown, PageDown, End, PageUp, Up, Home, Down] {
        press(&mut state, &[key]);
        let shown = drawn(&state, (80, 24));
        assert!(shown.lines().any(|line| line.starts_with("> ")), "{key:?}: {shown}");
    }
}

#[test]
fn the_selection_stays_with_its_vip_when_rows_move() {
    let mut state = view_of(scene(), (80, 24));
    press(&mut state, &[End]);
    assert_eq!(selected(&state), "feeds 192.0.2.31");
    let mut sick = scene();
    let vip = &mut sick.services[11].vips[1];
    *vip = a_vip("192.0.2.32", "not_announced", "unhealthy", "HTTP 500");
    poll(&mut state, sick);
    assert_eq!(selected(&state), "feeds 192.0.2.32", "the row of the service");
    let mut fewer = scene();
    fewer.services.truncate(2);
    poll(&mut state, fewer);
    assert!(state.selected.is_some(), "what was selected is gone");
    poll(&mut state, Status { services: vec![], peers: vec![], ..status() });
    assert_eq!(state.selected, None);
    assert!(drawn(&state, (80, 24)).contains("there is no router and no service"));
    poll(&mut state, scene());
    assert_eq!(selected(&state), "router r2");
}
