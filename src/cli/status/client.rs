//! Asking the daemon over HTTP.

use std::fmt::Display;
use std::future::Future;
use std::io::ErrorKind;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Answer;
use crate::config::Socket;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// Asks the first of the sockets that takes a connection.
///
/// # Errors
/// When none does, or no status comes back.
pub async fn ask(sockets: &[Socket]) -> Result<Answer, String> {
    let mut troubles = Vec::new();
    for socket in sockets {
        let answer = async {
            match socket {
                Socket::Inet(address, port) => request(TcpStream::connect((*address, *port))).await,
                Socket::Unix(path) => request(UnixStream::connect(path)).await,
            }
        };
        let late = |_| Err(format!("no answer within {} seconds", PATIENCE.as_secs()));
        match tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(late) {
            Ok(answer) => return Ok(answer),
            Err(trouble) => troubles.push(format!("{socket}: {trouble}")),
        }
    }
    Err(troubles.join("\n"))
}

async fn request<S>(connecting: impl Future<Output = std::io::Result<S>>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = connecting.await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            format!("nobody listens there ({error}); conbool-milter does not run, or with another configuration")
        }
        ErrorKind::PermissionDenied => {
            format!("{error}; run this as root or as a member of the socket's group (telemetry.socket_group)")
        }
        _ => error.to_string(),
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(not_us)?;
    tokio::spawn(connection);
    let request = Request::get("/status").header(HOST, "localhost").body(Empty::<Bytes>::new()).map_err(not_us)?;
    let response = sender.send_request(request).await.map_err(not_us)?;
    if response.status() != StatusCode::OK {
        return Err(not_us(response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(not_us)?.to_bytes();
    let status = serde_json::from_slice(&body).map_err(not_us)?;
    Ok(Answer::Status(Box::new(status), String::from_utf8_lossy(&body).into_owned()))
}

fn not_us(problem: impl Display) -> String {
    format!("what listens there does not answer as conbool-milter does: {problem}")
}
