//! The server in a process of its own: this program once more.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use headwater_server::client::{Client, Credentials};
use headwater_server::settings::Limits;
use headwater_server::{Server, Settings};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::data;

/// The environment variable that makes this program a server, on the folder that it names.
const VARIABLE: &str = "HEADWATER_BENCH_SERVER";

/// The folder of the server that this process is to be.
pub(crate) fn asked_for() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// Serves until the standard input ends, which it does with the driver.
pub(crate) async fn serve(folder: PathBuf) -> Result<()> {
    let settings = Settings {
        listen: "127.0.0.1:0".parse()?,
        data_dir: folder,
        limits: Limits::default(),
        ..Settings::default()
    };
    let server = Server::bind(settings).await?;
    println!("http://{}", server.address());
    let (stop, stopped) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        stop.send(()).ok();
    });
    let stopped = async {
        stopped.await.ok();
    };
    server.serve(stopped).await
}

/// A running server. Killed on drop.
pub(crate) struct Process {
    child: Child,
    client: Client,
    pub(crate) url: String,
    _folder: TempDir,
}

impl Process {
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut child = Command::new(std::env::current_exe()?)
            .env(VARIABLE, folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the server could not be executed")?;
        let output = child.stdout.take().context("the server has no output")?;
        let mut url = String::new();
        BufReader::new(output).read_line(&mut url)?;
        let url = url.trim().to_owned();
        Ok(Self {
            client: Client::new(&url, Credentials::default())?,
            child,
            url,
            _folder: folder,
        })
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let path = format!("/api/v1/{path}");
        Ok(self.client.call(method, &path, body).await?)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// How many jobs are in this state.
    pub(crate) async fn jobs_in(&self, state: &str) -> Result<usize> {
        let jobs = self.call(Method::GET, "jobs", None).await?;
        let fitting = data(&jobs).iter().filter(|job| job["state"] == state);
        Ok(fitting.count())
    }

    pub(crate) async fn has_stopped(&self, pipeline: &str) -> Result<bool> {
        let path = format!("pipelines/{pipeline}/jobs");
        let jobs = self.call(Method::GET, &path, None).await?;
        Ok(jobs["data"][0]["state"] == "Stopped")
    }

    pub(crate) async fn metrics(&self) -> Result<Metrics> {
        let answer = self.client.send(Method::GET, "/metrics", None).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(Metrics(String::from_utf8(body.to_vec())?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // both fail only if it has ended
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `/metrics` at one moment.
pub(crate) struct Metrics(String);

impl Metrics {
    pub(crate) fn memory(&self) -> f64 {
        self.sum("process_resident_memory_bytes", "")
    }

    pub(crate) fn threads(&self) -> f64 {
        self.sum("process_threads", "")
    }

    pub(crate) fn process_cpu(&self) -> f64 {
        self.sum("process_cpu_seconds_total", "")
    }

    /// How many messages a pipeline has read.
    pub(crate) fn messages(&self, pipeline: &str) -> f64 {
        let labels = format!("pipeline_id=\"{pipeline}\",operator=\"source_i\"");
        self.sum("headwater_operator_messages_total{", &labels)
    }

    /// The CPU time of a pipeline's tasks and workers, in seconds.
    pub(crate) fn pipeline_cpu(&self, pipeline: &str) -> f64 {
        let label = format!("pipeline_id=\"{pipeline}\"");
        self.sum("headwater_operator_cpu_seconds_total{", &label)
            + self.sum("headwater_worker_cpu_seconds_total{", &label)
    }

    fn sum(&self, name: &str, labels: &str) -> f64 {
        let lines = self.0.lines().filter(|line| line.starts_with(name));
        let values = lines
            .filter(|line| line.contains(labels))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum()
    }
}
