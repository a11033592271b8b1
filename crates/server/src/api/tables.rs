//! Connection tables.

use futures::channel::mpsc;
use futures::{SinkExt, StreamExt, stream};
use headwater_engine::connector::{Connection, ProbePlace, Progress};

use super::{check_name, page};
use crate::app::App;
use crate::openapi::{Body, Done, Events, Path, Query, Reply};
use crate::problem::Problem;
use crate::store::{NewTable, ProfileRecord};
use crate::traces;
use crate::types::{
    ConnectionSchema, ConnectionTable, ConnectionTablePost, Id, Page, PageQuery, TestSourceMessage,
};

/// How many steps of a test may wait for the client.
const STEPS: usize = 32;

pub(super) async fn list(
    app: App,
    Query(query): Query<PageQuery>,
) -> Result<Reply<Page<ConnectionTable>>, Problem> {
    let limit = query.limit()?;
    let tables = app
        .store
        .run(move |db| db.tables_page(query.starting_after, limit))
        .await?;
    page(tables, limit, |table| app.workshop.shown_table(table))
}

pub(super) async fn create(
    app: App,
    Body(post): Body<ConnectionTablePost>,
) -> Result<Reply<ConnectionTable>, Problem> {
    let (table, _connection) = configured(&app, post).await?;
    let kept = app.store.run(move |db| db.insert_table(&table)).await?;
    Ok(Reply(app.workshop.shown_table(kept)?))
}

pub(super) async fn delete(app: App, Path(Id { id }): Path<Id>) -> Result<Done, Problem> {
    app.store.run(move |db| db.delete_table(&id)).await?;
    Ok(Done)
}

pub(super) async fn test(
    app: App,
    Body(post): Body<ConnectionTablePost>,
) -> Result<Events<TestSourceMessage>, Problem> {
    let (_table, connection) = configured(&app, post).await?;
    let connector = app.workshop.registry().get(&connection.connector)?;
    let (progress, mut steps) = Progress::channel();
    let Some(test) = connector.test(&connection, ProbePlace::Aside, progress)? else {
        let message = "nothing to test: the connector has no other side";
        let only = stream::iter([TestSourceMessage::result(true, message)]);
        return Ok(Events::new(only.boxed()));
    };
    let span = traces::connection_test(&connection.connector);
    let (mut sender, receiver) = mpsc::channel(STEPS);
    // ends with the test, whether or not somebody listens
    tokio::spawn(async move {
        let reporting = async {
            while let Some(step) = steps.recv().await {
                traces::note_step(&span, &step);
                sender.send(TestSourceMessage::from(&step)).await.ok();
            }
        };
        let (passed, ()) = futures::join!(test, reporting);
        let message = if passed { "passed" } else { "failed" };
        sender
            .send(TestSourceMessage::result(passed, message))
            .await
            .ok();
    });
    Ok(Events::new(receiver.boxed()))
}

pub(super) async fn test_schema(
    _app: App,
    Body(schema): Body<ConnectionSchema>,
) -> Result<Done, Problem> {
    let format = schema.format().map_err(Problem::bad_request)?;
    if let Some(field) = schema.fields.iter().find(|field| field.name.is_empty()) {
        return Err(Problem::bad_request(format!(
            "a field of type {:?} has no name",
            field.field_type
        )));
    }
    if format.format.is_some() {
        let columns = schema.columns().payload_schema();
        let decoder = headwater_format::Decoder::new(&format, columns);
        decoder.map_err(|error| Problem::bad_request(error.to_string()))?;
    }
    Ok(Done)
}

/// The table that is asked for, and what its connector makes of it.
async fn configured(
    app: &App,
    post: ConnectionTablePost,
) -> Result<(NewTable, Connection), Problem> {
    check_name(&post.name, 100)?;
    let profile = profile(app, post.connection_profile_id.clone()).await?;
    let table = NewTable {
        name: post.name,
        connector: post.connector,
        profile_id: post.connection_profile_id,
        config: post.config,
        schema: post.schema.unwrap_or_default(),
    };
    let connection = app.workshop.table(&table, profile).await?;
    Ok((table, connection))
}

async fn profile(app: &App, id: Option<String>) -> Result<Option<ProfileRecord>, Problem> {
    let Some(id) = id else { return Ok(None) };
    let wanted = id.clone();
    match app.store.run(move |db| db.profile(&wanted)).await {
        Ok(profile) => Ok(Some(profile)),
        Err(crate::store::StoreError::Missing(_)) => {
            let profiles = app.store.run(|db| db.profiles()).await?;
            let meant = profiles.iter().find(|profile| profile.name == id);
            let meant = meant.map(|profile| format!("; that of '{id}' is '{}'", profile.id));
            let message = format!(
                "there is no connection profile with the id '{id}'{}",
                meant.unwrap_or_default()
            );
            Err(Problem::bad_request(message))
        }
        Err(error) => Err(error.into()),
    }
}
