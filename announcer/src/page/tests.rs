use super::*;
use crate::control::status::tests::{scene, status};

#[test]
fn the_policy_names_the_script_and_the_style_of_the_file_and_nothing_else() {
    // `openssl dgst -sha256 -binary | openssl base64` of what stands between the tags gives the same.
    for (octets, want) in [
        (&b""[..], ""),
        (b"f", "Zg=="),
        (b"fo", "Zm8="),
        (b"foo", "Zm9v"),
        (b"foobar", "Zm9vYmFy"),
        (&[0xfb, 0xff, 0xfe], "+//+"),
    ] {
        assert_eq!(base64(octets), want);
    }
    assert_eq!(
        base64(digest(&SHA256, b"").as_ref()),
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "the digest of nothing is known"
    );
    let policy = policy();
    for tag in ["script", "style"] {
        let text = element(tag).unwrap();
        assert!(text.len() > 1000, "{tag}");
        let hash = base64(digest(&SHA256, text.as_bytes()).as_ref());
        assert!(policy.contains(&format!("{tag}-src 'sha256-{hash}';")), "{policy}");
    }
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    for word in ["unsafe", "http", "*", "data:", "nonce"] {
        assert!(!policy.contains(word), "{word}: {policy}");
    }
}

#[test]
fn the_page_is_one_file_that_puts_text_in_as_text() {
    for (what, count) in [("<script", 1), ("<style", 1), ("<noscript", 1)] {
        assert_eq!(HTML.matches(what).count(), count, "{what}");
    }
    for word in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        " style=",
        "src=",
        "url(",
        "@import",
        "<link",
        "onclick",
        "onload",
        "onerror",
    ] {
        assert!(!HTML.contains(word), "{word}");
    }
    // The name of a namespace is no address.
    assert_eq!(HTML.replace("\"http://www.w3.org/2000/svg\"", "").matches("http").count(), 0);
}

#[test]
fn a_path_is_the_page_the_state_the_events_or_an_explanation() {
    let vip = |text: &str| Ok(PageRoute::Explain(text.parse().unwrap()));
    for (path, want) in [
        ("/", Ok(PageRoute::Html)),
        ("/api/status", Ok(PageRoute::Status)),
        ("/api/events", Ok(PageRoute::Events)),
        ("/api/explain/vip/192.0.2.80", vip("192.0.2.80")),
        ("/api/explain/vip/2001:db8::80", vip("2001:db8::80")),
        ("/api/explain/vip/2001%3Adb8%3a%3A80", vip("2001:db8::80")),
        ("/api/explain/vip/", Err(ErrorCode::BadRequest)),
        ("/api/explain/vip/www", Err(ErrorCode::BadRequest)),
        ("/api/explain/vip/192.0.2.80/", Err(ErrorCode::BadRequest)),
        ("/api", Err(ErrorCode::UnknownPath)),
        ("/api/drains", Err(ErrorCode::UnknownPath)),
        ("/v1/reload", Err(ErrorCode::UnknownPath)),
        ("/index.html", Err(ErrorCode::UnknownPath)),
        ("//", Err(ErrorCode::UnknownPath)),
    ] {
        assert_eq!(route(path).map_err(|(code, _)| code), want, "{path}");
    }
}

#[test]
fn the_light_is_the_worst_state_and_its_text_the_head_of_status() {
    let samples = Samples::default();
    let light = |status: &Status| PageStatus::new(status, &samples, Vec::new(), None).page.light;
    let [head, _] = summary::head(&scene());
    let now = light(&scene());
    assert_eq!((now.mark, format!("fe1: {}", now.text)), ("FAIL", head));
    assert_eq!(light(&status()).mark, "ok");
    let differs = Status { differs: vec!["the file differs".into()], ..status() };
    assert_eq!(light(&differs), Light { mark: "warn", text: "the file differs".into() });
    let json = serde_json::to_value(PageStatus::new(&scene(), &samples, Vec::new(), None)).unwrap();
    for list in ["peers", "services", "vips"] {
        let marks = json["page"][list].as_object().unwrap();
        assert!(
            marks.values().any(|mark| mark == "FAIL") && marks.values().any(|mark| mark == "ok"),
            "{list}"
        );
    }
    assert_eq!(json["host"], "fe1", "the fields of `status` stand beside `page`");
}
