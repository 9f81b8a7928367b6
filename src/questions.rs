//! A connection on which one question after another is answered, for the doors that a mail server's processes keep open:
//! how long a client is waited for, and when the connection ends.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

/// What is spoken on a connection.
pub trait Protocol {
    /// Why something is no question.
    type Malformed;
    /// That of a question that does not end.
    const INCOMPLETE: Self::Malformed;

    /// Answers the whole questions at the beginning of the input, up to the first that is none. Input that is longer than
    /// any question and holds no whole one is none.
    fn answer_all(&self, input: &[u8]) -> Answers<Self::Malformed>;

    /// Something that is no question came in, and the connection is closed.
    fn malformed(&self, malformed: &Self::Malformed);
}

/// The answers to the questions at the beginning of some input.
#[derive(Debug)]
pub struct Answers<Malformed> {
    /// As they are sent.
    pub text: Vec<u8>,
    /// The length of these questions, in bytes.
    pub taken: usize,
    /// What follows them is no question.
    pub malformed: Option<Malformed>,
}

/// How long a client is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a question begins.
    pub idle: Duration,
    /// Until a question that has begun is complete, and until an answer is taken.
    pub question: Duration,
}

impl Patience {
    /// As long as Postfix waits for an answer (`smtpd_policy_service_timeout`), and longer than Sendmail does.
    pub const QUESTION: Duration = Duration::from_secs(100);
}

/// Answers the questions of one connection, in order, until it ends, is silent for too long, or `stop` turns true
/// between two questions.
///
/// What is no question ends the connection too: the client makes another, and then does what it does without an answer.
///
/// # Errors
/// When the connection breaks, or the client is too slow.
pub async fn serve<P: Protocol>(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    protocol: &P,
    patience: Patience,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut input = Vec::new();
    loop {
        if input.is_empty() {
            let begun = tokio::select! {
                begun = timeout(patience.idle, stream.read_buf(&mut input)) => begun??,
                // An error means that the server is gone, which is a stop too.
                _ = stop.wait_for(|stop| *stop) => 0,
            };
            if begun == 0 {
                return Ok(());
            }
        }
        let answers = timeout(patience.question, answers(&mut stream, protocol, &mut input)).await??;
        timeout(patience.question, stream.write_all(&answers.text)).await??;
        if let Some(malformed) = answers.malformed {
            protocol.malformed(&malformed);
            return Ok(());
        }
    }
}

/// Reads until the input holds a whole question, and answers all that it holds.
async fn answers<P: Protocol>(
    stream: &mut (impl AsyncRead + Unpin),
    protocol: &P,
    input: &mut Vec<u8>,
) -> io::Result<Answers<P::Malformed>> {
    loop {
        let mut answers = protocol.answer_all(input);
        if answers.taken > 0 || answers.malformed.is_some() {
            input.drain(..answers.taken);
            return Ok(answers);
        }
        if stream.read_buf(input).await? == 0 {
            answers.malformed = Some(P::INCOMPLETE);
            return Ok(answers);
        }
    }
}
