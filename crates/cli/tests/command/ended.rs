//! Operators that end before their job does: a file has been read, and another source goes on.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::crash::on_state;
use crate::support::{file, wait_until};

fn lines(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().count()
}

/// An aggregate of the file has ended as soon as the file has been read; the lookup in its results waits for that, in every run.
#[test]
fn a_job_of_which_a_part_has_ended_is_stopped_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let kinds = "{\"id\":\"even\"}\n{\"id\":\"odd\"}\n{\"id\":\"even\"}\n";
    let input = file(dir.path(), "kinds.jsonl", kinds);
    let out = dir.path().join("out.jsonl");
    let sql = format!(
        "CREATE TABLE listed (id TEXT) WITH (
           connector = 'single_file', type = 'source', path = '{}', format = 'json');
         CREATE TABLE ticks (counter BIGINT NOT NULL) WITH (connector = 'impulse', event_rate = '50');
         CREATE TABLE kinds (id TEXT PRIMARY KEY, n BIGINT);
         CREATE TABLE found WITH (connector = 'single_file', type = 'sink', path = '{}', format = 'json');
         INSERT INTO kinds SELECT id, count(*) FROM listed GROUP BY id;
         INSERT INTO found SELECT counter, n FROM ticks
           JOIN kinds ON CASE counter % 2 WHEN 0 THEN 'even' ELSE 'odd' END = id;",
        input.display(),
        out.display()
    );
    let sql = file(dir.path(), "lookup.sql", &sql);
    for _ in 0..3 {
        let before = lines(&out);
        let headwater = on_state(dir.path(), sql.to_str().unwrap(), 1);
        wait_until(|| lines(&out) > before + 10);
        headwater.signal(Signal::SIGINT);
        let finished = headwater.finish();
        assert!(finished.status.success(), "{}", finished.stderr);
    }
    let found = std::fs::read_to_string(&out).unwrap();
    for (counter, line) in found.lines().enumerate() {
        let n = 2 - counter % 2;
        assert_eq!(line, format!("{{\"counter\":{counter},\"n\":{n}}}"));
    }
}
