//! Servers that do not keep to the protocol: an error each, never a short answer, never an end of the daemon.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use ldap3_proto::LdapCodec;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapExtendedResponse, LdapMsg, LdapOp, LdapPartialAttribute, LdapResult, LdapResultCode, LdapSearchResultEntry,
};
use libtest_mimic::Trial;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

use super::lab::slapd::{BASE, group_dn};
use super::lab::{Error, trial};
use super::world::World;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("servers_that_fall_silent", servers_that_fall_silent),
        trial("servers_that_break_off", servers_that_break_off),
        trial("servers_that_go_on_without_end", servers_that_go_on_without_end),
        trial("servers_that_speak_something_else", servers_that_speak_something_else),
        trial("value_ranges_that_do_not_fit", value_ranges_that_do_not_fit),
        trial("start_tls_cannot_be_talked_away", start_tls_cannot_be_talked_away),
    ]
}

/// What a server answers to a request, the `n`th from 0; `None` hangs up.
type Answers = fn(usize, LdapMsg) -> Option<Vec<u8>>;

/// Settings for a server that answers so, asked without TLS.
fn server(answers: Answers) -> Result<String, Error> {
    Ok(format!("{}\nplaintext = \"anonymous\"", tls_server(answers)?))
}

/// Settings for a server that answers so, asked to start TLS first.
fn tls_server(answers: Answers) -> Result<String, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            // It ends when the client has heard enough.
            let _ended = serve(client, answers);
        }
    });
    Ok(format!(
        "servers = \"ldap://127.0.0.1:{port}\"\nconnect_timeout = 1\ntimeout = 1\nbind_dn = \"\"\npassword_file = \"\""
    ))
}

fn serve(mut client: TcpStream, answers: Answers) -> Result<(), Error> {
    let (mut requests, mut chunk) = (BytesMut::new(), [0; 4096]);
    let mut count = 0;
    loop {
        while let Some(request) = LdapCodec::default().decode(&mut requests)? {
            let Some(answer) = answers(count, request) else { return Ok(()) };
            client.write_all(&answer)?;
            count += 1;
        }
        match client.read(&mut chunk)? {
            0 => return Ok(()),
            length => requests.extend_from_slice(&chunk[..length]),
        }
    }
}

fn bytes(msgid: i32, op: LdapOp, ctrl: Vec<LdapControl>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    LdapCodec::default().encode(LdapMsg { msgid, op, ctrl }, &mut bytes).expect("a message that can be encoded");
    bytes.to_vec()
}

fn result(code: LdapResultCode) -> LdapResult {
    LdapResult { code, matcheddn: String::new(), message: String::new(), referral: vec![] }
}

fn done(msgid: i32, cookie: &[u8]) -> Vec<u8> {
    let paging = LdapControl::SimplePagedResults { size: 0, cookie: cookie.to_vec() };
    bytes(msgid, LdapOp::SearchResultDone(result(LdapResultCode::Success)), vec![paging])
}

fn entry(msgid: i32, dn: &str, attributes: &[(&str, &str)]) -> Vec<u8> {
    let attribute = |(name, value): &(&str, &str)| LdapPartialAttribute {
        atype: (*name).to_owned(),
        vals: vec![value.as_bytes().to_vec()],
    };
    let attributes = attributes.iter().map(attribute).collect();
    bytes(msgid, LdapOp::SearchResultEntry(LdapSearchResultEntry { dn: dn.into(), attributes }), vec![])
}

/// A group that says nothing of its members.
fn group(msgid: i32) -> Vec<u8> {
    entry(msgid, &group_dn("staff"), &[("objectClass", "group")])
}

fn servers_that_fall_silent() -> Result<(), Error> {
    let world = World::new("silent")?;
    world.refuse(&tls_server(|_, _| Some(vec![]))?, "staff", &["TLS and the bind took more than 1 s"])?;
    world.refuse(&server(|_, _| Some(vec![]))?, "staff", &["a search below", "took more than 1 s"])?;
    world.refuse(&server(|_, _| Some(vec![0x30]))?, &group_dn("staff"), &["reading cn=staff", "took more than 1 s"])?;
    Ok(())
}

fn servers_that_break_off() -> Result<(), Error> {
    let world = World::new("broken")?;
    world.refuse(&server(|_, _| None)?, "staff", &["closed the connection"])?;
    // After a first page, and in the middle of one.
    let second_page: Answers = |count, request| match count {
        0 => Some([group(request.msgid), done(request.msgid, b"more")].concat()),
        _ => None,
    };
    world.refuse(&server(second_page)?, "staff", &["closed the connection"])?;
    let disconnected: Answers = |_, _| {
        let notice = LdapExtendedResponse { res: result(LdapResultCode::Unavailable), name: None, value: None };
        Some(bytes(0, LdapOp::ExtendedResponse(notice), vec![]))
    };
    world.refuse(&server(disconnected)?, "staff", &["ended the connection"])?;
    Ok(())
}

fn servers_that_go_on_without_end() -> Result<(), Error> {
    let world = World::new("endless")?;
    world.refuse(&server(|_, request| Some(done(request.msgid, b"more")))?, "staff", &["goes on without end"])?;
    let again: Answers = |count, request| match count {
        0 => Some([entry(1, &group_dn("staff"), &[("memberUid", "alice")]), done(1, b"")].concat()),
        _ => Some([entry(request.msgid, "uid=alice", &[("uid", "alice")]), done(request.msgid, b"more")].concat()),
    };
    world.refuse(&format!("{}\nmax_members = 100", server(again)?), "staff", &["more than 100 members"])?;
    Ok(())
}

fn servers_that_speak_something_else() -> Result<(), Error> {
    let world = World::new("strange")?;
    world.refuse(&server(|_, _| Some(b"HTTP/1.1 400 Bad Request\r\n".to_vec()))?, "staff", &["not LDAP"])?;
    world.refuse(&server(|_, _| Some(vec![0x30, 0x80]))?, "staff", &["not LDAP"])?;
    world.refuse(
        &server(|_, _| Some(vec![0x30, 0x84, 0x40, 0, 0, 0]))?,
        "staff",
        &["a message of 1073741830 bytes"],
    )?;
    world.refuse(&server(|_, _| Some(vec![0x30, 3, 2, 1, 1]))?, "staff", &["a message that is not understood"])?;
    // Elements in elements, a hundred thousand deep.
    let nested: Answers = |_, _| {
        let element = |rest: u32| [&[0x30, 0x84][..], &(6 * rest).to_be_bytes()].concat();
        Some((0..100_000).rev().flat_map(element).collect())
    };
    world.refuse(&server(nested)?, "staff", &["parts do not fit together"])?;
    let wrong_id: Answers = |_, request| Some(done(request.msgid + 1, b""));
    world.refuse(&server(wrong_id)?, "staff", &["not asked for"])?;
    world.refuse(&server(wrong_id)?, &group_dn("staff"), &["not asked for"])?;
    let binary: Answers = |count, request| {
        let mut found =
            if count == 0 { entry(1, BASE, &[("member", "cn=a")]) } else { entry(2, "cn=a", &[("mail", "a")]) };
        if count > 0 {
            *found.last_mut()? = 0xff;
        }
        Some([found, done(request.msgid, b"")].concat())
    };
    world.refuse(&server(binary)?, "staff", &["cn=a has a value of mail that is no text"])?;
    Ok(())
}

fn value_ranges_that_do_not_fit() -> Result<(), Error> {
    let world = World::new("ranges")?;
    fn ranged(first: &'static str, count: usize, request: &LdapMsg, next: &[(&str, &str)]) -> Option<Vec<u8>> {
        let id = request.msgid;
        let attributes = if count == 0 { &[(first, "cn=a")][..] } else { next };
        Some([entry(id, &group_dn("staff"), attributes), done(id, b"")].concat())
    }
    let gap: Answers = |count, request| ranged("member;range=0-0", count, &request, &[("member;range=2-*", "cn=b")]);
    let nothing: Answers = |count, request| ranged("member;range=0-0", count, &request, &[]);
    let again: Answers = |count, request| ranged("member;range=0-0", count, &request, &[("member;range=0-0", "cn=b")]);
    for answers in [gap, nothing, again] {
        world.refuse(&server(answers)?, "staff", &["does not return the values of member in cn=staff"])?;
    }
    let few: Answers = |count, request| ranged("member;range=0-5", count, &request, &[]);
    let late: Answers = |count, request| ranged("member;range=1-*", count, &request, &[]);
    for answers in [few, late] {
        world.refuse(&server(answers)?, "staff", &["a value range that is not understood"])?;
    }
    let gone: Answers = |count, request| match count {
        0 => ranged("member;range=0-0", 0, &request, &[]),
        _ => Some(bytes(request.msgid, LdapOp::SearchResultDone(result(LdapResultCode::NoSuchObject)), vec![])),
    };
    world.refuse(&server(gone)?, "staff", &["disappeared while it was read"])?;
    Ok(())
}

fn start_tls_cannot_be_talked_away() -> Result<(), Error> {
    fn answer(request: &LdapMsg, code: LdapResultCode) -> Vec<u8> {
        let response = LdapExtendedResponse { res: result(code), name: None, value: None };
        bytes(request.msgid, LdapOp::ExtendedResponse(response), vec![])
    }
    let world = World::new("start-tls")?;
    let refused: Answers = |_, request| Some(answer(&request, LdapResultCode::ProtocolError));
    world.refuse(&tls_server(refused)?, "staff", &["refuses StartTLS: protocolError (2)"])?;
    // Somebody in between adds an answer that would be believed once there is TLS.
    let injected: Answers =
        |_, request| Some([answer(&request, LdapResultCode::Success), group(2), done(2, b"")].concat());
    world.refuse(&tls_server(injected)?, "staff", &["sent more before TLS than it may"])?;
    let other: Answers = |_, request| Some(done(request.msgid, b""));
    world.refuse(&tls_server(other)?, "staff", &["does not answer StartTLS"])?;
    Ok(())
}
