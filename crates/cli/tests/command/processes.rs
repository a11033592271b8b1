//! One job over several processes, each as a user has it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use headwater_testkit::{Mosquitto, TestClient, free_port};
use nix::sys::signal::Signal;

use crate::support::{Finished, Headwater, file, run};

const QUIET: Duration = Duration::from_secs(30);

/// What all processes of a job are started with.
struct Group {
    hosts: Vec<String>,
    arguments: Vec<String>,
}

impl Group {
    fn new(dir: &Path, sql: &str, (processes, parallelism): (usize, usize)) -> Self {
        let sql = file(dir, "job.sql", sql);
        let mut hosts = BTreeSet::new();
        while hosts.len() < processes {
            hosts.insert(format!("127.0.0.1:{}", free_port().unwrap()));
        }
        let hosts: Vec<_> = hosts.into_iter().collect();
        let hostfile = file(dir, "hosts.txt", &hosts.join("\n"));
        let (processes, parallelism) = (processes.to_string(), parallelism.to_string());
        let arguments = [
            "run",
            sql.to_str().unwrap(),
            "--hostfile",
            hostfile.to_str().unwrap(),
            "--processes",
            &processes,
            "--parallelism",
            &parallelism,
        ];
        Self {
            hosts,
            arguments: arguments.map(str::to_owned).to_vec(),
        }
    }

    fn start(&self, process: usize, more: &[&str]) -> Headwater {
        let number = process.to_string();
        let arguments = self.arguments.iter().map(String::as_str);
        let own = ["--process", &number];
        let arguments: Vec<_> = arguments.chain(own).chain(more.iter().copied()).collect();
        Headwater::start(&arguments)
    }

    fn start_all(&self) -> Vec<Headwater> {
        let processes = 0..self.hosts.len();
        processes.map(|process| self.start(process, &[])).collect()
    }

    /// All of them, once they have reached their brokers.
    fn running(&self) -> Vec<Headwater> {
        let mut all = self.start_all();
        for one in &mut all {
            one.wait_for_line("all sources and sinks are connected");
        }
        all
    }

    /// Runs the job to its end, which must be a good one.
    fn run(&self) -> Vec<Finished> {
        let all = self.start_all().into_iter().map(Headwater::finish);
        let all: Vec<_> = all.collect();
        for one in &all {
            assert!(one.status.success(), "{}", one.stderr);
        }
        all
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The n-th reading: its key, its second, its text.
fn reading(n: usize) -> (usize, usize, String) {
    let (key, second) = (n * 7 % 23, n / 20);
    let (minute, rest) = (second / 60, second % 60);
    let text =
        format!("{{\"key\":{key},\"at\":\"2024-01-01T00:{minute:02}:{rest:02}\",\"n\":{n}}}");
    (key, second, text)
}

const SUMS: &str = "INSERT INTO sums SELECT key, window.end, count, sum FROM (
       SELECT key, tumble(INTERVAL '10 seconds') AS window, count(*) AS count, sum(n) AS sum
       FROM readings GROUP BY key, window);";

/// Two sources of readings, each in the order of time, which meet in the windows of a key; and a sink for those.
fn tables(source: impl Fn(usize) -> String, sink: &str) -> String {
    let table = |number: usize| {
        format!(
            "CREATE TABLE readings_{number} (
               key BIGINT, at TIMESTAMP NOT NULL, n BIGINT, WATERMARK FOR at AS at)
             WITH (type = 'source', format = 'json', {});",
            source(number)
        )
    };
    format!(
        "{} {}
         CREATE TABLE sums (key BIGINT, \"end\" TIMESTAMP, count BIGINT, sum BIGINT)
         WITH (type = 'sink', format = 'json', {sink});
         CREATE VIEW readings AS SELECT * FROM readings_0 UNION ALL SELECT * FROM readings_1;
         {SUMS}",
        table(0),
        table(1)
    )
}

/// The readings in two files.
fn readings(dir: &Path) -> String {
    for source in 0..2 {
        let lines = (0..4000).map(|n| reading(2 * n + source).2 + "\n");
        file(
            dir,
            &format!("in-{source}.jsonl"),
            &lines.collect::<String>(),
        );
    }
    let at = |name: &str| {
        format!(
            "connector = 'single_file', path = '{}'",
            dir.join(name).display()
        )
    };
    let tables = tables(
        |source| at(&format!("in-{source}.jsonl")),
        &at("sums.jsonl"),
    );
    format!(
        "{tables}
         CREATE TABLE odd (key BIGINT, n BIGINT) WITH (type = 'sink', format = 'json', {});
         INSERT INTO odd SELECT key, n FROM readings WHERE n % 2 = 1;",
        at("odd.jsonl"),
    )
}

#[test]
fn windows_over_files_are_those_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let sql = readings(dir.path());
    let path = file(dir.path(), "one.sql", &sql);
    let alone = run(&["run", path.to_str().unwrap()]);
    assert!(alone.status.success(), "{}", alone.stderr);
    let results = || ["sums.jsonl", "odd.jsonl"].map(|name| lines(&dir.path().join(name)));
    let expect = results();
    assert!(expect[0].len() > 500 && expect[1].len() == 4000);
    for size in [(2, 1), (2, 2), (3, 1)] {
        for name in ["sums.jsonl", "odd.jsonl"] {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        Group::new(dir.path(), &sql, size).run();
        assert!(results() == expect, "{size:?}");
    }
}

#[test]
fn the_first_process_shows_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let sql = "CREATE TABLE a (counter BIGINT) WITH (
                 connector = 'impulse', message_count = '50', event_rate = '100000');
               CREATE TABLE b (counter BIGINT) WITH (
                 connector = 'impulse', message_count = '50', event_rate = '100000');
               SELECT counter FROM a UNION ALL SELECT counter + 100 FROM b;";
    let all = Group::new(dir.path(), sql, (2, 1)).run();
    let counts: Vec<_> = all.iter().map(|one| one.stdout.lines().count()).collect();
    assert_eq!(counts, [100, 0]);
    // a generator is divided among all workers
    for (process, writes) in [(0, "'preview_0'"), (1, "nothing")] {
        let does = format!("process {process} of 2 reads 'a', 'b' and writes {writes}");
        assert!(
            all[process].stderr.contains(&does),
            "{}",
            all[process].stderr
        );
    }
}

fn copies(url: &str) -> String {
    let table = |name: &str, direction: &str| {
        format!(
            "CREATE TABLE {name} (n BIGINT) WITH (connector = 'mqtt', type = '{direction}',
               url = '{url}', topic = '{name}', qos = 'AtLeastOnce', format = 'json');"
        )
    };
    // the second source and the first sink are in different processes, and so are the first source and the second sink
    format!(
        "{} {} {} {}
         INSERT INTO copies_b SELECT n FROM b;
         INSERT INTO copies_a SELECT n FROM a;",
        table("a", "source"),
        table("b", "source"),
        table("copies_b", "sink"),
        table("copies_a", "sink"),
    )
}

async fn publish(client: &TestClient, topic: &str, numbers: std::ops::Range<usize>) {
    let payloads = numbers.map(|n| format!("{{\"n\":{n}}}"));
    client.publish_many(topic, payloads, 1).await.unwrap();
}

async fn receive(client: &mut TestClient, count: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while seen.len() < count {
        let message = client.recv(QUIET).await.unwrap();
        seen.insert(message.text());
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_through_several_processes_and_all_drain_when_one_is_interrupted() {
    const MESSAGES: usize = 2000;
    let broker = Mosquitto::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let group = Group::new(dir.path(), &copies(&broker.url()), (2, 2));
    let all = group.running();
    let client = TestClient::connect(&broker).await.unwrap();
    for topic in ["a", "b"] {
        let mut results = TestClient::connect(&broker).await.unwrap();
        results
            .subscribe(&format!("copies_{topic}"), 1)
            .await
            .unwrap();
        let (_, seen) = tokio::join!(
            publish(&client, topic, 0..MESSAGES),
            receive(&mut results, MESSAGES)
        );
        assert_eq!(seen.len(), MESSAGES);
    }
    all[1].signal(Signal::SIGINT);
    for (process, one) in all.into_iter().map(Headwater::finish).enumerate() {
        assert!(one.status.success(), "{}", one.stderr);
        let told = one.stderr.contains("stops the job");
        assert_eq!(told, process == 0, "{}", one.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_over_topics_have_all_that_came_to_any_process() {
    const READINGS: usize = 2000;
    let broker = Mosquitto::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let topic = |name: &str| {
        format!(
            "connector = 'mqtt', url = '{}', topic = '{name}', qos = 'AtLeastOnce'",
            broker.url()
        )
    };
    let sql = tables(|source| topic(&format!("in/{source}")), &topic("sums"));
    let mut expect = BTreeMap::<(usize, usize), (usize, usize)>::new();
    for n in 0..2 * READINGS {
        let (key, second, _) = reading(n);
        let window = expect.entry((key, second / 10)).or_default();
        *window = (window.0 + 1, window.1 + n);
    }
    let expect = expect.into_iter().map(|((key, window), (count, sum))| {
        let end = (window + 1) * 10;
        let (minute, second) = (end / 60, end % 60);
        let end = format!("2024-01-01T00:{minute:02}:{second:02}");
        format!("{{\"key\":{key},\"end\":\"{end}\",\"count\":{count},\"sum\":{sum}}}")
    });
    let expect: BTreeSet<_> = expect.collect();
    for size in [(2, 1), (2, 2), (3, 1)] {
        let all = Group::new(dir.path(), &sql, size).running();
        let mut results = TestClient::connect(&broker).await.unwrap();
        results.subscribe("sums", 1).await.unwrap();
        for source in 0..2 {
            let client = TestClient::connect(&broker).await.unwrap();
            let readings = (0..READINGS).map(|n| reading(2 * n + source).2);
            let closing = "{\"key\":0,\"at\":\"2024-01-02T00:00:00\",\"n\":0}".to_owned();
            let topic = format!("in/{source}");
            let payloads = readings.chain([closing]);
            client.publish_many(&topic, payloads, 1).await.unwrap();
        }
        let sums = receive(&mut results, expect.len()).await;
        assert!(sums == expect, "{size:?}");
        all[0].signal(Signal::SIGINT);
        for one in all.into_iter().map(Headwater::finish) {
            assert!(one.status.success(), "{}", one.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_process_is_killed_the_others_say_which_and_nothing_is_lost() {
    const MESSAGES: usize = 3000;
    let broker = Mosquitto::builder().max_inflight_messages(200);
    let broker = broker.start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let group = Group::new(dir.path(), &copies(&broker.url()), (2, 1));
    let mut results = TestClient::connect(&broker).await.unwrap();
    results.subscribe("copies_a", 1).await.unwrap();
    let client = TestClient::connect(&broker).await.unwrap();
    let mut seen = BTreeSet::new();
    for killed in [1, 0] {
        let mut all = group.running();
        let begin = seen.len();
        let (_, some) = tokio::join!(
            publish(&client, "a", begin..begin + MESSAGES),
            receive(&mut results, MESSAGES / 3)
        );
        seen.extend(some);
        all.remove(killed).kill();
        let other = all.remove(0).finish();
        assert_eq!(other.status.code(), Some(1), "{}", other.stderr);
        let named = format!("process {killed} ({}) is lost", group.hosts[killed]);
        assert!(other.stderr.contains(&named), "{}", other.stderr);
        assert!(!other.stderr.contains("panicked"), "{}", other.stderr);
        // started again, they go on where they were
        let all = group.running();
        while seen.len() < begin + MESSAGES {
            seen.insert(results.recv(QUIET).await.unwrap().text());
        }
        all[0].signal(Signal::SIGTERM);
        for one in all.into_iter().map(Headwater::finish) {
            assert!(one.status.success(), "{}", one.stderr);
        }
    }
    for n in 0..2 * MESSAGES {
        assert!(seen.contains(&format!("{{\"n\":{n}}}")), "{n} is missing");
    }
}

#[test]
fn processes_that_run_different_sql_do_not_run_it() {
    let dir = tempfile::tempdir().unwrap();
    let group = Group::new(dir.path(), "SELECT 1;", (2, 1));
    let first = group.start(0, &[]);
    let others = tempfile::tempdir().unwrap();
    let mut other = Group::new(others.path(), "SELECT 2;", (2, 1));
    other.arguments[3] = group.arguments[3].clone();
    let second = other.start(1, &[]);
    for one in [first.finish(), second.finish()] {
        assert_eq!(one.status.code(), Some(2), "{}", one.stderr);
        assert!(one.stderr.contains("different SQL"), "{}", one.stderr);
        assert!(one.stdout.is_empty(), "{}", one.stdout);
        for host in &group.hosts {
            assert!(one.stderr.contains(host), "{}", one.stderr);
        }
    }
}

#[test]
fn a_process_that_does_not_come_is_waited_for_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let group = Group::new(dir.path(), "SELECT 1;", (3, 1));
    let timeout = ["--processes-timeout-s", "1"];
    let all = [group.start(0, &timeout), group.start(2, &timeout)];
    for one in all.map(Headwater::finish) {
        assert_eq!(one.status.code(), Some(1), "{}", one.stderr);
        let missing = format!("in vain for process 1 ({})", group.hosts[1]);
        let lost = "is lost";
        let said = one.stderr.contains(&missing) || one.stderr.contains(lost);
        assert!(said, "{}", one.stderr);
    }
}

#[test]
fn who_waits_can_be_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let group = Group::new(dir.path(), "SELECT 1;", (2, 1));
    let mut one = group.start(0, &[]);
    one.wait_for_line("waiting for process 1");
    one.signal(Signal::SIGINT);
    assert!(one.finish().status.success());
}

#[test]
fn state_is_not_kept_over_several_processes() {
    let dir = tempfile::tempdir().unwrap();
    let sql = readings(dir.path());
    let group = Group::new(dir.path(), &sql, (2, 1));
    let state = dir.path().join("state");
    let one = group.start(0, &["--state-dir", state.to_str().unwrap()]);
    let one = one.finish();
    assert_eq!(one.status.code(), Some(2), "{}", one.stderr);
    assert!(
        one.stderr.contains("run without a state folder"),
        "{}",
        one.stderr
    );
}

#[test]
fn mistakes_about_processes_exit_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let sql = file(dir.path(), "one.sql", "SELECT 1;");
    let hosts = file(dir.path(), "one.txt", "127.0.0.1:1\n");
    let (sql, hosts) = (sql.to_str().unwrap(), hosts.to_str().unwrap());
    for (arguments, complaint) in [
        (vec!["--process", "1"], "there is no process 1"),
        (
            vec!["--processes", "2", "--process", "2"],
            "the last one is 1",
        ),
        (
            vec!["--processes", "2", "--hostfile", hosts],
            "it has 1 lines",
        ),
        (
            vec!["--processes", "2", "--hostfile", "nowhere"],
            "cannot be read",
        ),
    ] {
        let finished = run(&[vec!["run", sql], arguments].concat());
        assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains(complaint), "{}", finished.stderr);
    }
}
