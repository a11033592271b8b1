//! What came out, as `docs/brokers.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use headwater_mqtt::ProtocolVersion;

use crate::check::{VERSIONS, Variant};
use crate::trial::{Contender, Outcome, key, variants};

const HEAD: &str = "\
# Brokers

What the conformance suite found: its checks run over the handles that the MQTT connector stands on, against brokers
that were started for it. `cargo xtask brokers` writes this page; `crates/conformance` has the checks.

✓ it works · ✗ it does not, and the note says what happened · – the broker does not offer it, and the note says why. A
version has the brokers that speak it.
";

/// Writes the table.
pub(crate) fn write(file: &Path, contenders: &[Arc<Contender>]) -> Result<()> {
    let text = markdown(contenders)?;
    fs::write(file, text).with_context(|| format!("'{}' cannot be written", file.display()))
}

/// Notes with their numbers, each once.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn number(&mut self, note: String) -> usize {
        let known = self.0.iter().position(|other| *other == note);
        let at = known.unwrap_or_else(|| {
            self.0.push(note);
            self.0.len() - 1
        });
        at + 1
    }
}

fn markdown(contenders: &[Arc<Contender>]) -> Result<String> {
    let mut text = HEAD.to_owned();
    let mut notes = Notes::default();
    for protocol in VERSIONS {
        section(&mut text, &mut notes, protocol, contenders)?;
    }
    text.push_str("\n## Notes\n\n");
    for (index, note) in notes.0.iter().enumerate() {
        writeln!(text, "{}. {note}", index + 1)?;
    }
    Ok(text)
}

fn section(
    text: &mut String,
    notes: &mut Notes,
    protocol: ProtocolVersion,
    contenders: &[Arc<Contender>],
) -> Result<()> {
    let rows: Vec<Variant> = variants()
        .map(|(_, variant)| variant)
        .filter(|variant| variant.protocol == protocol)
        .collect();
    // Brokers that do not speak the version would be a column of dashes.
    let speaks = |contender: &&Arc<Contender>| {
        let outcomes = rows.iter().map(|row| contender.outcome(&key(row)));
        let mut known = outcomes.flatten();
        known.any(|outcome| !matches!(outcome, Outcome::Lacking(_)))
    };
    let columns: Vec<&Arc<Contender>> = contenders.iter().filter(speaks).collect();
    write!(text, "\n## {protocol}\n\n|")?;
    for column in &columns {
        let version = &column.broker()?.version;
        write!(text, " | {} {version}", column.product.title)?;
    }
    writeln!(text, " |\n|---{}|", "|:-:".repeat(columns.len()))?;
    for row in &rows {
        write!(text, "| {}", row.title())?;
        for column in &columns {
            let outcome = column.outcome(&key(row));
            write!(text, " | {}", cell(notes, column, outcome))?;
        }
        writeln!(text, " |")?;
    }
    Ok(())
}

fn cell(notes: &mut Notes, contender: &Contender, outcome: Option<Outcome>) -> String {
    let title = contender.product.title;
    match outcome {
        None => "?".to_owned(),
        Some(Outcome::Passed) => "✓".to_owned(),
        Some(Outcome::Lacking(why)) => {
            let number = notes.number(format!("{title} {why}."));
            format!("– [{number}]")
        }
        Some(Outcome::Failed(what, remark)) => {
            let what = what.replace(&format!("127.0.0.1:{}", port(contender)), "the broker");
            let remark = remark.map_or_else(String::new, |remark| format!(" {remark}"));
            let number = notes.number(format!("{title}: `{}`.{remark}", what.replace('`', "'")));
            format!("✗ [{number}]")
        }
    }
}

fn port(contender: &Contender) -> u16 {
    contender.broker().map_or(0, |broker| broker.port)
}
