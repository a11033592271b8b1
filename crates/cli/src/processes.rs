//! Which processes run a job together: what the command line says of them.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use headwater_engine::{Cluster, Job, OperatorKind};

use crate::exit::Mistake;

/// The port of process 0, if there is no file of hosts.
const FIRST_PORT: usize = 2101;

/// The processes of a job.
#[derive(Args)]
pub(crate) struct Processes {
    /// How many processes run the job together. Start each with the same file and options, and its own --process.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    processes: u16,

    /// The number of this process: the first is 0.
    #[arg(long, value_name = "K", default_value_t = 0)]
    process: u16,

    /// A file with the host:port of each process, one a line, the same for all: where it listens, and where the others
    /// dial it. The connections are neither encrypted nor authenticated: for trusted networks only. Without it the
    /// processes are on this machine, at 127.0.0.1 and the ports from 2101.
    #[arg(long, value_name = "FILE")]
    hostfile: Option<PathBuf>,

    /// How many seconds to wait for the other processes.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    processes_timeout_s: u64,
}

impl Processes {
    /// Those that run this text together; `None` if this is the only one.
    pub(crate) fn cluster(&self, sql: &str) -> anyhow::Result<Option<Cluster>> {
        let (process, processes) = (usize::from(self.process), usize::from(self.processes));
        if process >= processes {
            let last = processes - 1;
            let message = format!(
                "there is no process {process}: with --processes {processes} the last one is {last}"
            );
            return Err(Mistake(message).into());
        }
        if processes == 1 {
            return Ok(None);
        }
        let addresses = match &self.hostfile {
            Some(file) => hosts(file, processes)?,
            None => (0..processes)
                .map(|process| format!("127.0.0.1:{}", FIRST_PORT + process))
                .collect(),
        };
        let mut cluster = Cluster::new(process, addresses, sql.to_owned());
        cluster.patience = Duration::from_secs(self.processes_timeout_s);
        Ok(Some(cluster))
    }
}

/// What a job is known by that runs at these addresses, if they say enough: not if all are this machine's for itself.
pub(crate) fn place(cluster: &Cluster) -> Option<&[String]> {
    let is_local = |address: &String| {
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    };
    let all_local = cluster.addresses.iter().all(is_local);
    (!all_local).then_some(&cluster.addresses)
}

/// Says what of the job this process does.
pub(crate) fn tell(cluster: &Cluster, job: &Job) {
    let named = |kind, prefix: &str| {
        let operators = job
            .operators()
            .iter()
            .filter(|operator| operator.kind == kind);
        let names = operators.map(|operator| {
            let id = operator.id.strip_prefix(prefix).unwrap_or(&operator.id);
            format!("'{id}'")
        });
        let names: Vec<_> = names.collect();
        match names.is_empty() {
            true => "nothing".to_owned(),
            false => names.join(", "),
        }
    };
    tracing::info!(
        "process {} of {} reads {} and writes {}",
        cluster.process,
        cluster.addresses.len(),
        named(OperatorKind::Source, "source_"),
        named(OperatorKind::Sink, "sink_"),
    );
}

fn hosts(file: &Path, processes: usize) -> anyhow::Result<Vec<String>> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .with_context(|| Mistake(format!("--hostfile '{shown}' cannot be read")))?;
    parse_hosts(&text, processes)
        .map_err(|why| Mistake(format!("--hostfile '{shown}': {why}")).into())
}

/// The first addresses of a text, one a line; empty lines and those that begin with `#` are passed over.
fn parse_hosts(text: &str, processes: usize) -> Result<Vec<String>, String> {
    let lines = text.lines().map(str::trim);
    let hosts = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let hosts: Vec<_> = hosts.take(processes).map(str::to_owned).collect();
    if hosts.len() < processes {
        return Err(format!(
            "it has {} lines and there are {processes} processes; it needs one for each",
            hosts.len()
        ));
    }
    for (index, host) in hosts.iter().enumerate() {
        let is_named = |host: &str| {
            let named = host.rsplit_once(':');
            named.is_some_and(|(name, port)| {
                !name.contains(':') && !name.is_empty() && port.parse::<u16>().is_ok()
            })
        };
        if host.parse::<SocketAddr>().is_err() && !is_named(host) {
            return Err(format!("'{host}' is no address; write host:port"));
        }
        if hosts[..index].contains(host) {
            return Err(format!(
                "'{host}' is there twice; each process needs its own"
            ));
        }
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_file_has_an_address_a_line() {
        let hosts = parse_hosts("# plant\n\n a:1 \n[::1]:2\n10.0.0.1:3\nd:4", 3);
        assert_eq!(hosts.unwrap_or_default(), ["a:1", "[::1]:2", "10.0.0.1:3"]);
        for (text, complaint) in [
            ("a:1", "it has 1 lines"),
            ("a:1\nb", "'b' is no address"),
            ("a:1\nb:http", "'b:http' is no address"),
            ("a:1\n:2", "':2' is no address"),
            ("a:1\n::1:2", "'::1:2' is no address"),
            ("a:1\na:1", "'a:1' is there twice"),
        ] {
            let error = parse_hosts(text, 2).err().unwrap_or_default();
            assert!(error.contains(complaint), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_job_is_known_by_its_hosts_unless_they_are_local() {
        let place = |hosts: &[&str]| {
            let addresses = hosts.iter().map(|host| (*host).to_owned()).collect();
            place(&Cluster::new(0, addresses, String::new())).is_some()
        };
        assert!(!place(&["127.0.0.1:1", "localhost:2", "[::1]:3"]));
        assert!(place(&["127.0.0.1:1", "10.0.0.1:2"]));
        assert!(place(&["a:1", "b:1"]));
    }
}
