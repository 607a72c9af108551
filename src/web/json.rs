//! Answers in JSON, as every handler gives them.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A JSON answer that ends with a newline, so that it looks right in a terminal.
pub struct Json<'a, T>(pub &'a T);

impl<T: Serialize> IntoResponse for Json<'_, T> {
    fn into_response(self) -> Response {
        // What most answers need.
        let mut body = Vec::with_capacity(8 * 1024);
        match serde_json::to_writer(&mut body, self.0) {
            Ok(()) => {
                body.push(b'\n');
                ([(header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            Err(fault) => {
                tracing::error!(%fault, "an answer could not be written as JSON");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
