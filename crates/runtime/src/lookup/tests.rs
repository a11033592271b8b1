#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::HashMap;
use std::sync::Mutex;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use async_trait::async_trait;
use headwater_connector::CacheOptions;

use super::*;
use crate::bridge::lookup::{LookupOutlet, lookup};

/// What a table has and what it was asked.
#[derive(Default)]
struct World {
    rows: HashMap<i64, Vec<&'static str>>,
    asked: Vec<Vec<i64>>,
    /// Faults to come, the next last.
    faults: Vec<fn() -> LookupError>,
    opened: usize,
}

#[derive(Clone)]
struct Fake {
    world: Arc<Mutex<World>>,
    cache: Option<CacheOptions>,
}

fn passing() -> LookupError {
    LookupError::Passing(OperatorError::fatal("the connection is lost"))
}

fn last() -> LookupError {
    LookupError::Final(OperatorError::fatal("there is no such table"))
}

fn key_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]))
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

#[async_trait]
impl LookupOperator for Fake {
    async fn open(&mut self) -> Result<(), LookupError> {
        self.world.lock().unwrap().opened += 1;
        Ok(())
    }

    async fn lookup(&mut self, keys: &RecordBatch) -> Result<Found, LookupError> {
        let mut world = self.world.lock().unwrap();
        if let Some(fault) = world.faults.pop() {
            return Err(fault());
        }
        let ids = keys.column(0).as_primitive::<Int64Type>().values().to_vec();
        let (mut of_key, mut found, mut names) = (vec![], vec![], vec![]);
        for (key, id) in ids.iter().enumerate() {
            for name in world.rows.get(id).into_iter().flatten() {
                of_key.push(key as u32);
                found.push(*id);
                names.push(*name);
            }
        }
        world.asked.push(ids);
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(Int64Array::from(found)),
            Arc::new(StringArray::from(names)),
        ];
        Ok(Found {
            rows: RecordBatch::try_new(schema(), columns).unwrap(),
            keys: of_key,
        })
    }

    fn cache(&self) -> Option<CacheOptions> {
        self.cache
    }
}

struct Table {
    world: Arc<Mutex<World>>,
    outlets: Vec<LookupOutlet>,
    task: tokio::task::JoinHandle<Result<(), OperatorError>>,
}

fn table(cache: Option<CacheOptions>, workers: usize) -> Table {
    let world = Arc::<Mutex<World>>::default();
    world.lock().unwrap().rows = HashMap::from([(1, vec!["a"]), (2, vec!["b", "bb"])]);
    let fake = Fake {
        world: Arc::clone(&world),
        cache,
    };
    let task = LookupTask {
        table: "customers".to_owned(),
        operator: Box::new(fake),
        keys: key_schema(),
        schema: schema(),
        metrics: Arc::default(),
    };
    let (end, outlets) = lookup(workers);
    let task = tokio::spawn(task.run(end, || ()));
    Table {
        world,
        outlets,
        task,
    }
}

impl Table {
    fn ask(&self, worker: usize, ids: &[i64]) {
        let ids = Arc::new(Int64Array::from(ids.to_vec()));
        let keys = RecordBatch::try_new(key_schema(), vec![ids]).unwrap();
        let request = LookupRequest { worker, keys };
        self.outlets[worker].requests.try_send(request).unwrap();
    }

    /// The next answer of a worker: for each row the key that it is of, and its name.
    async fn answer(&self, worker: usize) -> Vec<(u32, String)> {
        let found = loop {
            if let Ok(found) = self.outlets[worker].answers.try_recv() {
                break found;
            }
            assert!(!self.task.is_finished(), "the task has ended");
            tokio::task::yield_now().await;
        };
        let names = found.rows.column(1).as_string::<i32>();
        let names = names.iter().map(|name| name.unwrap().to_owned());
        found.keys.iter().copied().zip(names).collect()
    }

    async fn get(&self, ids: &[i64]) -> Vec<(u32, String)> {
        self.ask(0, ids);
        self.answer(0).await
    }

    fn asked(&self) -> Vec<Vec<i64>> {
        self.world.lock().unwrap().asked.clone()
    }

    async fn end(self) -> Result<(), OperatorError> {
        drop(self.outlets);
        self.task.await.unwrap()
    }
}

fn found(rows: &[(u32, &str)]) -> Vec<(u32, String)> {
    let rows = rows.iter();
    rows.map(|(key, name)| (*key, (*name).to_owned())).collect()
}

#[tokio::test]
async fn every_key_is_asked_for_once_until_its_answer_is_old() {
    tokio::time::pause();
    let table = table(Some(CacheOptions::default()), 1);
    assert_eq!(
        table.get(&[2, 3, 1]).await,
        found(&[(0, "b"), (0, "bb"), (2, "a")])
    );
    // that there is nothing is remembered, too
    assert_eq!(table.get(&[3, 1]).await, found(&[(1, "a")]));
    assert_eq!(table.get(&[4, 1]).await, found(&[(1, "a")]));
    assert_eq!(table.asked(), [vec![2, 3, 1], vec![4]]);
    table.world.lock().unwrap().rows.insert(3, vec!["c"]);
    tokio::time::advance(headwater_connector::lookup::CACHE_TTL).await;
    assert_eq!(table.get(&[3]).await, found(&[(0, "c")]));
    assert_eq!(table.asked().last().unwrap(), &[3]);
    table.end().await.unwrap();
}

#[tokio::test]
async fn batches_that_wait_are_asked_for_together_and_answered_each_in_order() {
    let table = table(Some(CacheOptions::default()), 2);
    table.ask(0, &[1, 5]);
    table.ask(1, &[2, 1]);
    table.ask(0, &[2]);
    assert_eq!(table.answer(0).await, found(&[(0, "a")]));
    assert_eq!(
        table.answer(1).await,
        found(&[(0, "b"), (0, "bb"), (1, "a")])
    );
    assert_eq!(table.answer(0).await, found(&[(0, "b"), (0, "bb")]));
    let mut asked = table.asked().concat();
    asked.sort_unstable();
    assert_eq!(asked, [1, 2, 5]);
}

#[tokio::test]
async fn without_a_cache_the_operator_is_asked_for_everything() {
    let table = table(None, 1);
    assert_eq!(table.get(&[1]).await, found(&[(0, "a")]));
    assert_eq!(table.get(&[1]).await, found(&[(0, "a")]));
    assert_eq!(table.asked(), [[1], [1]]);
}

#[tokio::test]
async fn more_keys_than_fit_one_call_are_asked_for_in_several() {
    let table = table(Some(CacheOptions::default()), 1);
    let ids: Vec<i64> = (0..KEYS_AT_ONCE as i64 + 3).rev().collect();
    let count = ids.len() as u32;
    let expected = found(&[(count - 3, "b"), (count - 3, "bb"), (count - 2, "a")]);
    assert_eq!(table.get(&ids).await, expected);
    let sizes: Vec<_> = table.asked().iter().map(Vec::len).collect();
    assert_eq!(sizes, [KEYS_AT_ONCE, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_passes_is_tried_again() {
    let table = table(None, 1);
    table.world.lock().unwrap().faults = vec![passing; 3];
    let began = Instant::now();
    table.ask(0, &[1]);
    // time goes on only while everybody sleeps
    let answered = async {
        while table.asked().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    answered.await;
    assert_eq!(table.answer(0).await, found(&[(0, "a")]));
    assert!(began.elapsed() >= Duration::from_millis(700));
    assert_eq!(
        table.world.lock().unwrap().opened,
        4,
        "it is opened anew each time"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_does_not_pass_for_a_minute_ends_the_job() {
    let mut table = table(None, 1);
    table.world.lock().unwrap().faults = vec![passing; 1000];
    let began = Instant::now();
    table.ask(0, &[1]);
    let error = (&mut table.task).await.unwrap().unwrap_err();
    let took = began.elapsed();
    assert!(took > PATIENCE / 2 && took <= PATIENCE, "{took:?}");
    let message = error.to_string();
    assert!(message.contains("lookup table 'customers' could not be asked for 60 s"));
    assert!(message.contains("headwater test-connection"), "{message}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "the connection is lost");
}

#[tokio::test]
async fn a_fault_for_good_ends_the_job_at_once() {
    let mut table = table(None, 1);
    table.world.lock().unwrap().faults = vec![last];
    table.ask(0, &[1]);
    let error = (&mut table.task).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "there is no such table");
}
