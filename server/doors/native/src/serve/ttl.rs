//! What expires: which collection groups have a field that says when. For admins.

use axum::body::Body;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use hearth_core::{FieldPath, Id};
use hearth_engine::{Database, TtlChange, TtlPolicy};
use serde_json::{Value as Json, json};

use super::{Asking, Door, JSON, body};
use crate::problem::{Code, Problem};

/// Answers `GET /ttl`, and `PUT` and `DELETE /ttl/GROUP`: always with all policies.
pub(super) async fn answer(
    door: &Door,
    asking: &Asking,
    database: Database,
    group: Option<Id>,
    body: Body,
) -> Result<Response, Problem> {
    asking.params.only(&[])?;
    let access = database.authorize_ttl(&asking.caller)?;
    let change = match group {
        None => return Ok(policies(&database.ttl_policies(&access))),
        Some(group) if asking.method == Method::DELETE => TtlChange::Remove(group),
        Some(group) => {
            let body = body::json_body(door, asking, body).await?;
            TtlChange::Set(TtlPolicy { group, field: field(&body)? })
        }
    };
    let engine = door.engine.clone();
    let changed = tokio::task::spawn_blocking(move || engine.change_ttl(&access, &database, &change)).await;
    let changed = changed.map_err(|_| Problem::new(Code::Internal, "a thread ended early"))?;
    Ok(policies(&changed?))
}

fn field(body: &Json) -> Result<FieldPath, Problem> {
    let text = match body.as_object().map(|object| (object.get("field"), object.len())) {
        Some((Some(Json::String(text)), 1)) => text,
        _ => return Err(Problem::invalid("{\"field\": the path of a field} is expected")),
    };
    FieldPath::parse(text).map_err(|error| Problem::invalid(error.to_string()).at("/field"))
}

fn policies(policies: &[TtlPolicy]) -> Response {
    ([JSON], ttl_json(policies).to_string()).into_response()
}

/// TTL policies as JSON, `{"policies": [{"group", "field"}…]}`: as `/ttl` answers them.
pub fn ttl_json(policies: &[TtlPolicy]) -> Json {
    let policy = |policy: &TtlPolicy| json!({ "group": policy.group.as_str(), "field": policy.field.to_string() });
    json!({ "policies": policies.iter().map(policy).collect::<Vec<Json>>() })
}
