//! The groups of Active Directory, as a Samba domain controller has them.

use std::sync::OnceLock;

use libtest_mimic::Trial;

use super::lab::samba::{ADMINISTRATOR, BASE, HOST, Samba, dn};
use super::lab::{Error, trial};
use super::value_limit::ValueLimit;
use super::world::World;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("ad_addresses", addresses),
        trial("ad_nested_groups", nested_groups),
        trial("ad_primary_groups", primary_groups),
        trial("ad_value_ranges", value_ranges),
        trial("ad_members_of_other_domains", members_of_other_domains),
        trial("ad_servers", servers),
    ]
}

/// The domain, made once for all tests.
struct Domain {
    world: World,
    samba: Samba,
}

/// Settings that reach the domain controller.
const DOMAIN: &str = "servers = \"ldap://dc1.ad.test\"\nbase = \"DC=ad,DC=test\"\nbind_dn = \"administrator@ad.test\"";

fn domain() -> Result<&'static Domain, Error> {
    static DOMAIN: OnceLock<Result<Domain, String>> = OnceLock::new();
    let domain = DOMAIN.get_or_init(|| start().map_err(|error| error.to_string())).as_ref();
    let domain = domain.map_err(String::as_str)?;
    domain.world.enter()?;
    Ok(domain)
}

fn start() -> Result<Domain, Error> {
    let world = World::new("active-directory")?;
    world.write_password(ADMINISTRATOR.1)?;
    let identity = world.authority.issue("dc1", HOST.0)?;
    let samba = Samba::start(&world.dir.join("samba"), &world.authority, &identity)?;
    let user = |cn: &str, lines: &str| {
        format!("dn: {}\nobjectClass: user\nsAMAccountName: {cn}\nmail: {cn}@customer.test\n{lines}\n", dn(cn))
    };
    let group = |cn: &str, lines: &str, members: &[&str]| {
        let members: String = members.iter().map(|cn| format!("member: {}\n", dn(cn))).collect();
        format!("dn: {}\nobjectClass: group\n{lines}{members}\n", dn(cn))
    };
    let contacts: Vec<String> = (0..60).map(|number| format!("c{number:02}")).collect();
    let mut ldif = user(
        "alice",
        "proxyAddresses: SMTP:alice@customer.test\nproxyAddresses: smtp:al@second.test\n\
         proxyAddresses: X500:/o=Customer/cn=alice@customer.test\nproxyAddresses: SIP:alice@customer.test\n\
         userPrincipalName: alice.liddell@ad.test\n",
    ) + &user("bob", "")
        + &user("carol", "");
    for cn in &contacts {
        ldif += &format!("dn: {}\nobjectClass: contact\nmail: {cn}@customer.test\n\n", dn(cn));
    }
    let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
    ldif += &(group("inner", "mail: inner@customer.test\n", &["bob"])
        + &group("Outer (main)", "sAMAccountName: outer\n", &["alice", "inner"])
        + &group("sales", "", &["bob", "carol"])
        + &group("contacts", "", &contacts)
        + &group("foreign", "", &["alice"])
        // A member that is a member of its member.
        + &format!("dn: {}\nchangetype: modify\nadd: member\nmember: {}\n\n", dn("inner"), dn("Outer (main)")));
    samba.modify(&ldif)?;
    // To become the primary group of a member, a group must have it as a member; then it no longer lists it.
    let number = samba.value(&dn("sales"), "primaryGroupToken")?;
    samba.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: primaryGroupID\nprimaryGroupID: {number}\n\n\
         dn: {}\nchangetype: modify\nadd: member\nmember: CN=S-1-5-11,CN=ForeignSecurityPrincipals,{BASE}\n\n",
        dn("bob"),
        dn("foreign")
    ))?;
    Ok(Domain { world, samba })
}

fn addresses() -> Result<(), Error> {
    let world = &domain()?.world;
    let with_attributes = |names: &str| format!("{DOMAIN}\nmail_attributes = [{names}]");
    // The account is disabled, as it has no password.
    let alice = ["al@second.test", "alice@customer.test"];
    let outer = [&alice[..], &["bob@customer.test", "inner@customer.test"]].concat();
    world.expect(DOMAIN, "outer", &outer)?;
    world.expect(&with_attributes("\"userPrincipalName\""), "outer", &["alice.liddell@ad.test"])?;
    Ok(())
}

fn nested_groups() -> Result<(), Error> {
    let world = &domain()?.world;
    for name in ["outer", "OUTER", "Outer (main)", &dn("Outer (main)")] {
        let members = world.members(DOMAIN, name)?;
        assert!(members.addresses.contains(&"bob@customer.test".to_owned()), "{name}: {members:?}");
        assert_eq!((members.entries, members.missing), (3, 0), "{name}");
    }
    let by_member_of = format!("{DOMAIN}\nmembership = \"member-of\"");
    assert_eq!(world.members(&by_member_of, "outer")?, world.members(DOMAIN, "outer")?);
    Ok(())
}

fn primary_groups() -> Result<(), Error> {
    let domain = domain()?;
    let world = &domain.world;
    assert!(domain.samba.value(&dn("sales"), "member")?.contains("carol"));
    for lines in [DOMAIN.to_owned(), format!("{DOMAIN}\nmembership = \"member-of\"")] {
        world.expect(&lines, "sales", &["bob@customer.test", "carol@customer.test"])?;
    }
    // Nobody is listed in the group that everybody has from the start. It lies outside of what else is looked through.
    let elsewhere = DOMAIN.replace("base = \"", "base = \"OU=Domain Controllers,");
    let users = world.members(&elsewhere, &dn("Domain Users"))?;
    assert!(users.addresses.contains(&"carol@customer.test".to_owned()), "{users:?}");
    Ok(())
}

fn value_ranges() -> Result<(), Error> {
    let world = &domain()?.world;
    let all: Vec<String> = (0..60).map(|number| format!("c{number:02}@customer.test")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    world.expect(DOMAIN, "contacts", &all)?;
    for limit in [1, 7, 20, 59, 60, 61] {
        let limited = ValueLimit::start(world, limit)?;
        let lines = format!(
            "{}\nplaintext = \"with-password\"",
            DOMAIN.replace("dc1.ad.test", &format!("127.0.0.1:{}", limited.port()))
        );
        world.expect(&lines, "contacts", &all)?;
        let parts = 60_usize.div_ceil(limit);
        assert_eq!(limited.parts(), parts, "limit {limit}");
    }
    Ok(())
}

fn members_of_other_domains() -> Result<(), Error> {
    let world = &domain()?.world;
    world.refuse(DOMAIN, "foreign", &["knows no address of the member CN=S-1-5-11,", "another domain"])?;
    Ok(())
}

fn servers() -> Result<(), Error> {
    let world = &domain()?.world;
    let ldaps = DOMAIN.replace("ldap:", "ldaps:");
    world.expect(&ldaps, "sales", &["bob@customer.test", "carol@customer.test"])?;
    world.refuse(&DOMAIN.replace("dc1.ad.test", "198.51.100.3"), "sales", &["TLS"])?;
    world.refuse(&DOMAIN.replace("administrator@", "nobody@"), "sales", &["invalidCredentials (49)"])?;
    let anonymous = format!("servers = \"ldap://dc1.ad.test\"\nbase = {BASE:?}\nbind_dn = \"\"\npassword_file = \"\"");
    world.refuse(&anonymous, "sales", &["operationsError (1)", "ldap.bind_dn"])?;
    Ok(())
}
