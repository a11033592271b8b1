//! The command as its users meet it: what it prints, how it ends, and what it says to their mistakes.

use headwater_testkit::{Mosquitto, TestClient, free_port};
use nix::sys::signal::Signal;

use crate::support::{DEADLINE, Finished, Headwater, command, file, run, wait_until};

fn sql(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "job.sql", text);
    (dir, path.to_str().unwrap().to_owned())
}

fn copy(url: &str) -> String {
    format!(
        "CREATE TABLE numbers (n BIGINT) WITH (connector = 'mqtt', type = 'source',
           url = '{url}', topic = 'in', qos = 'AtLeastOnce', format = 'json');
         CREATE TABLE copies WITH (connector = 'mqtt', type = 'sink',
           url = '{url}', topic = 'out', qos = 'AtLeastOnce', format = 'json');
         INSERT INTO copies SELECT n FROM numbers;"
    )
}

#[test]
fn a_bounded_pipeline_prints_its_rows_and_exits_with_0() {
    let (_dir, file) = sql("CREATE TABLE ticks (counter BIGINT) WITH (
           connector = 'impulse', message_count = '3', event_rate = '1000');
         SELECT counter * 10 AS ten FROM ticks;");
    let finished = run(&["run", &file]);
    assert!(finished.status.success(), "{}", finished.stderr);
    assert_eq!(finished.stdout, "{\"ten\":0}\n{\"ten\":10}\n{\"ten\":20}\n");
}

#[test]
fn results_that_change_are_printed_as_changes() {
    let (_dir, file) = sql("SELECT count(*) AS n FROM (VALUES (1), (2), (3)) AS v (x);");
    let finished = run(&["run", &file]);
    assert!(finished.status.success(), "{}", finished.stderr);
    let change = r#"{"before":null,"after":{"n":3},"op":"c"}"#;
    assert_eq!(finished.stdout, format!("{change}\n"));
}

#[test]
fn groups_without_windows_are_counted_to_the_limit_of_state() {
    let (_dir, file) = sql("CREATE TABLE ticks (counter BIGINT) WITH (
           connector = 'impulse', message_count = '20000', event_rate = '1000000');
         SELECT counter, count(*) AS n FROM ticks GROUP BY counter;");
    let finished = run(&["run", "--state-limit-mib", "1", &file]);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    let reason = "more than the limit of 1048576";
    assert!(finished.stderr.contains(reason), "{}", finished.stderr);
}

/// Two long windows of many keys, and shorter ones that hop.
const LARGE_WINDOWS: &str = "CREATE TABLE ticks (counter BIGINT NOT NULL,
           at TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(counter)) STORED, WATERMARK FOR at AS at) WITH (
           connector = 'impulse', message_count = '100000', event_rate = '1000000');
         SELECT max(counter) AS last, count(*) AS n, sum(counter) AS sum FROM ticks
           GROUP BY tumble(INTERVAL '50 seconds'), 'key ' || (counter * 7919 % 30000);
         SELECT max(counter) AS last, count(*) AS n, min(counter) AS first FROM ticks
           GROUP BY hop(INTERVAL '20 seconds', INTERVAL '40 seconds'), 'key ' || (counter * 7919 % 15000);";

#[test]
fn windows_over_the_limit_of_state_go_to_disk_or_fail() {
    let (_dir, file) = sql(LARGE_WINDOWS);
    let sorted = |finished: &Finished| {
        assert!(finished.status.success(), "{}", finished.stderr);
        let mut lines: Vec<_> = finished.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let expected = sorted(&run(&["run", &file]));
    assert!(expected.len() > 60_000, "{}", expected.len());
    let limit = ["run", "--state-limit-mib", "1", &file];
    let spill = [&limit[..], &["--state-over-limit", "spill"]].concat();
    let workers = [&spill[..], &["--parallelism", "2"]].concat();
    for args in [spill.clone(), workers] {
        assert!(sorted(&run(&args)) == expected, "{args:?}");
    }
    let failed = run(&limit);
    assert_eq!(failed.status.code(), Some(1), "{}", failed.stderr);
    let remedy = "let windows go to disk with --state-over-limit spill";
    assert!(failed.stderr.contains(remedy), "{}", failed.stderr);
    // it does go to disk: where there is none, it fails
    let output = command(&spill).env("TMPDIR", "/nowhere").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let reason = "state cannot be written to a file in '/nowhere'";
    assert!(stderr.contains(reason), "{stderr}");
    // what cannot go there fails
    let (_dir, file) = sql("CREATE TABLE ticks (counter BIGINT) WITH (
           connector = 'impulse', message_count = '20000', event_rate = '1000000');
         SELECT counter, count(*) AS n FROM ticks GROUP BY counter;");
    let failed = run(&[
        "run",
        "--state-limit-mib",
        "1",
        "--state-over-limit",
        "spill",
        &file,
    ]);
    assert_eq!(failed.status.code(), Some(1), "{}", failed.stderr);
    assert!(
        failed.stderr.contains("cannot go to disk"),
        "{}",
        failed.stderr
    );
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_job_and_is_no_error() {
    use std::io::{BufRead, BufReader};
    let (_dir, file) = sql("CREATE TABLE ticks (counter BIGINT) WITH (
           connector = 'impulse', event_rate = '1000');
         SELECT counter FROM ticks;");
    let mut child = command(["run", &file])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    // as `head -1` does: the pipe is closed behind it
    let mut pipe = BufReader::new(child.stdout.take().unwrap());
    pipe.read_line(&mut first).unwrap();
    drop(pipe);
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(first, "{\"counter\":0}\n");
    assert!(ended.status.success(), "{stderr}");
    assert!(
        !stderr.contains("error") && !stderr.contains("preview"),
        "{stderr}"
    );
}

#[test]
fn sql_comes_from_standard_input_too() {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = command(["run", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(
            b"CREATE TABLE t (counter BIGINT) WITH (connector = 'impulse', message_count = '1');
              SELECT counter FROM t;",
        )
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "{\"counter\":0}\n"
    );
}

#[test]
fn wrong_sql_exits_with_2_and_shows_the_place() {
    let (_dir, file) = sql(
        "CREATE TABLE t (counter BIGINT) WITH (connector = 'impulse');\n\
                            SELECT m FROM t;",
    );
    for command in ["run", "check"] {
        let finished = run(&[command, &file]);
        assert_eq!(finished.status.code(), Some(2));
        assert!(finished.stderr.contains(":2:8"), "{}", finished.stderr);
        assert!(finished.stderr.contains("'m'"), "{}", finished.stderr);
    }
}

/// Wrong input ends with 2, whatever the command, and names what is wrong.
#[test]
fn mistakes_of_the_user_exit_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        let path = file(dir.path(), name, text);
        path.to_str().unwrap().to_owned()
    };
    let fine = at("fine.sql", "SELECT 1;");
    let latin1 = dir.path().join("latin1.sql");
    std::fs::write(&latin1, b"SELECT '\xe4';").unwrap();
    let no_json = at("no.json", "url = mqtt://h");
    let unset = at(
        "unset.sql",
        "CREATE TABLE t (n BIGINT) WITH (connector = 'mqtt', type = 'source', topic = 't', format = 'json',
           url = 'mqtt://h', username = 'u', password = '{{ HEADWATER_IS_NOT_SET }}');
         SELECT n FROM t;",
    );
    let folder = dir.path().to_str().unwrap();
    for command in ["run", "check", "test-connection"] {
        for (args, named) in [
            (vec![command, "/nowhere/job.sql"], "'/nowhere/job.sql'"),
            (vec![command, folder], folder),
            (vec![command, latin1.to_str().unwrap()], "latin1.sql"),
            (
                vec![command, &fine, "--profile", "/nowhere/p.json"],
                "'/nowhere/p.json'",
            ),
            (vec![command, &fine, "--profile", &no_json], "no.json"),
            (vec![command, &fine, "--colour"], "--colour"),
        ] {
            let finished = run(&args);
            assert_eq!(
                finished.status.code(),
                Some(2),
                "{args:?}: {}",
                finished.stderr
            );
            assert!(
                finished.stderr.contains(named),
                "{args:?}: {}",
                finished.stderr
            );
        }
    }
    let finished = run(&["run", &unset]);
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("HEADWATER_IS_NOT_SET"),
        "{}",
        finished.stderr
    );
    assert_eq!(
        run(&["connectors", "--schema", "mqt"]).status.code(),
        Some(2)
    );
}

#[test]
fn a_file_is_not_emptied_by_the_job_that_reads_it() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "in.jsonl", "{\"n\": 1}\n");
    symlink(&path, dir.path().join("link.jsonl")).unwrap();
    symlink("later.jsonl", dir.path().join("dangling.jsonl")).unwrap();
    let table = |name: &str, kind: &str, path: &str| {
        let path = dir.path().join(path);
        format!(
            "CREATE TABLE {name} (n BIGINT) WITH (connector = 'single_file', type = '{kind}', path = '{}', format = 'json');",
            path.display()
        )
    };
    let source = table("numbers", "source", "in.jsonl");
    let link = table("copies", "sink", "link.jsonl");
    let dangling =
        table("copies", "sink", "dangling.jsonl") + &table("more", "sink", "later.jsonl");
    for sql in [
        format!("{source}{link} INSERT INTO copies SELECT n FROM numbers;"),
        format!(
            "{source}{dangling} INSERT INTO copies SELECT n FROM numbers; INSERT INTO more SELECT n FROM numbers;"
        ),
    ] {
        let sql = file(dir.path(), "job.sql", &sql);
        for command in ["check", "run"] {
            let finished = run(&[command, sql.to_str().unwrap()]);
            assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
            assert!(finished.stderr.contains("'copies'"), "{}", finished.stderr);
            assert!(
                finished.stderr.contains("of the same job"),
                "{}",
                finished.stderr
            );
        }
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"n\": 1}\n");
    assert!(!dir.path().join("later.jsonl").exists());
}

#[test]
fn dropped_rows_are_told_once_with_their_reason() {
    let dir = tempfile::tempdir().unwrap();
    let lines = "{\"n\": 1}\n{\"n\": \"x\"}\nnonsense\n{\"n\": 0}\n";
    let path = file(dir.path(), "in.jsonl", lines);
    let (_dir, sql) = sql(&format!(
        "CREATE TABLE numbers (n BIGINT) WITH (connector = 'single_file', type = 'source', path = '{}',
           format = 'json', bad_data = 'drop');
         SELECT 10 / n AS tenth FROM numbers;",
        path.display()
    ));
    let finished = run(&["run", &sql]);
    assert!(finished.status.success(), "{}", finished.stderr);
    assert_eq!(finished.stdout, "{\"tenth\":10}\n");
    let told: Vec<_> = finished
        .stderr
        .lines()
        .filter(|line| line.contains("dropped a row of"))
        .collect();
    assert_eq!(told.len(), 1, "{}", finished.stderr);
    assert!(
        told[0].contains("WARN") && told[0].contains("'numbers'"),
        "{}",
        told[0]
    );
    assert!(told[0].contains("line 2 of"), "{}", told[0]);
    assert!(
        finished.stderr.contains("3 dropped as bad data"),
        "{}",
        finished.stderr
    );
}

#[test]
fn rows_dropped_by_an_expression_are_told_too() {
    let (_dir, sql) = sql(
        "CREATE TABLE ticks (counter BIGINT) WITH (connector = 'impulse', message_count = '3');
         SELECT 10 / counter AS tenth FROM ticks;",
    );
    // generated rows have no bad_data option, so that the job fails and says why
    let failed = run(&["run", &sql]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(failed.stderr.contains("ivide by zero"), "{}", failed.stderr);
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "in.jsonl", "{\"n\": 0}\n");
    let (_dir, sql) = self::sql(&format!(
        "CREATE TABLE numbers (n BIGINT) WITH (connector = 'single_file', type = 'source', path = '{}',
           format = 'json', bad_data = 'drop');
         SELECT 10 / n AS tenth FROM numbers;",
        path.display()
    ));
    let finished = run(&["run", &sql]);
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("dropped a row of 'numbers': "),
        "{}",
        finished.stderr
    );
    assert!(
        finished.stderr.contains("ivide by zero"),
        "{}",
        finished.stderr
    );
}

/// `timeout` and terminals signal a process twice at once; a drain says what it waits for; a second request ends it.
#[test]
fn signals_at_once_are_one_request_and_a_long_drain_is_not_silent() {
    let url = format!("mqtt://127.0.0.1:{}", free_port().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("seen.jsonl");
    let (_dir, file) = sql(&format!(
        "CREATE TABLE ticks (counter BIGINT) WITH (connector = 'impulse', event_rate = '1000');
         CREATE TABLE copies WITH (connector = 'mqtt', type = 'sink', url = '{url}', topic = 'out', format = 'json');
         CREATE TABLE seen WITH (connector = 'single_file', type = 'sink', path = '{}', format = 'json');
         INSERT INTO copies SELECT counter FROM ticks;
         INSERT INTO seen SELECT counter FROM ticks;",
        seen.display()
    ));
    let mut headwater = Headwater::start(&["run", &file]);
    // rows are on their way to the sink that is not there
    wait_until(|| std::fs::read(&seen).is_ok_and(|lines| !lines.is_empty()));
    headwater.wait_for_line("refused");
    headwater.signal(Signal::SIGTERM);
    headwater.signal(Signal::SIGINT);
    let line = headwater.wait_for_line("still waiting for");
    assert!(line.contains("that came from 'ticks'"), "{line}");
    assert!(line.contains("not connected"), "{line}");
    headwater.signal(Signal::SIGINT);
    let finished = headwater.finish();
    assert_eq!(finished.status.code(), Some(130), "{}", finished.stderr);
}

#[test]
fn check_connects_to_nothing() {
    let (_dir, file) = sql(&copy(&format!("mqtt://127.0.0.1:{}", free_port().unwrap())));
    let finished = run(&["check", &file]);
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(
        finished.stdout.contains("ok: 2 tables"),
        "{}",
        finished.stdout
    );
}

#[test]
fn connectors_are_listed_with_options_and_schemas() {
    let list = run(&["connectors"]).stdout;
    for name in ["mqtt", "single_file", "stdout", "blackhole", "impulse"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
    }
    assert!(run(&["connectors", "mqtt"]).stdout.contains("tls.ca"));
    let schemas = run(&["connectors", "--schema", "mqtt"]).stdout;
    let schemas: serde_json::Value = serde_json::from_str(&schemas).unwrap();
    assert!(schemas["profile"]["properties"]["url"].is_object());
    let unknown = run(&["connectors", "mqt"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(unknown.stderr.contains("'mqtt'"), "{}", unknown.stderr);
}

#[test]
fn a_misspelt_environment_variable_is_told() {
    let output = command(["connectors"])
        .env("HEADWATER_STATEDIR", "/tmp/state")
        .output()
        .unwrap();
    assert!(output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    let told = "did you mean 'HEADWATER_STATE_DIR'?";
    assert!(
        stderr.starts_with("warning: ") && stderr.contains(told),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_drains_and_exits_with_0() {
    let broker = Mosquitto::start().unwrap();
    let (_dir, file) = sql(&copy(&broker.url()));
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let headwater = Headwater::running(&["run", &file]);
        let mut results = TestClient::connect(&broker).await.unwrap();
        results.subscribe("out", 1).await.unwrap();
        let client = TestClient::connect(&broker).await.unwrap();
        client
            .publish_many("in", (0..500).map(|n| format!("{{\"n\":{n}}}")), 1)
            .await
            .unwrap();
        results.collect(1, DEADLINE).await.unwrap();
        headwater.signal(signal);
        let finished = headwater.finish();
        assert!(finished.status.success(), "{}", finished.stderr);
        // what was not read before the interrupt is still the broker's, for the session of this job
        let mut again = Headwater::running(&["run", &file]);
        results.collect(499, DEADLINE).await.unwrap();
        again.signal(Signal::SIGINT);
        again.wait_for_line("done:");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_stopped_amid_a_stream_has_written_what_it_has_counted() {
    let broker = Mosquitto::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.jsonl");
    let (_dir, file) = sql(&format!(
        "CREATE TABLE numbers (n BIGINT) WITH (connector = 'mqtt', type = 'source',
           url = '{}', topic = 'in', qos = 'AtMostOnce', format = 'json');
         CREATE TABLE copies WITH (connector = 'single_file', type = 'sink', path = '{}', format = 'json');
         INSERT INTO copies SELECT n FROM numbers;",
        broker.url(),
        out.display()
    ));
    let headwater = Headwater::running(&["run", &file]);
    let client = TestClient::connect(&broker).await.unwrap();
    let flood = tokio::spawn(async move {
        let payloads = || (0..1000).map(|n| format!("{{\"n\":{n}}}"));
        while client.publish_many("in", payloads(), 0).await.is_ok() {}
    });
    let written = || std::fs::read_to_string(&out).map_or(0, |text| text.lines().count());
    wait_until(|| written() > 2_000);
    headwater.signal(Signal::SIGINT);
    let finished = headwater.finish();
    flood.abort();
    let count = written();
    let (_, done) = finished.stderr.split_once("done: ").unwrap();
    let (counted, _) = done.split_once(" messages in").unwrap();
    assert_eq!(counted.replace(',', ""), count.to_string(), "{done}");
}

#[test]
fn a_job_whose_broker_is_away_says_so_and_can_be_stopped() {
    let url = format!("mqtt://127.0.0.1:{}", free_port().unwrap());
    let (_dir, file) = sql(&copy(&url));
    let mut headwater = Headwater::start(&["run", &file]);
    let line = headwater.wait_for_line("refused");
    assert!(line.contains("127.0.0.1"), "{line}");
    headwater.signal(Signal::SIGINT);
    let finished = headwater.finish();
    assert!(finished.status.success(), "{}", finished.stderr);
}

#[test]
fn a_job_that_reads_what_it_writes_is_warned() {
    let url = format!("mqtt://127.0.0.1:{}", free_port().unwrap());
    let (_dir, file) = sql(&copy(&url).replace("topic = 'in'", "topic = '#'"));
    let mut headwater = Headwater::start(&["run", &file]);
    let line = headwater.wait_for_line("go round in a loop");
    assert!(
        line.contains("'copies' writes what 'numbers' reads ('#')"),
        "{line}"
    );
    headwater.signal(Signal::SIGINT);
    assert!(headwater.finish().status.success());
}

#[test]
fn a_job_at_the_wrong_port_is_told_the_right_scheme() {
    let broker = Mosquitto::builder().tls().start().unwrap();
    let url = broker.url().replace("mqtts://", "mqtt://");
    let (_dir, file) = sql(&copy(&url));
    let mut headwater = Headwater::start(&["run", &file]);
    headwater.wait_for_line("if it expects TLS, write mqtts:// in 'url'");
    headwater.signal(Signal::SIGINT);
    assert!(headwater.finish().status.success());

    let url = format!("mqtts://{}", broker.plain_addr());
    let (_dir, file) = sql(&copy(&url));
    let mut headwater = Headwater::start(&["run", &file]);
    headwater.wait_for_line("if it has no TLS, write mqtt:// in 'url'");
    headwater.signal(Signal::SIGINT);
    assert!(headwater.finish().status.success());
}

#[test]
fn a_websocket_tells_no_secret_however_much_is_logged() {
    let broker = Mosquitto::builder()
        .user("plant", "geheim")
        .websockets()
        .start()
        .unwrap();
    let url = broker.websocket_url().unwrap();
    let url = url.replace("ws://", "ws://plant:geheim@");
    let (_dir, file) = sql(&format!(
        "CREATE TABLE ticks (counter BIGINT) WITH (
           connector = 'impulse', message_count = '3', event_rate = '1000');
         CREATE TABLE copies WITH (connector = 'mqtt', type = 'sink',
           url = '{url}', topic = 'out', qos = 'AtLeastOnce', format = 'json');
         INSERT INTO copies SELECT counter FROM ticks;"
    ));
    let mut command = command(["run", &file]);
    let finished = command.env("RUST_LOG", "trace").output().unwrap();
    assert!(finished.status.success(), "{finished:?}");
    let logged = String::from_utf8_lossy(&finished.stderr).to_lowercase();
    assert!(logged.contains("trace"), "nothing is held back: {logged}");
    let hexadecimal = "67656865696d";
    assert!(
        !logged.contains("geheim") && !logged.contains(hexadecimal),
        "{logged}"
    );
    // The bound on what its library logs is no request to hear that much.
    let finished = self::command(["run", &file])
        .env_remove("RUST_LOG")
        .output();
    let finished = finished.unwrap();
    let logged = String::from_utf8_lossy(&finished.stderr);
    assert!(
        logged.contains(" INFO ") && !logged.contains(" DEBUG "),
        "{logged}"
    );
}

#[test]
fn every_example_plans() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    let mut folders = vec![std::path::PathBuf::from(root)];
    let mut checked = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "sql") {
                let finished = run(&["check", path.to_str().unwrap()]);
                assert!(finished.status.success(), "{path:?}: {}", finished.stderr);
                checked += 1;
            }
        }
    }
    assert!(checked >= 5, "only {checked} examples were found");
}

#[test]
fn a_wrong_password_fails_the_job_and_is_not_shown() {
    let broker = Mosquitto::builder().user("plant", "right").start().unwrap();
    let url = broker.url().replace("mqtt://", "mqtt://plant:wr0ng@");
    let (_dir, file) = sql(&copy(&url));
    let finished = run(&["run", &file]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("password"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("wr0ng"), "{}", finished.stderr);
    let tested = run(&["test-connection", &file]);
    assert_eq!(tested.status.code(), Some(1));
    assert!(!tested.stdout.contains("wr0ng"), "{}", tested.stdout);
}

#[test]
fn test_connection_tells_every_step() {
    let broker = Mosquitto::start().unwrap();
    let (_dir, file) = sql(&copy(&broker.url()));
    let finished = run(&["test-connection", &file]);
    assert!(
        finished.status.success(),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
    for step in ["connect", "login", "subscribe", "publish"] {
        assert!(
            finished.stdout.contains(step),
            "{step}: {}",
            finished.stdout
        );
    }
    let own = run(&["test-connection", &file, "copies", "--own-topics"]);
    assert!(
        own.stdout.contains("took a probe on 'out'"),
        "{}",
        own.stdout
    );
    let one = run(&["test-connection", &file, "copies"]);
    assert!(!one.stdout.contains("numbers"), "{}", one.stdout);
    let none = run(&["test-connection", &file, "copis"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(none.stderr.contains("copies"), "{}", none.stderr);
}

#[test]
fn a_profile_comes_from_a_file() {
    let broker = Mosquitto::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let profile = format!(
        r#"{{"name": "plant", "connector": "mqtt", "config": {{"url": "{}"}}}}"#,
        broker.url()
    );
    let profile = file(dir.path(), "plant.json", &profile);
    let sql = file(
        dir.path(),
        "job.sql",
        "CREATE TABLE t (n BIGINT) WITH (connector = 'mqtt', connection_profile = 'plant',
           type = 'source', topic = 'in', format = 'json');",
    );
    let args = [
        "test-connection",
        sql.to_str().unwrap(),
        "--profile",
        profile.to_str().unwrap(),
    ];
    let finished = run(&args);
    assert!(
        finished.status.success(),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
}

#[test]
fn a_state_folder_that_cannot_be_used_is_found_out_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let sql = file(dir.path(), "job.sql", "SELECT 1;");
    let sql = sql.to_str().unwrap();
    let refused = run(&["run", sql, "--state-dir", sql]);
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("cannot make '"),
        "{}",
        refused.stderr
    );
    let state = dir.path().join("state");
    let made = run(&["run", sql, "--state-dir", state.to_str().unwrap()]);
    assert!(made.status.success() && state.is_dir(), "{}", made.stderr);
}
