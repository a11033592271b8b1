//! Logs go to standard error, above the status line if there is one.

use std::io::{self, Write};

use headwater_server::Traces;
use indicatif::MultiProgress;
use tracing::Level;
use tracing_subscriber::filter::{FilterExt, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Libraries that would log secrets, and the most that is let through: the SQL parser shows every token, the WebSocket
/// every byte.
const TALKATIVE: [(&str, Level); 2] = [("sqlparser", Level::INFO), ("tungstenite", Level::DEBUG)];

/// Sets up logging. `RUST_LOG` chooses what is logged; by default warnings, and Headwater's own information.
pub(crate) fn init(lines: &MultiProgress) {
    init_with(lines, None);
}

/// The same, and spans go to a collector, too.
pub(crate) fn init_with(lines: &MultiProgress, traces: Option<&Traces>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(
            "warn,headwater=info,headwater_mqtt=info,headwater_runtime=info,headwater_server=info",
        )
    });
    let most = Targets::new().with_default(Level::TRACE);
    let most = most.with_targets(TALKATIVE);
    let log = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_writer(AboveStatusLine(lines.clone()))
        .with_filter(filter.and(most));
    let traces = traces.map(Traces::layer);
    let subscriber = tracing_subscriber::registry().with(traces).with(log);
    // only a second call could fail, and there is one
    subscriber.try_init().ok();
}

struct AboveStatusLine(MultiProgress);

impl<'a> MakeWriter<'a> for AboveStatusLine {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

struct Line<'a>(&'a MultiProgress);

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // a log that nobody reads any more is no reason to end a job
        self.0.suspend(|| io::stderr().write_all(text)).ok();
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
