//! A server of one's own, and ways to talk to it.

use std::path::Path;
use std::time::Duration;

use headwater_server::client::{Client, ClientError, Credentials, Events};
use headwater_server::{Server, Settings};
use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything may take before a test fails. Generous: test machines are slow and shared.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A server in a folder of its own.
pub(crate) struct Running {
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Settings for a server in this folder, on a port that is free.
pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: dir.join("data"),
        ..Settings::default()
    }
}

impl Running {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        Self::with(dir, settings).await
    }

    pub(crate) async fn with(dir: TempDir, settings: Settings) -> Self {
        let token = settings.token.clone();
        let server = Server::bind(settings).await.unwrap();
        let url = format!("http://{}", server.address());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(server.serve(async {
            stopped.await.ok();
        }));
        let credentials = Credentials {
            token,
            ..Credentials::default()
        };
        Self {
            client: Client::new(&url, credentials).unwrap(),
            url,
            dir,
            stop: Some(stop),
            task,
        }
    }

    /// Ends it, and gives its folder back.
    pub(crate) async fn stop(mut self) -> TempDir {
        self.stop.take().unwrap().send(()).unwrap();
        (&mut self.task).await.unwrap().unwrap();
        self.dir
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.client.call(Method::GET, path, None).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        self.client
            .call(Method::POST, path, Some(&body))
            .await
            .unwrap()
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Value {
        self.client
            .call(Method::PATCH, path, Some(&body))
            .await
            .unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) {
        self.client.call(Method::DELETE, path, None).await.unwrap();
    }

    /// Why something is refused: the status and the message.
    pub(crate) async fn refused(&self, method: Method, path: &str, body: Option<Value>) -> String {
        match self.client.call(method, path, body.as_ref()).await {
            Err(ClientError::Refused { status, message }) => {
                format!("{}: {message}", status.as_u16())
            }
            other => panic!("{path} was not refused: {other:?}"),
        }
    }

    /// Asks for this path until the answer is right.
    pub(crate) async fn wait_for(&self, path: &str, what: impl Fn(&Value) -> bool) -> Value {
        let until = tokio::time::Instant::now() + DEADLINE;
        loop {
            let answer = self.get(path).await;
            if what(&answer) {
                return answer;
            }
            assert!(
                tokio::time::Instant::now() < until,
                "{path} stayed {answer}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the job of a pipeline is in a state; gives the job.
    pub(crate) async fn wait_for_state(&self, pipeline: &str, state: &str) -> Value {
        let path = format!("/api/v1/pipelines/{pipeline}/jobs");
        let jobs = self
            .wait_for(&path, |jobs| jobs["data"][0]["state"] == state)
            .await;
        jobs["data"][0].clone()
    }

    /// Creates a pipeline; gives its id.
    pub(crate) async fn pipeline(&self, query: &str) -> String {
        let post = json!({ "name": "p", "query": query, "parallelism": 1 });
        let pipeline = self.post("/api/v1/pipelines", post).await;
        pipeline["id"].as_str().unwrap().to_owned()
    }

    /// Creates a profile of a broker; gives its id.
    pub(crate) async fn profile(&self, name: &str, url: &str) -> String {
        let post = json!({ "name": name, "connector": "mqtt", "config": { "url": url } });
        let profile = self.post("/api/v1/connection_profiles", post).await;
        profile["id"].as_str().unwrap().to_owned()
    }
}

/// All events to the end of the stream.
pub(crate) async fn all(mut events: Events) -> Vec<Value> {
    let mut all = Vec::new();
    let collecting = async {
        while let Some(event) = events.next().await.unwrap() {
            all.push(event);
        }
    };
    tokio::time::timeout(DEADLINE, collecting).await.unwrap();
    all
}
