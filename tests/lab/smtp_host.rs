//! Simulated SMTP hosts: they take mail, remember all of it, and reply as they are told.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::certificates::Identity;
use super::envelope::Path;
use super::stream::{Connection, Transport};

/// A message that a host has taken.
#[derive(Debug, Clone)]
pub struct Received {
    /// The name that the client gave in EHLO or HELO.
    pub helo: String,
    /// TLS version such as `TLSv1.3`, `None` without TLS.
    pub tls_version: Option<&'static str>,
    /// Name in the certificate that the client has shown.
    pub client_certificate: Option<String>,
    /// Envelope sender.
    pub sender: Path,
    /// Envelope recipients that were accepted.
    pub recipients: Vec<Path>,
    /// Header and body, with CR LF.
    pub message: Vec<u8>,
}

/// A reply to RCPT that a test has ordered.
#[derive(Debug, Clone)]
struct Order {
    recipient: String,
    reply: String,
    once: bool,
}

/// A simulated host, listening on port 25 until it is dropped.
pub struct SmtpHost {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    name: String,
    tls: Mutex<Option<Arc<ServerConfig>>>,
    known: Arc<Vec<Identity>>,
    received: Mutex<Vec<Received>>,
    orders: Mutex<Vec<Order>>,
    down: AtomicBool,
}

/// A test that panicked while it held the lock has said what is wrong; the data is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SmtpHost {
    /// Starts a host in the calling thread's network. It offers STARTTLS if it has `tls`, and recognises the client
    /// certificates in `known`.
    pub fn start(
        name: &str,
        address: Ipv4Addr,
        tls: Option<Arc<ServerConfig>>,
        known: Arc<Vec<Identity>>,
    ) -> io::Result<Self> {
        let (received, orders, down) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { name: name.to_owned(), tls: Mutex::new(tls), known, received, orders, down });
        let host = Self { shared, address: (address, 25).into() };
        host.listen()?;
        Ok(host)
    }

    fn listen(&self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address)?;
        let shared = self.shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.down.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(stream), shared) = (stream, shared.clone()) else { continue };
                thread::spawn(move || {
                    // The client went away or broke the protocol: nothing was taken, which is what tests look at.
                    let _ = Session::new(&shared).serve(stream);
                });
            }
        });
        Ok(())
    }

    /// The host's name, in DNS and in reports.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Every message that the host has taken so far.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// Orders a reply such as `450 4.2.0 try again` to RCPT for one address, once or always.
    pub fn order(&self, recipient: &str, reply: &str, once: bool) {
        let order = Order { recipient: recipient.to_owned(), reply: reply.to_owned(), once };
        lock(&self.shared.orders).push(order);
    }

    /// Offers STARTTLS with these settings from the next session on, or not at all.
    pub fn set_tls(&self, tls: Option<Arc<ServerConfig>>) {
        *lock(&self.shared.tls) = tls;
    }

    /// Stops listening: connections are refused from now on.
    pub fn stop(&self) {
        self.shared.down.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then closes the listener.
        let _ = TcpStream::connect(self.address);
    }

    /// Listens again after [`stop`](Self::stop).
    pub fn resume(&self) -> io::Result<()> {
        self.shared.down.store(false, Ordering::SeqCst);
        self.listen()
    }
}

impl Drop for SmtpHost {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Session<'a> {
    host: &'a Shared,
    helo: String,
    sender: Option<Path>,
    recipients: Vec<Path>,
    tls: Option<Arc<ServerConfig>>,
}

impl<'a> Session<'a> {
    fn new(host: &'a Shared) -> Self {
        Self { host, helo: String::new(), sender: None, recipients: Vec::new(), tls: lock(&host.tls).clone() }
    }

    fn serve(mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut connection = Connection::new(stream)?;
        connection.send(format!("220 {} ESMTP\r\n", self.host.name).as_bytes())?;
        while let Some(line) = connection.line()? {
            let line = String::from_utf8_lossy(&line).into_owned();
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            let reply = match (verb.to_ascii_uppercase().as_str(), self.tls.clone()) {
                ("EHLO" | "HELO", _) => self.hello(argument, connection.tls().0.is_some()),
                ("STARTTLS", Some(config)) if connection.tls().0.is_none() => {
                    connection.send(b"220 2.0.0 go ahead\r\n")?;
                    let session = ServerConnection::new(config).map_err(io::Error::other)?;
                    connection =
                        connection.upgrade(|tcp| Ok(Transport::Server(Box::new(StreamOwned::new(session, tcp)))))?;
                    continue;
                }
                ("MAIL", _) => self.mail(argument),
                ("RCPT", _) => self.rcpt(argument),
                ("DATA", _) if !self.recipients.is_empty() => {
                    connection.send(b"354 end with a dot\r\n")?;
                    self.data(&mut connection)?
                }
                ("RSET", _) => {
                    self.reset();
                    "250 2.0.0 reset".into()
                }
                ("NOOP", _) => "250 2.0.0 yes".into(),
                ("QUIT", _) => return connection.send(b"221 2.0.0 goodbye\r\n"),
                _ => "503 5.5.1 not now".into(),
            };
            connection.send(format!("{reply}\r\n").as_bytes())?;
        }
        Ok(())
    }

    fn hello(&mut self, name: &str, encrypted: bool) -> String {
        name.clone_into(&mut self.helo);
        self.reset();
        let mut lines =
            vec![self.host.name.as_str(), "PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"];
        if self.tls.is_some() && !encrypted {
            lines.push("STARTTLS");
        }
        let last = lines.len() - 1;
        let line = |(index, line): (usize, &&str)| format!("250{}{line}", if index == last { " " } else { "-" });
        lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n")
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    fn mail(&mut self, argument: &str) -> String {
        self.reset();
        self.sender = Path::parse(argument);
        if self.sender.is_some() { "250 2.1.0 sender taken" } else { "501 5.5.4 bad sender" }.into()
    }

    fn rcpt(&mut self, argument: &str) -> String {
        let Some(path) = Path::parse(argument).filter(|_| self.sender.is_some()) else {
            return "501 5.5.4 bad recipient or no sender".into();
        };
        let mut orders = lock(&self.host.orders);
        if let Some(index) = orders.iter().position(|order| order.recipient.eq_ignore_ascii_case(&path.address)) {
            return if orders[index].once { orders.remove(index).reply } else { orders[index].reply.clone() };
        }
        self.recipients.push(path);
        "250 2.1.5 recipient taken".into()
    }

    fn data(&mut self, connection: &mut Connection) -> io::Result<String> {
        let mut message = Vec::new();
        loop {
            let line = connection.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match line.strip_prefix(b".") {
                Some(b"") => break,
                Some(rest) => message.extend_from_slice(rest),
                None => message.extend_from_slice(&line),
            }
            message.extend_from_slice(b"\r\n");
        }
        let (tls_version, shown) = connection.tls();
        let client_certificate = shown.map(|shown| {
            let known = self.host.known.iter().find(|identity| identity.is(shown));
            known.map_or_else(|| "unknown".to_owned(), |identity| identity.name.clone())
        });
        let (sender, recipients) = (self.sender.take(), std::mem::take(&mut self.recipients));
        let Some(sender) = sender else { return Ok("503 5.5.1 no sender".into()) };
        let helo = self.helo.clone();
        let received = Received { helo, tls_version, client_certificate, sender, recipients, message };
        lock(&self.host.received).push(received);
        Ok("250 2.0.0 message taken".into())
    }
}
