#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;

use tokio::task::JoinHandle;

use super::script::{Command, Payload, Publish, Show, parse};
use super::*;
use crate::TestClient;

/// An engine that knows `COPY <address> <filter> <topic>`, `SELECT <word>`, and how to fail.
#[derive(Default)]
struct Toy {
    job: Option<JoinHandle<()>>,
    failure: Option<String>,
}

#[async_trait]
impl Sut for Toy {
    async fn execute(&mut self, sql: &str) -> Result<()> {
        match sql.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["COPY", from, to] => {
                let addr = broker().plain_addr();
                let mut client = TestClient::builder().connect(addr).await?;
                client.subscribe(from, 1).await?;
                let to = (*to).to_owned();
                self.job = Some(tokio::spawn(async move {
                    while let Ok(message) = client.recv(Duration::from_secs(60)).await {
                        let copy = client.publish(&to, message.payload, 1, message.retain);
                        copy.await.unwrap();
                    }
                }));
            }
            ["BREAK"] => self.failure = Some("it broke".to_owned()),
            _ => bail!("line 1, column 1: '{sql}' is no toy"),
        }
        Ok(())
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        let words = sql.split_whitespace().skip(1);
        Ok(words
            .map(|word| vec![word.to_owned(), word.len().to_string()])
            .collect())
    }

    async fn wait(&mut self) -> Result<()> {
        match self.failure.take() {
            Some(failure) => bail!(failure),
            None => Ok(()),
        }
    }

    async fn stop(&mut self) -> Result<()> {
        if let Some(job) = self.job.take() {
            job.abort();
        }
        Ok(())
    }

    fn metric(&self, table: &str, name: &str) -> Option<u64> {
        (table == "t" && name == "rows").then_some(3)
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }
}

/// One broker for the tests of this file that run at the same time; it ends with the last of them.
fn broker() -> Arc<Mosquitto> {
    static BROKER: Mutex<std::sync::Weak<Mosquitto>> = Mutex::new(std::sync::Weak::new());
    let mut broker = BROKER.lock().unwrap();
    broker.upgrade().unwrap_or_else(|| {
        let fresh = Arc::new(Mosquitto::start().unwrap());
        *broker = Arc::downgrade(&fresh);
        fresh
    })
}

fn run_case(name: &str, text: &str, update: bool) -> (Result<()>, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("case.slt");
    fs::write(&file, text).unwrap();
    let broker = broker();
    let case = Case {
        file: &file,
        name,
        update,
    };
    let outcome = case.run(|| Ok(Box::<Toy>::default()), &broker);
    (outcome, fs::read_to_string(&file).unwrap())
}

const GOOD: &str = r#"# Everything that the language has.
statement ok
COPY $TOPIC/in/+ $TOPIC/out

statement ok
publish $TOPIC/in/a {"x": 1}
publish $TOPIC/in/b qos=0 two  spaces
publish $TOPIC/in/c qos=2 hex 00 ff

query T rowsort
messages 3 from $TOPIC/out show hex
----
00ff
74776f2020737061636573
7b2278223a20317d

query TTT
messages 3 from $TOPIC/in/# show topic qos payload
----
$TOPIC/in/a 1 {"x": 1}
$TOPIC/in/b 0 two  spaces
$TOPIC/in/c 2 <slt:ignore>

statement ok
stop

statement ok
publish $TOPIC/kept/a retain it
publish $TOPIC/kept/b retain it
publish $TOPIC/kept/b retain

query TTT
retained $TOPIC/kept/# show topic payload retain
----
$TOPIC/kept/a it true

query TT
messages 3 from $TOPIC/kept/+ show topic payload
----
$TOPIC/kept/a it
$TOPIC/kept/b it
$TOPIC/kept/b (empty)

query T
messages all from $TOPIC/out
----

statement ok
write $DIR/f
one
two

query T
file $DIR/f
----
one
two

query TI
SELECT hello
----
hello 5

query I
metric t rows
----
3

statement ok
await t rows 3

statement ok
wait

statement error no job counts 'rows' for a table 'u'
metric u rows

statement error column 1: .* is no toy
BRAKE

statement ok
BREAK

statement error ^it broke$
wait
"#;

#[test]
fn a_script_with_everything_passes() {
    let (outcome, _) = run_case("everything", GOOD, false);
    outcome.unwrap();
}

#[test]
fn a_wrong_answer_shows_its_place_and_both_answers() {
    let text = "query TI\nSELECT hello\n----\nhello 6\n";
    let (outcome, _) = run_case("wrong", text, false);
    let error = outcome.unwrap_err().to_string();
    for part in ["case.slt:1", "-   hello 6", "+   hello 5"] {
        assert!(error.contains(part), "no '{part}' in: {error}");
    }
}

#[test]
fn a_job_that_broke_unnoticed_fails_its_file() {
    let (outcome, _) = run_case("broken", "statement ok\nBREAK\n", false);
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("a job has failed: it broke"), "{error}");
}

#[test]
fn awaiting_messages_ends_when_the_job_has_broken() {
    let text = "statement ok\nBREAK\n\nquery T\nmessages 1 from $TOPIC/x\n----\n1\n";
    let (outcome, _) = run_case("impatient", text, false);
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("0 of 1 messages on '$TOPIC/x'"), "{error}");
    assert!(error.contains("it broke"), "{error}");
}

#[test]
fn updating_fills_in_the_answers() {
    let before = "query TI\nSELECT hello\n----\n\nquery T\nmessages all from $TOPIC/x\n----\nold\n";
    let after =
        "query TI\nSELECT hello\n----\nhello 5\n\nquery T\nmessages all from $TOPIC/x\n----";
    let (outcome, updated) = run_case("update", before, true);
    outcome.unwrap();
    assert_eq!(updated.trim_end(), after);
}

#[test]
fn misspelt_statements_are_not_taken_for_sql() {
    for text in [
        "messages 3 $TOPIC/x",
        "wait now",
        "await t rows x",
        "messages three from x",
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(
            error.contains("messages") || error.contains("wait"),
            "{error}"
        );
    }
    assert_eq!(
        parse("SELECT 1\nFROM t").unwrap(),
        Command::Sql("SELECT 1\nFROM t")
    );
}

#[test]
fn publishing_takes_options_before_the_payload() {
    let publish = |qos, retain, payload| {
        Command::Publish(vec![Publish {
            topic: "a",
            qos,
            retain,
            properties: Default::default(),
            payload,
        }])
    };
    let check = |text: &str, expect: Command<'_>| assert_eq!(parse(text).unwrap(), expect);
    check(
        "publish a x retain",
        publish(1, false, Payload::Text("x retain")),
    );
    check(
        "publish a qos=2 retain x",
        publish(2, true, Payload::Text("x")),
    );
    check(
        "publish a hex 0aFF",
        publish(1, false, Payload::Bytes(vec![10, 255])),
    );
    check("publish a", publish(1, false, Payload::Text("")));
    let show = vec![Show::Topic, Show::Qos];
    check(
        "retained a/# show topic qos",
        Command::Retained {
            filter: "a/#",
            show,
        },
    );
}
