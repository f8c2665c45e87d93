//! The examples, run as their first lines say.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::client::{Answer, Connection, HUB, Request, Stream, encoded};
use crate::server::runtime;

/// A running example, ended when dropped.
struct Example {
    process: Child,
    address: SocketAddr,
}

impl Example {
    fn start(name: &str) -> Self {
        let suite = std::env::current_exe().expect("a test is a file");
        let target = suite.parent().and_then(|deps| deps.parent()).expect("a folder of cargo's");
        let program = target.join("examples").join(name);
        assert!(program.is_file(), "`cargo test -p tidings-hub` builds {}", program.display());
        let mut command = Command::new(program);
        let command = command.arg("127.0.0.1:0").stdout(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let mut line = String::new();
        let mut lines = BufReader::new(process.stdout.take().expect("its output is piped"));
        lines.read_line(&mut line).expect("its output is text");
        let address = line.trim().strip_prefix("http://").expect("it prints its URL");
        Self { address: address.parse().expect("an address"), process }
    }

    async fn ask(&self, request: Request) -> Answer {
        Connection::open(self.address).await.ask(&request).await
    }

    async fn open(&self, request: Request) -> Stream {
        let mut connection = Connection::open(self.address).await;
        connection.send(&request).await;
        connection.stream().await
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn an_answer_of_tokens_is_whole_after_a_reload() {
    runtime().block_on(async {
        let example = Example::start("tokens");
        assert!(example.ask(Request::get("/")).await.text().contains("EventSource"));
        let topic = example.ask(Request::new("POST", "/ask")).await.text().to_owned();
        let path = format!("{HUB}?lastEventID=earliest&topic={}", encoded(&topic));
        let mut before = example.open(Request::get(&path)).await;
        assert_eq!(before.data(3).await, ["Good ", "tidings ", "of "]);
        drop(before);
        let after = example.open(Request::get(&path)).await.until_type("done").await;
        assert_eq!(after.concat(), "Good tidings of great joy , which shall be to all people . ");
    });
}

#[test]
fn a_chat_shows_earlier_and_new_messages() {
    runtime().block_on(async {
        let mut example = Example::start("chat");
        assert!(example.ask(Request::get("/")).await.text().contains("EventSource"));
        let say = |text: &str| Request::form(&format!("topic=urn:chat&data={}", encoded(text)));
        example.ask(say("Good evening")).await.id();
        let path = format!("{HUB}?topic=urn:chat&lastEventID=earliest");
        let mut stream = example.open(Request::get(&path)).await;
        assert_eq!(stream.event().await.data, "Good evening");
        example.ask(say("And to you")).await.id();
        assert_eq!(stream.event().await.data, "And to you");
        // Ctrl-C.
        let process = example.process.id().to_string();
        let interrupted = Command::new("kill").args(["-INT", &process]).status();
        assert!(interrupted.expect("there is a kill").success());
        stream.event().await.notice("draining");
        assert!(example.process.wait().expect("it ends").success());
    });
}

#[test]
fn a_login_decides_about_reading_and_writing() {
    runtime().block_on(async {
        let example = Example::start("login");
        let subscribe = Request::get(&format!("{HUB}?topic=urn:news"));
        let refused = example.ask(subscribe.clone()).await;
        assert_eq!(
            (refused.status(), refused.text()),
            (403, "this request is not allowed to subscribe\n")
        );
        let mut stream = example.open(subscribe.header("cookie", "session=reader")).await;
        let publish = Request::form("topic=urn:news&data=Hello");
        let by_reader = example.ask(publish.clone().header("cookie", "session=reader")).await;
        assert_eq!(by_reader.status(), 403);
        example.ask(publish.header("cookie", "session=editor")).await.id();
        assert_eq!(stream.event().await.data, "Hello");
    });
}
