//! The routes: commands in, the read model out.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    http::{HeaderMap, HeaderName, StatusCode},
    response::IntoResponse,
    routing::{get, post},
};
use es_core::{Bookmark, ConsumerStoreExt, Execute, Position, View};
use es_projections::ConsumerState;
use serde::{Deserialize, Serialize};

use crate::{
    Service,
    domain::{Account, AccountCommand, Balance},
    error::Problem,
    live,
};

/// In the answer to a command: the position of its last event. Sent with a question, the answer shows at least that:
/// pass it on, and read your own writes.
const EVENT_BOOKMARK: HeaderName = HeaderName::from_static("event-bookmark");
/// What makes a command safe to send again: a new text for each command, the same one for each repeat.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// How long a question waits for the read model.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) fn routes(service: Service) -> Router {
    Router::new()
        .route("/accounts/{id}", post(open).get(balance))
        .route("/accounts/{id}/deposits", post(deposit))
        .route("/accounts/{id}/withdrawals", post(withdraw))
        .route("/accounts/{id}/events", get(live::events_of_account))
        .route("/transfers", post(transfer))
        .route("/events", get(live::events))
        .route("/health", get(health))
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .with_state(service)
}

/// A JSON body, or why it is none.
type Body<T> = Result<Json<T>, JsonRejection>;

#[derive(Serialize, Deserialize)]
struct Opening {
    owner: String,
}

#[derive(Serialize, Deserialize)]
struct Amount {
    cents: i64,
}

#[derive(Serialize, Deserialize)]
struct Transfer {
    from: String,
    to: String,
    cents: i64,
}

/// What came of a command.
#[derive(Serialize)]
struct Receipt {
    account: String,
    cents: i64,
    /// Of the last event; the header says as well which event that is.
    position: Position,
    /// Whether the command was sent again, and this is its first outcome.
    is_repeated: bool,
}

async fn open(
    State(service): State<Service>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<Opening>,
) -> Result<impl IntoResponse, Problem> {
    let Json(opening) = body?;
    let open = AccountCommand::Open { owner: opening.owner.clone() };
    let done = execute(service.accounts.execute(id, open).request(&("open", opening)), &headers).await?;
    Ok((StatusCode::CREATED, done))
}

async fn deposit(
    State(service): State<Service>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<Amount>,
) -> Result<impl IntoResponse, Problem> {
    let Json(amount) = body?;
    let deposit = AccountCommand::Deposit { cents: amount.cents };
    execute(service.accounts.execute(id, deposit).request(&("deposit", amount)), &headers).await
}

async fn withdraw(
    State(service): State<Service>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<Amount>,
) -> Result<impl IntoResponse, Problem> {
    let Json(amount) = body?;
    let withdraw = AccountCommand::Withdraw { cents: amount.cents };
    execute(service.accounts.execute(id, withdraw).request(&("withdraw", amount)), &headers).await
}

/// Both accounts change, or neither.
async fn transfer(
    State(service): State<Service>,
    headers: HeaderMap,
    body: Body<Transfer>,
) -> Result<impl IntoResponse, Problem> {
    let Json(transfer) = body?;
    let Transfer { from, to, cents } = &transfer;
    if from == to {
        return Err(Problem::bad_request("the two accounts of a transfer must be different"));
    }
    let withdraw = service.accounts.execute(from, AccountCommand::Withdraw { cents: *cents });
    let command = withdraw.and(to, AccountCommand::Deposit { cents: *cents });
    execute(command.request(&("transfer", &transfer)), &headers).await
}

/// The key stands for the request that the command names: sent again with another body, or to another route, it is
/// refused. A client that hangs up drops this half way: the command was executed or it was not, and its key tells
/// which.
async fn execute(command: Execute<Account>, headers: &HeaderMap) -> Result<impl IntoResponse + use<>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Err(Problem::bad_request("a command needs an Idempotency-Key header, so that it can be sent again"));
    };
    let key = key.to_str().map_err(|_| Problem::bad_request("the Idempotency-Key must be plain ASCII"))?;
    let done = command.idempotency_key(key).source("web").await?;
    let bookmark = done.bookmark().unwrap_or_default();
    let (account, cents) = (done.stream.id().to_owned(), done.state.cents);
    let receipt = Receipt { account, cents, position: bookmark.position(), is_repeated: done.is_repeated() };
    Ok(([(EVENT_BOOKMARK, bookmark.to_string())], Json(receipt)))
}

async fn balance(
    State(service): State<Service>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Balance>, Problem> {
    if let Some(bookmark) = bookmark_in(&headers, &EVENT_BOOKMARK)? {
        service.runner.wait_for(Balance::NAME, bookmark, READ_TIMEOUT).await?;
    }
    let balance = service.store.view::<Balance>().get(&id).await?;
    balance.map(Json).ok_or_else(|| Problem::not_found("there is no such account"))
}

/// The place in the log that a header names, if it is there.
pub(crate) fn bookmark_in(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Bookmark>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let bookmark = value.to_str().ok().and_then(|text| text.parse().ok());
    let bookmark = bookmark.ok_or_else(|| {
        Problem::bad_request(format!(
            "the header {name} must be a position, or a position@event-id as the service returns it"
        ))
    })?;
    Ok(Some(bookmark))
}

/// For load balancers and people: whether the read model advances, and if not, why.
async fn health(State(service): State<Service>) -> Result<impl IntoResponse, Problem> {
    let consumers = service.runner.status().await?;
    let is_well = |state: &ConsumerState| matches!(state, ConsumerState::CatchingUp | ConsumerState::CaughtUp);
    let status = match consumers.iter().all(|consumer| is_well(&consumer.state)) {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok((status, Json(consumers.iter().map(ToString::to_string).collect::<Vec<_>>())))
}
