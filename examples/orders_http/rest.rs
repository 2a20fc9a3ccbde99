//! The application's own routes, beside those of the library: the page, and the books by REST.

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, State},
    http::{header, request::Parts},
    response::IntoResponse,
    routing::get,
};
use pubsub::server::{ApiError, Server, User};

use crate::{
    events::{OrderPlaced, Orders, sees},
    shop::Shop,
};

/// Nothing of the page comes from elsewhere, and it asks nobody else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'";

#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) server: Server,
    pub(crate) shop: Shop,
}

pub(crate) fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/", get(|| file("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/app.js", get(|| file("text/javascript", include_str!("page/app.js"))))
        .route("/app.css", get(|| file("text/css", include_str!("page/app.css"))))
        .route("/orders", get(all))
        .route("/orders/{number}", get(one))
        .with_state(desk)
}

async fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)], text)
}

/// Whoever calls, known as the library's own routes know them.
struct Caller(User);

impl FromRequestParts<Desk> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, ApiError> {
        let user = desk.server.user(parts).await?;
        user.map(Self).ok_or_else(|| ApiError::unauthorized("the books are not for everybody"))
    }
}

async fn all(State(desk): State<Desk>, Caller(user): Caller) -> Result<Json<Orders>, ApiError> {
    desk.shop.orders(sees(&user)).await.map(Json).map_err(|error| closed(&error))
}

async fn one(
    State(desk): State<Desk>,
    Caller(user): Caller,
    Path(number): Path<i64>,
) -> Result<Json<OrderPlaced>, ApiError> {
    let order = desk.shop.order(number, sees(&user)).await.map_err(|error| closed(&error))?;
    order.map(Json).ok_or_else(|| ApiError::not_found(format!("there is no order {number}")))
}

fn closed(error: &pubsub::sql::sqlx::Error) -> ApiError {
    eprintln!("the books cannot be read: {error}");
    ApiError::unavailable("the books cannot be read now")
}
