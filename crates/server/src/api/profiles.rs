//! Connection profiles.

use headwater_engine::connector::{Progress, StepStatus};

use super::check_name;
use crate::app::App;
use crate::openapi::{Body, Done, Path, Reply};
use crate::problem::Problem;
use crate::traces;
use crate::types::{Collection, ConnectionProfile, ConnectionProfilePost, Id, TestSourceMessage};

pub(super) async fn list(
    app: App,
    (): (),
) -> Result<Reply<Collection<ConnectionProfile>>, Problem> {
    let profiles = app.store.run(|db| db.profiles()).await?;
    let profiles = profiles
        .into_iter()
        .map(|profile| app.workshop.shown_profile(profile));
    Ok(Reply(Collection {
        data: profiles.collect(),
    }))
}

pub(super) async fn create(
    app: App,
    Body(post): Body<ConnectionProfilePost>,
) -> Result<Reply<ConnectionProfile>, Problem> {
    check_name(&post.name, 100)?;
    app.workshop.check_profile(&post.connector, &post.config)?;
    let kept = app
        .store
        .run(move |db| db.insert_profile(&post.name, &post.connector, &post.config));
    let kept = kept.await?;
    Ok(Reply(app.workshop.shown_profile(kept)))
}

pub(super) async fn delete(app: App, Path(Id { id }): Path<Id>) -> Result<Done, Problem> {
    app.store.run(move |db| db.delete_profile(&id)).await?;
    Ok(Done)
}

/// The result of all steps in one message, as far as they went.
pub(super) async fn test(
    app: App,
    Body(post): Body<ConnectionProfilePost>,
) -> Result<Reply<TestSourceMessage>, Problem> {
    check_name(&post.name, 100)?;
    app.workshop.check_profile(&post.connector, &post.config)?;
    let connector = app.workshop.registry().get(&post.connector)?;
    let (progress, mut steps) = Progress::channel();
    let Some(test) = connector.test_profile(&post.config, progress)? else {
        let message = "nothing to test: the connector has no other side";
        return Ok(Reply(TestSourceMessage::result(true, message)));
    };
    let span = traces::connection_test(&post.connector);
    let passed = test.await;
    let mut lines = Vec::new();
    while let Some(step) = steps.recv().await {
        traces::note_step(&span, &step);
        if step.status != StepStatus::Ok || passed {
            lines.push(TestSourceMessage::from(&step).message);
        }
    }
    Ok(Reply(TestSourceMessage::result(passed, lines.join("\n"))))
}
