//! What a Windows domain controller does and Samba does not: no more than so many values of `member` in one answer.
//!
//! Requests go through to Samba, which answers for ranges that are asked for; only that a range *is* asked for is this
//! server's doing.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ldap3_proto::LdapCodec;
use ldap3_proto::proto::{LdapMsg, LdapOp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

use super::lab::{Error, samba};
use super::world::World;

/// A server on 127.0.0.1, without TLS; it ends with the program.
pub struct ValueLimit {
    port: u16,
    parts: Arc<AtomicUsize>,
}

impl ValueLimit {
    /// Starts the server in the network of `world`.
    pub fn start(world: &World, limit: usize) -> Result<Self, Error> {
        world.enter()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let port = listener.local_addr()?.port();
        let parts = Arc::new(AtomicUsize::new(0));
        let count = parts.clone();
        std::thread::spawn(move || {
            runtime.block_on(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let _ended = serve(client, limit, &count).await;
                }
            });
        });
        Ok(Self { port, parts })
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often values of a group were asked for.
    pub fn parts(&self) -> usize {
        self.parts.load(Ordering::SeqCst)
    }
}

async fn serve(mut client: TcpStream, limit: usize, parts: &AtomicUsize) -> Result<(), Error> {
    let mut server = TcpStream::connect((samba::HOST.1, 389)).await?;
    let (mut requests, mut answers) = (BytesMut::new(), BytesMut::new());
    loop {
        tokio::select! {
            count = client.read_buf(&mut requests) => if count? == 0 { return Ok(()) },
            count = server.read_buf(&mut answers) => if count? == 0 { return Ok(()) },
        }
        while let Some(mut message) = LdapCodec::default().decode(&mut requests)? {
            if of_the_group(&message) {
                parts.fetch_add(1, Ordering::SeqCst);
                limit_values(&mut message, limit);
            }
            let mut bytes = BytesMut::new();
            LdapCodec::default().encode(message, &mut bytes)?;
            server.write_all(&bytes).await?;
        }
        client.write_all(&answers.split()).await?;
    }
}

/// Whether this reads the group, by its name or by a search for it.
fn of_the_group(message: &LdapMsg) -> bool {
    let LdapOp::SearchRequest(request) = &message.op else { return false };
    request.base == samba::dn("contacts") || format!("{:?}", request.filter).contains("\"contacts\"")
}

fn limit_values(message: &mut LdapMsg, limit: usize) {
    let LdapOp::SearchRequest(request) = &mut message.op else { return };
    for attribute in &mut request.attrs {
        let from = match attribute.strip_prefix("member;range=").and_then(|range| range.strip_suffix("-*")) {
            Some(from) => from.parse().unwrap_or(0),
            None if attribute == "member" => 0,
            None => continue,
        };
        *attribute = format!("member;range={from}-{}", from + limit - 1);
    }
}
