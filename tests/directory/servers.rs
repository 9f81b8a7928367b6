//! Which server is asked, how it proves who it is, and how we do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use conbool_milter::directory;
use libtest_mimic::Trial;

use super::lab::certificates::Authority;
use super::lab::slapd::{READER, group};
use super::lab::{Error, trial};
use super::openldap::{ALICE, BOB, dns, people};
use super::world::World;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("tls_is_verified", tls_is_verified),
        trial("plaintext_only_if_it_is_asked_for", plaintext_only_if_it_is_asked_for),
        trial("binds", binds),
        trial("servers_are_tried_in_order", servers_are_tried_in_order),
    ]
}

fn tls_is_verified() -> Result<(), Error> {
    let world = World::new("tls")?;
    let other = world.authority.issue("other", "other.test")?;
    let slapd = world.slapd_with(0, &other, "")?;
    slapd.add(&(people() + &group("staff", &dns(&["bob"]))))?;
    for server in ["ldap://ldap.customer.test", "ldaps://ldap.customer.test"] {
        let lines = format!("servers = {server:?}");
        world.refuse(&lines, "staff", &[server, "TLS", "certificate must carry the name ldap.customer.test"])?;
        world.refuse(
            &format!("servers = \"{}\"", server.replace("ldap.customer.test", "127.0.6.1")),
            "staff",
            &["TLS"],
        )?;
    }
    // The right name from an authority that is not trusted.
    drop(slapd);
    let _slapd = world.slapd(1, "")?;
    let stranger = Authority::new(&world.dir.join("stranger"))?;
    for server in ["ldap://ldap2.customer.test", "ldaps://ldap2.customer.test"] {
        let lines = format!("servers = {server:?}\nca_file = {:?}", stranger.file());
        world.refuse(&lines, "staff", &[server, "TLS", "stranger/ca.pem"])?;
    }
    // TLS where there is none, and the other way round.
    world.refuse("servers = \"ldaps://ldap2.customer.test:389\"", "staff", &["ldaps://ldap2.customer.test:389: "])?;
    world.refuse("servers = \"ldap://ldap2.customer.test:636\"", "staff", &["ldap://ldap2.customer.test:636: "])?;
    Ok(())
}

fn plaintext_only_if_it_is_asked_for() -> Result<(), Error> {
    let world = World::new("plaintext")?;
    let mut slapd = world.slapd(0, "access to attrs=userPassword by anonymous auth\naccess to * by * read")?;
    slapd.add(&(people() + &group("staff", &dns(&["bob"]))))?;
    let tls = |log: &str| log.contains("STARTTLS") || log.contains("TLS established");
    world.expect("", "staff", &BOB)?;
    assert!(tls(&slapd.log()));
    slapd.stop();
    slapd.resume()?;
    let anonymous = "bind_dn = \"\"\npassword_file = \"\"";
    world.expect(&format!("plaintext = \"anonymous\"\n{anonymous}"), "staff", &BOB)?;
    world.expect("plaintext = \"with-password\"", "staff", &BOB)?;
    assert!(!tls(&slapd.log()), "{}", slapd.log());
    Ok(())
}

fn binds() -> Result<(), Error> {
    let (world, _slapd) = World::with("binds", &(people() + &group("staff", &dns(&["bob"]))))?;
    world.refuse("bind_dn = \"\"\npassword_file = \"\"", "staff", &["ldap.bind_dn"])?;
    world.write_password("not the one")?;
    let text = world.refuse("", "staff", &["does not take ldap.bind_dn cn=reader", "invalidCredentials (49)"])?;
    assert!(!text.contains("not the one"), "{text}");
    assert!(!format!("{:?}", world.settings("")?).contains("not the one"));
    // A new password needs no new configuration.
    let settings = world.settings("")?;
    world.write_password(READER.1)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    assert_eq!(runtime.block_on(directory::members(&settings, "staff"))?, BOB);
    fs::set_permissions(world.dir.join("password"), fs::Permissions::from_mode(0o644))?;
    let open = runtime.block_on(directory::members(&settings, "staff")).unwrap_err().to_string();
    assert!(open.contains("chmod o-rwx"), "{open}");
    Ok(())
}

fn servers_are_tried_in_order() -> Result<(), Error> {
    let world = World::new("order")?;
    let mut first = world.slapd(0, "")?;
    let second = world.slapd(1, "")?;
    first.add(&(people() + &group("staff", &dns(&["bob"]))))?;
    second.add(&(people() + &group("staff", &dns(&["alice"]))))?;
    let servers = "servers = [\"ldap://ldap.customer.test\", \"ldaps://ldap2.customer.test\"]";
    world.expect(servers, "staff", &BOB)?;
    first.stop();
    world.expect(servers, "staff", &ALICE)?;
    drop(second);
    world.refuse(
        servers,
        "staff",
        &[
            "group \"staff\"; ldap://ldap.customer.test: nothing listens there",
            "; ldaps://ldap2.customer.test: nothing",
        ],
    )?;
    world.refuse("servers = \"ldap://nowhere.customer.test\"", "staff", &["its name cannot be looked up"])?;
    first.resume()?;
    world.expect(servers, "staff", &BOB)?;
    Ok(())
}
