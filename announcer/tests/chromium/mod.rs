//! A headless Chromium that a test drives by the DevTools protocol, over two named pipes.

#![allow(unreachable_pub, reason = "no crate exports this module")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use until::until;

/// How long Chromium may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);
const PROGRAM: &str = "chromium";

/// A browser with one page; it ends when this is dropped.
pub struct Browser {
    child: Child,
    commands: File,
    answers: Receiver<Value>,
    /// What the page reported: errors, exceptions, lines of its console.
    pub reports: Vec<String>,
    session: Option<String>,
    number: u64,
    _folder: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// Starts it; `None`: it is not installed.
    pub fn start() -> Option<Browser> {
        let installed =
            Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !installed.is_ok_and(|status| status.success()) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        for pipe in [&to, &from] {
            mkfifo(pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        }
        let child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<"$TO" 4>"$FROM""#, PROGRAM])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .args(["--remote-debugging-pipe", "about:blank"])
            .env("TO", &to)
            .env("FROM", &from)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = File::options().write(true).open(&to).unwrap();
        let (heard, answers) = channel();
        let from = File::open(&from).unwrap();
        std::thread::spawn(move || {
            for text in BufReader::new(from).split(0) {
                let Ok(text) = text else { return };
                if heard.send(serde_json::from_slice(&text).unwrap()).is_err() {
                    return;
                }
            }
        });
        let (reports, session) = (Vec::new(), None);
        let mut browser = Browser { child, commands, answers, reports, session, number: 0, _folder: folder };
        let targets = browser.call("Target.getTargets", json!({}));
        let page = targets["targetInfos"].as_array().unwrap().iter().find(|target| target["type"] == "page");
        let page = json!({"targetId": page.unwrap()["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", page);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({}));
        }
        Some(browser)
    }

    /// Calls a method, and returns its result.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone().into();
        }
        self.commands.write_all(&[message.to_string().as_bytes(), b"\0"].concat()).unwrap();
        loop {
            let heard = self.answers.recv_timeout(PATIENCE).expect(method);
            if heard["id"] == self.number {
                assert_eq!(heard["error"], Value::Null, "{method}");
                return heard["result"].clone();
            }
            if let Some("Runtime.exceptionThrown" | "Log.entryAdded" | "Runtime.consoleAPICalled") =
                heard["method"].as_str()
            {
                self.reports.push(heard["params"].to_string());
            }
        }
    }

    /// The value of an expression of JavaScript, in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let wanted = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", wanted);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) {
        let true_now = until(PATIENCE, || {
            let value = self.value(expression);
            if value == true { Ok(()) } else { Err(value) }
        });
        if let Err(last) = true_now {
            let text = self.value("document.body.innerText");
            panic!("{expression}: {last}\n{}\n{:?}", text.as_str().unwrap_or_default(), self.reports);
        }
    }

    /// Opens an address in a window of this size.
    pub fn open(&mut self, address: &str, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", scheme);
        self.call("Page.navigate", json!({"url": address}));
    }

    /// Presses a key, as `Tab`.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            other => panic!("{other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// What is seen now, as PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}));
        decode(picture["data"].as_str().unwrap())
    }
}

/// The octets of base64.
fn decode(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut octets = Vec::new();
    let text = text.trim_end_matches('=');
    for group in text.as_bytes().chunks(4) {
        let bits =
            group.iter().fold(0_u32, |bits, c| bits << 6 | u32::from(digit(*c))) << (6 * (4 - group.len()));
        octets.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    octets
}
