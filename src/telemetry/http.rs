//! What the daemon tells of itself over HTTP/1.1 (RFC 9112): `/metrics`, `/healthz`, `/readyz` and `/status`.
//!
//! One request a connection. Whatever a client does, it costs one small buffer and a few seconds.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, server};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::ledger::LEDGER;
use super::metrics;

/// Largest head of a request, in bytes; the least that hyper allows.
const MAX_HEAD: usize = 8192;

/// Most header fields of a request.
const MAX_FIELDS: usize = 64;

/// How long a client may take to say what it wants.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may take in all.
const TIMEOUT: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";

/// Prometheus's text exposition format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers the one request of a connection.
///
/// `alive` tells whether the daemon works, or else what does not.
pub async fn serve<S, A>(stream: S, alive: impl Fn() -> A)
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Future<Output = Result<(), String>>,
{
    let service = service_fn(|request| {
        let alive = alive();
        async move { Ok::<_, Infallible>(answer(&request, alive).await) }
    });
    let connection = server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // A client that fails or takes too long has itself to blame.
    let _ = tokio::time::timeout(TIMEOUT, connection).await;
}

async fn answer<B>(request: &Request<B>, alive: impl Future<Output = Result<(), String>>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => reply(StatusCode::OK, PROMETHEUS, metrics::render(&LEDGER)),
        "/healthz" => state(alive.await.err(), "ok"),
        "/readyz" => state(LEDGER.not_ready(), "ready"),
        "/status" => match serde_json::to_string(&LEDGER.status()) {
            Ok(status) => reply(StatusCode::OK, "application/json", format!("{status}\n")),
            Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        _ => reply(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /healthz, /readyz and /status\n".into()),
    }
}

fn state(trouble: Option<String>, fine: &str) -> Response<Full<Bytes>> {
    match trouble {
        None => reply(StatusCode::OK, TEXT, format!("{fine}\n")),
        Some(trouble) => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{trouble}\n")),
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
