//! What a browser shows, with hostile texts from everything that the host hears.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::chromium::Browser;
use crate::daemon::{self, Daemon, command, in_new_netns, ip, link_to_router};
use crate::scripted::{NOTIFICATION, message};
use crate::{ADDRESS, PAGE, PATIENCE, chain, connect, peer, router};

/// Text that would change the page if it became a part of the document.
const HOSTILE: &str = "<script>owned=1</script><img src=x onerror=owned=1>";

/// A server that answers each connection with this text.
fn server(port: u16, answer: String) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let answer = answer.clone();
            std::thread::spawn(move || {
                let _ = stream.write_all(answer.as_bytes());
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
}

/// A host with hostile texts from everything that it hears: probes, a router, an operator.
fn hostile_host(folder: &Path) -> Daemon {
    link_to_router();
    let shutdown = [&[6, 2, u8::try_from(HOSTILE.len()).unwrap()], HOSTILE.as_bytes()].concat();
    ip("address add 10.9.9.2/24 dev router");
    router(1, Vec::new());
    router(2, message(NOTIFICATION, &shutdown));
    server(8025, format!("554 {HOSTILE}\r\n"));
    server(
        8080,
        format!("HTTP/1.1 301 {HOSTILE}\r\nLocation: http://x/{HOSTILE}\r\nContent-Length: 0\r\n\r\n"),
    );
    let service = |name: &str, vip: &str, check: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nvips = [{vip}]\n[[service.check]]\n{check}\ninterval = \"200ms\"\n"
        )
    };
    let config = [
        "[bgp]\nasn = 65001\nrouter_id = \"10.9.9.11\"\n".to_owned(),
        peer(1),
        peer(2),
        service("www", "\"192.0.2.80\", \"192.0.2.81\"", "exec = [\"/bin/true\"]"),
        service("shop", "\"192.0.2.90\"", "exec = [\"/bin/true\"]"),
        service(
            "program",
            "\"192.0.2.1\"",
            &format!("exec = [\"/bin/sh\", \"-c\", '''echo \"{HOSTILE}\"; exit 2''']"),
        ),
        service("lines", "\"192.0.2.2\"", "tcp = 8025\ntarget = \"127.0.0.1\"\nexpect = \"^220 \""),
        service(
            "redirect",
            "\"192.0.2.3\"",
            "http = \"http://www.example.com:8080/\"\ntarget = \"127.0.0.1\"",
        ),
        PAGE.to_owned(),
        chain(folder),
    ];
    let daemon = Daemon::start(folder, &config.concat());
    daemon.until_status(PATIENCE, "a session, and VIPs", |status| {
        let announced = status.services[0].vips.iter().all(|vip| vip.standing == "announced");
        status.peers[0].state == "Established" && announced
    });
    // What was announced before the session was established has no time to the wire.
    for words in [&["drain", "www"][..], &["undrain", "www"]] {
        assert!(command(folder, words).status().unwrap().success());
    }
    let drain = command(folder, &["drain", "shop", "--reason", HOSTILE]).status().unwrap();
    assert!(drain.success());
    daemon
}

/// The VIPs with hostile reasons.
const SICK: [&str; 3] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];

/// The least contrast of the texts with what is behind them (WCAG 2.2, 1.4.3), and where it is.
const CONTRAST: &str = r#"(() => {
  const parts = (text) => text.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = (node) => { for (; node; node = node.parentElement) { const c = parts(getComputedStyle(node).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let least = [99, ""];
  for (const node of document.querySelectorAll("header *, main *")) {
    if (!node.getClientRects().length || ![...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(parts(getComputedStyle(node).color)), light(behind(node))];
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < least[0]) least = [contrast, node.textContent];
  }
  return least;
})()"#;

#[test]
fn a_browser_shows_everything_and_runs_nothing_from_outside() {
    in_new_netns(|folder| {
        let Some(mut browser) = Browser::start() else {
            until::skipped("chromium is not installed");
            return;
        };
        let mut daemon = hostile_host(folder);
        let page = format!("http://{ADDRESS}/");
        connect();
        for (width, height, scheme) in
            [(360, 740, "light"), (360, 740, "dark"), (1280, 900, "light"), (1280, 900, "dark")]
        {
            browser.open(&page, width, height, scheme);
            browser.until("document.querySelectorAll('.vip').length === 6");
            let way = format!("{width} {scheme}");
            // Everything from outside is there, as text.
            browser.until(&format!(
                "document.body.textContent.split({HOSTILE:?}).length > 6 && document.querySelector('#drains li').textContent.includes({HOSTILE:?}) \
                 && document.querySelector('#routers').textContent.includes({HOSTILE:?})"
            ));
            for vip in SICK {
                browser.until(&format!(
                    "[...document.querySelectorAll('.service')].some((s) => s.textContent.includes('{vip}') && s.textContent.includes('<img src=x'))"
                ));
            }
            // The one light, and the worst first.
            browser.until("document.getElementById('word').textContent === 'FAIL'");
            browser.until("document.querySelector('.service').className === 'service is-fail'");
            browser.until("document.getElementById('sentence').textContent.includes('3 of 6 VIPs not announced, 1 of 2 routers down')");
            browser.until("document.title.startsWith('FAIL ')");
            // The probes: each as a shape, with words for those who do not see it.
            browser.until("document.querySelectorAll('svg.strip').length === 6");
            browser.until("[...document.querySelectorAll('svg.strip')].every((s) => /of the last [1-9]\\d* probes/.test(s.getAttribute('aria-label')))");
            browser.until("document.querySelectorAll('.strip .failed[d^=M]').length >= 3 && document.querySelectorAll('.strip .pass[d^=M]').length >= 3");
            // Events, with the time to the wire.
            browser.until("[...document.querySelectorAll('#events .wire')].some((wire) => wire.textContent.endsWith(' ms to the wire'))");
            // The members of the chain.
            browser.until("document.querySelectorAll('#chain tbody tr').length === 3");
            browser.until(
                "document.querySelector('#chain tbody tr').textContent.startsWith('10.9.9.11this host')",
            );
            browser.until(
                "document.querySelectorAll('#chain tbody tr')[2].textContent.startsWith('10.9.9.13unknown')",
            );
            browser.until("document.documentElement.scrollWidth <= innerWidth");
            let contrast = browser.value(CONTRAST);
            assert!(contrast[0].as_f64().unwrap() >= 4.5, "{way}: {contrast}");
            let dark = browser.value("getComputedStyle(document.body).backgroundColor");
            assert_eq!(dark == "rgb(16, 21, 26)", scheme == "dark", "{way}: {dark}");
        }
        by_keyboard(&mut browser);
        // Nothing from outside became a part of the document.
        assert_eq!(browser.value("document.querySelectorAll('script').length"), 1);
        assert_eq!(browser.value("document.querySelectorAll('img, iframe, object').length"), 0);
        assert_eq!(browser.value("typeof owned"), "undefined");
        assert_eq!(
            browser.value("(() => { try { document.body.innerHTML = 'x'; return 'put in'; } catch (e) { return e.name; } })()"),
            "TypeError",
            "the policy forbids it"
        );
        browser.reports.retain(|report| !report.contains("TrustedHTML"));
        assert_eq!(browser.reports, [""; 0], "errors, exceptions and violations of the policy");
        // Without a daemon, the page says so; and it comes back.
        daemon.signal(Signal::SIGKILL);
        daemon.child.wait().unwrap();
        browser.until("document.getElementById('word').textContent === 'NO CONNECTION'");
        browser.until(
            "document.getElementById('connection').textContent.startsWith('No connection to announcer for ')",
        );
        drop(daemon);
        let _again = Daemon::spawn(folder, daemon::run(folder, &[]).stderr(std::process::Stdio::null()));
        browser.until("document.getElementById('word').textContent === 'FAIL'");
    });
}

/// Tab reaches a VIP and shows where it is, Enter opens the view of the VIP, Escape goes back to where it was.
fn by_keyboard(browser: &mut Browser) {
    let focused =
        |browser: &mut Browser| browser.value("document.activeElement.hash || document.activeElement.id");
    for _ in 0..10 {
        browser.press("Tab");
        if focused(browser) == "#vip/192.0.2.2" {
            break;
        }
    }
    assert_eq!(focused(browser), "#vip/192.0.2.2");
    let outline = browser.value("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid", "the focus is visible");
    browser.press("Enter");
    browser.until("location.hash === '#vip/192.0.2.2' && document.getElementById('overview').hidden");
    browser.until("document.getElementById('vip-title').textContent === '192.0.2.2 of lines'");
    browser.until("[...document.querySelectorAll('#vip-lines .line')].some((line) => line.textContent.startsWith('Check `tcp` asks '))");
    browser.until(&format!("document.getElementById('vip-lines').textContent.includes({HOSTILE:?})"));
    browser.until("document.querySelectorAll('#vip .strip').length === 1");
    browser.press("Escape");
    browser.until("location.hash === '' && document.getElementById('vip').hidden && !document.getElementById('overview').hidden");
    assert_eq!(focused(browser), "#vip/192.0.2.2", "back where it was");
}
