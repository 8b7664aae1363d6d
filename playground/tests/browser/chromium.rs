//! Chromium without a window, driven over a pair of pipes (`--remote-debugging-pipe`).

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Everything that is waited for comes within this, on a busy machine, too.
const LIMIT: Duration = Duration::from_secs(60);

/// A browser of its own, with a profile of its own; gone when dropped.
pub(crate) struct Chromium {
    child: Child,
    to: File,
    from: Receiver<Value>,
    next: u64,
    events: Vec<Value>,
    /// Held for as long as the browser runs.
    folder: TempDir,
}

/// A page, by its session.
pub(crate) struct Page(String);

impl Chromium {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("in"), folder.path().join("out"));
        for pipe in [&input, &output] {
            assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
        }
        let program = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        // The browser reads from descriptor 3 and writes to 4; the shell opens both.
        let child = Command::new("sh")
            .arg("-c")
            .arg(r#"exec "$0" --headless=new --no-sandbox --disable-gpu --no-first-run --disable-dev-shm-usage --disable-background-networking --window-size=1280,900 --user-data-dir="$1" --remote-debugging-pipe 3<"$2" 4>"$3""#)
            .arg(&program)
            .arg(folder.path().join("profile"))
            .args([&input, &output])
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        // Opened for both directions, a pipe does not wait for its other end.
        let open = |path| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .unwrap()
        };
        let (to, from_browser) = (open(&input), open(&output));
        let (send, from) = channel();
        thread::spawn(move || {
            for message in BufReader::new(from_browser).split(0) {
                let Ok(message) = message else { return };
                let value = serde_json::from_slice(&message).unwrap();
                if send.send(value).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            to,
            from,
            next: 0,
            events: Vec::new(),
            folder,
        }
    }

    pub(crate) fn open(&mut self, url: &str) -> Page {
        let target = self.call(None, "Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call(None, "Target.attachToTarget", &attach);
        let page = Page(session["sessionId"].as_str().unwrap().to_owned());
        for domain in [
            "Network.enable",
            "Runtime.enable",
            "Log.enable",
            "Page.enable",
        ] {
            self.ask(&page, domain, &json!({}));
        }
        self.ask(&page, "Page.navigate", &json!({"url": url}));
        page
    }

    /// The value of an expression, of what it promises if it is a promise.
    pub(crate) fn evaluate(&mut self, page: &Page, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.ask(page, "Runtime.evaluate", &parameters);
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    pub(crate) fn text(&mut self, page: &Page, expression: &str) -> String {
        let value = self.evaluate(page, expression);
        value
            .as_str()
            .unwrap_or_else(|| panic!("{expression} is {value}"))
            .to_owned()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait(&mut self, page: &Page, expression: &str) {
        let guarded = format!(
            "(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()"
        );
        let end = Instant::now() + LIMIT;
        while self.evaluate(page, &guarded) != json!(true) {
            if Instant::now() > end {
                let body = self.text(page, "document.body.innerText");
                panic!(
                    "never so: {expression}; errors {:?}; the page says:\n{body}",
                    self.errors()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Focuses an editor, selects all of it, and types over it.
    pub(crate) fn retype(&mut self, page: &Page, id: &str, text: &str) {
        self.evaluate(page, &format!("document.getElementById('{id}').focus()"));
        let all = json!({"type": "rawKeyDown", "key": "a", "code": "KeyA", "windowsVirtualKeyCode": 65, "modifiers": 2, "commands": ["selectAll"]});
        self.ask(page, "Input.dispatchKeyEvent", &all);
        self.ask(page, "Input.insertText", &json!({"text": text}));
        let value = self.text(page, &format!("document.getElementById('{id}').value"));
        assert_eq!(value, text, "what was typed is not what is there");
    }

    pub(crate) fn tab(&mut self, page: &Page) {
        for kind in ["rawKeyDown", "keyUp"] {
            let key =
                json!({"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9});
            self.ask(page, "Input.dispatchKeyEvent", &key);
        }
    }

    /// As if the system preferred a theme.
    pub(crate) fn prefer(&mut self, page: &Page, theme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.ask(page, "Emulation.setEmulatedMedia", &features);
    }

    pub(crate) fn screenshot(&mut self, page: &Page, to: &Path) {
        let shot = self.ask(page, "Page.captureScreenshot", &json!({"format": "png"}));
        let data = shot["data"].as_str().unwrap();
        let bytes = base64::prelude::BASE64_STANDARD.decode(data).unwrap();
        fs::write(to, bytes).unwrap();
    }

    /// Every URL that was asked for.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.events(
            "Network.requestWillBeSent",
            |event| &event["request"]["url"],
        )
    }

    /// What the page complained of.
    pub(crate) fn errors(&self) -> Vec<String> {
        let mut errors = self.events("Log.entryAdded", |event| &event["entry"]["text"]);
        errors.extend(self.events("Runtime.exceptionThrown", |event| {
            &event["exceptionDetails"]["text"]
        }));
        errors
    }

    fn events(&self, method: &str, part: fn(&Value) -> &Value) -> Vec<String> {
        let of = self.events.iter().filter(|event| event["method"] == method);
        of.map(|event| {
            part(&event["params"])
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
    }

    fn ask(&mut self, page: &Page, method: &str, parameters: &Value) -> Value {
        self.call(Some(&page.0), method, parameters)
    }

    fn call(&mut self, session: Option<&str>, method: &str, parameters: &Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": parameters});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        self.to
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        loop {
            let said = self.from.recv_timeout(LIMIT).unwrap_or_else(|error| {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                panic!("no answer to {method}: {error}; Chromium says:\n{log}")
            });
            if said["id"] == json!(self.next) {
                assert!(said.get("error").is_none(), "{method}: {said}");
                return said["result"].clone();
            }
            self.events.push(said);
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Closing it lets it end its own processes; killing comes after, in case it does not.
        if self
            .to
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0")
            .is_ok()
        {
            let end = Instant::now() + Duration::from_secs(5);
            while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(50));
            }
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
