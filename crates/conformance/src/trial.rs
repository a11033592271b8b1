//! Checks become tests: one for each check, version and broker.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use futures::FutureExt;
use headwater_testkit::brokers::{
    AEDES, AMQTT, Broker, EJABBERD, MOSQUITTO, NATS, Product, RABBITMQ,
};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::check::{VERSIONS, Variant, version_feature, version_name};
use crate::scene::Scene;
use crate::{checks, table};

/// Names the brokers, separated by commas; `all` is all. Without it Mosquitto is tested.
const BROKERS_VARIABLE: &str = "HEADWATER_BROKERS";
/// Names the file into which the table is written.
const TABLE_VARIABLE: &str = "HEADWATER_BROKERS_TABLE";
/// How long one check may take.
const DEADLINE: Duration = Duration::from_secs(180);

/// The products, in the order of the table.
pub(crate) const PRODUCTS: &[Product] = &[
    MOSQUITTO,
    #[cfg(feature = "embedded")]
    crate::embedded::EMBEDDED,
    EJABBERD,
    RABBITMQ,
    NATS,
    AEDES,
    AMQTT,
];

/// Runs the suite with the command line of `cargo test`.
pub fn run() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let contenders = match contenders() {
        Ok(contenders) => contenders,
        Err(error) => {
            let trial = Trial::test("brokers", move || Err(failed(&error)));
            return libtest_mimic::run(&arguments, vec![trial]).exit_code();
        }
    };
    let alone = std::env::var_os(BROKERS_VARIABLE).is_some();
    if alone {
        arguments.test_threads.get_or_insert(contenders.len());
    }
    let trials = trials(&contenders, alone);
    let conclusion = libtest_mimic::run(&arguments, trials);
    let file = std::env::var_os(TABLE_VARIABLE).map(PathBuf::from);
    if let (Some(file), false) = (file, arguments.list)
        && let Err(error) = table::write(&file, &contenders)
    {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// A product under test.
pub(crate) struct Contender {
    pub(crate) product: &'static Product,
    /// Started by the first check; the reason if it could not be. Ends with the last owner.
    broker: Mutex<Option<Result<Arc<Broker>, String>>>,
    /// Whether it answers a login of each version, once it was asked.
    speaks: [OnceLock<bool>; VERSIONS.len()],
    results: Mutex<Vec<(String, Outcome)>>,
    /// Held by the check that runs, if checks run alone.
    turn: Mutex<()>,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// What happened, and what is known of it.
    Failed(String, Option<&'static str>),
    /// Why the broker does not have it.
    Lacking(&'static str),
}

fn contenders() -> Result<Vec<Arc<Contender>>> {
    let names = std::env::var(BROKERS_VARIABLE).unwrap_or_else(|_| MOSQUITTO.name.to_owned());
    let known: Vec<&str> = PRODUCTS.iter().map(|product| product.name).collect();
    for name in names.split(',') {
        ensure!(
            name == "all" || known.contains(&name),
            "there is no broker '{name}' in the suite; it has {}",
            known.join(", ")
        );
    }
    let wanted = |product: &&Product| {
        let mut names = names.split(',');
        names.any(|name| name == "all" || name == product.name)
    };
    let contender = |product| {
        Arc::new(Contender {
            product,
            broker: Mutex::default(),
            speaks: Default::default(),
            results: Mutex::default(),
            turn: Mutex::default(),
        })
    };
    Ok(PRODUCTS.iter().filter(wanted).map(contender).collect())
}

/// Every check in every version. The index is part of the names that a check uses on its broker.
pub(crate) fn variants() -> impl Iterator<Item = (usize, Variant)> {
    checks::all().enumerate().flat_map(|(index, check)| {
        VERSIONS
            .into_iter()
            .flat_map(move |protocol| check.variants(protocol))
            .map(move |variant| (index, variant))
    })
}

/// All tests; those of a broker are `alone` if none of its others may run at the same time. What a slow broker does for
/// one client holds up the others, and then the wrong check fails. So that the brokers run beside each other, their
/// checks take turns.
fn trials(contenders: &[Arc<Contender>], alone: bool) -> Vec<Trial> {
    let trial = |contender: &Arc<Contender>, index: usize, variant: Variant| {
        let contender = Arc::clone(contender);
        let name = format!("{}/{}", contender.product.name, key(&variant));
        Trial::test(name, move || {
            let turn = || {
                contender
                    .turn
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
            };
            let _turn = alone.then(turn);
            contender.attempt(index, &variant)
        })
    };
    let mut trials = Vec::new();
    for (index, variant) in variants() {
        trials.extend(contenders.iter().map(|each| trial(each, index, variant)));
    }
    trials
}

/// `5/retained-qos-1`.
pub(crate) fn key(variant: &Variant) -> String {
    format!("{}/{}", version_name(variant.protocol), variant.name())
}

impl Contender {
    /// The running broker.
    pub(crate) fn broker(&self) -> Result<Arc<Broker>> {
        let mut broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let started = broker.get_or_insert_with(|| {
            let started = self.product.start();
            started.map(Arc::new).map_err(|error| format!("{error:#}"))
        });
        started.clone().map_err(|error| anyhow!(error))
    }

    /// What came of a check, if it was run.
    pub(crate) fn outcome(&self, key: &str) -> Option<Outcome> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let found = results.iter().find(|(known, _)| known == key);
        found.map(|(_, outcome)| outcome.clone())
    }

    fn attempt(&self, index: usize, variant: &Variant) -> Result<(), Failed> {
        let broker = self.broker().map_err(|error| failed(&error))?;
        let scene = Scene {
            id: format!(
                "c{index}v{}q{}",
                variant.protocol as u8,
                variant.qos.level()
            ),
            broker,
            protocol: variant.protocol,
            qos: variant.qos,
        };
        let outcome = match self.speaks(&scene) {
            true => run_check(variant, scene),
            false => Err(anyhow!("it does not answer a login of {}", scene.protocol)),
        };
        let judged = self.judge(variant, &outcome);
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.push((key(variant), judged.clone()));
        match (judged, outcome) {
            (Outcome::Failed(_, None), Err(error)) => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    /// Whether the broker speaks the version. One that is said not to speak it is asked once: it may have learnt it, but
    /// silence takes long.
    fn speaks(&self, scene: &Scene) -> bool {
        let protocol = scene.protocol;
        let said_to_lack = version_feature(protocol)
            .is_some_and(|feature| self.product.lacks(&[feature]).is_some());
        let ask = || {
            let scene = scene.clone();
            block_on(async move { scene.sender().await?.close().await }).is_ok()
        };
        !said_to_lack || *self.speaks[protocol as usize].get_or_init(ask)
    }

    fn judge(&self, variant: &Variant, outcome: &Result<()>) -> Outcome {
        let Err(error) = outcome else {
            return Outcome::Passed;
        };
        if let Some(why) = self.product.lacks(&variant.needs()) {
            return Outcome::Lacking(why);
        }
        let remark = self.product.remark(&key(variant));
        let remark = remark.or_else(|| self.product.remark(&variant.name()));
        Outcome::Failed(format!("{error:#}"), remark)
    }
}

fn failed(error: &anyhow::Error) -> Failed {
    format!("{error:#}").into()
}

fn run_check(variant: &Variant, scene: Scene) -> Result<()> {
    let check = AssertUnwindSafe((variant.check.run)(scene)).catch_unwind();
    block_on(async {
        match tokio::time::timeout(DEADLINE, check).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => bail!("the check has panicked"),
            Err(_elapsed) => bail!("not done within {} s", DEADLINE.as_secs()),
        }
    })
}

fn block_on(future: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(future);
    runtime.shutdown_timeout(Duration::from_secs(5));
    outcome
}
