//! The groups of OpenLDAP.

use libtest_mimic::Trial;

use super::lab::slapd::{BASE, READER, group, group_dn, person, person_dn};
use super::lab::{Error, trial};
use super::world::World;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("group_of_names", group_of_names),
        trial("group_of_unique_names", group_of_unique_names),
        trial("posix_group", posix_group),
        trial("member_of", member_of),
        trial("nested_groups_and_cycles", nested_groups_and_cycles),
        trial("nesting_has_a_limit", nesting_has_a_limit),
        trial("members_that_are_gone", members_that_are_gone),
        trial("groups_are_found_by_their_simple_name", groups_are_found_by_their_simple_name),
        trial("a_doubtful_answer_is_an_error", a_doubtful_answer_is_an_error),
        trial("more_entries_than_the_server_gives_at_once", more_entries_than_the_server_gives_at_once),
        trial("a_large_group", a_large_group),
        trial("limits_are_errors", limits_are_errors),
        trial("referrals_make_an_answer_incomplete", referrals_make_an_answer_incomplete),
    ]
}

/// Three people: one with every kind of address.
pub fn people() -> String {
    person(
        "alice",
        "mail: Alice@customer.test\nmailAlternateAddress: a.liddell@customer.test\n\
         proxyAddresses: SMTP:alice@second.test\nproxyAddresses: smtp:al@customer.test\n\
         proxyAddresses: X500:/o=Customer/cn=alice@customer.test\nproxyAddresses: sip:alice@customer.test",
    ) + &person("bob", "mail: bob@customer.test\nmail: robert@customer.test")
        + &person("printer", "description: has no address")
}

/// The addresses of alice.
pub const ALICE: [&str; 4] =
    ["Alice@customer.test", "a.liddell@customer.test", "al@customer.test", "alice@second.test"];
/// The addresses of bob.
pub const BOB: [&str; 2] = ["bob@customer.test", "robert@customer.test"];

fn alice_and_bob() -> Vec<&'static str> {
    let mut all = [&ALICE[..], &BOB[..]].concat();
    all.sort_unstable();
    all
}

/// The names of people's entries.
pub fn dns(uids: &[&str]) -> Vec<String> {
    uids.iter().map(|uid| person_dn(uid)).collect()
}

fn group_of_names() -> Result<(), Error> {
    let ldif = people() + &group("staff", &dns(&["alice", "bob", "printer"]));
    let (world, slapd) = World::with("names", &ldif)?;
    for server in ["ldap://ldap.customer.test", "ldaps://ldap.customer.test", "ldaps://ldap.customer.test:636/"] {
        let members = world.expect(&format!("servers = {server:?}"), "staff", &alice_and_bob())?;
        assert_eq!((members.entries, members.missing), (3, 0));
    }
    world.expect("", &group_dn("staff"), &alice_and_bob())?;
    world.expect("mail_attributes = [\"mailAlternateAddress\"]", "staff", &["a.liddell@customer.test"])?;
    // Another name of the attribute mail.
    world.expect(
        "mail_attributes = [\"rfc822Mailbox\"]",
        "staff",
        &["Alice@customer.test", "bob@customer.test", "robert@customer.test"],
    )?;
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\ndelete: member\nmember: {}\n",
        group_dn("staff"),
        person_dn("bob")
    ))?;
    world.expect("", "staff", &ALICE)?;
    Ok(())
}

fn group_of_unique_names() -> Result<(), Error> {
    let ldif = people()
        + &format!(
            "dn: {}\nobjectClass: groupOfUniqueNames\ncn: staff\nuniqueMember: {}#'0101'B\nuniqueMember: {}\n\n",
            group_dn("staff"),
            person_dn("alice"),
            person_dn("bob"),
        );
    let (world, _slapd) = World::with("unique", &ldif)?;
    world.expect("", "staff", &alice_and_bob())?;
    Ok(())
}

fn account(uid: &str, group_number: u32) -> String {
    let lines = format!(
        "objectClass: posixAccount\nuidNumber: 1000\ngidNumber: {group_number}\nhomeDirectory: /\n\
         mail: {uid}@customer.test"
    );
    person(uid, &lines)
}

fn posix_group() -> Result<(), Error> {
    let posix = |cn: &str, number: u32, lines: &str| {
        format!("dn: {}\nobjectClass: posixGroup\ncn: {cn}\ngidNumber: {number}\n{lines}\n", group_dn(cn))
    };
    let ldif = account("alice", 100) + &account("Bob", 100) + &account("carol", 200);
    let ldif = ldif + &posix("staff", 300, "memberUid: alice\nmemberUid: bob\nmemberUid: a*)(uid=*\nmemberUid: gone\n");
    let (world, _slapd) = World::with("posix", &(ldif + &posix("sales", 200, "") + &posix("empty", 400, "")))?;
    let members = world.expect("", "staff", &["Bob@customer.test", "alice@customer.test"])?;
    assert_eq!((members.entries, members.missing), (2, 2));
    // Whoever has it as the primary group is a member too.
    world.expect("", "sales", &["carol@customer.test"])?;
    world.expect("", "empty", &[])?;
    Ok(())
}

fn member_of() -> Result<(), Error> {
    let ldif = people()
        + &group("inner", &dns(&["bob"]))
        + &group("outer", &[person_dn("alice"), group_dn("inner")])
        + &group("strangers", &["cn=nobody,dc=elsewhere,dc=test".to_owned()]);
    let (world, slapd) = World::with("member-of", &ldif)?;
    let by_member_of = "membership = \"member-of\"";
    world.expect(by_member_of, "outer", &alice_and_bob())?;
    let log = slapd.log();
    assert!(log.contains("(memberOf=cn=inner,ou=groups,dc=customer,dc=test)"), "{log}");
    world.refuse(by_member_of, "strangers", &["no entry with memberOf", "does it maintain memberOf?"])?;
    Ok(())
}

fn nested_groups_and_cycles() -> Result<(), Error> {
    let ldif = people()
        + &group("a", &[person_dn("alice"), group_dn("b")])
        + &group("b", &[group_dn("c"), group_dn("b")])
        + &group("c", &[format!("CN=A, OU=Groups,{BASE}"), person_dn("bob"), person_dn("alice")]);
    let (world, _slapd) = World::with("nested", &ldif)?;
    for name in ["a", "b", "c"] {
        let members = world.expect("", name, &alice_and_bob())?;
        // The group itself is none of its members.
        assert_eq!((members.entries, members.missing), (4, 0), "{name}");
    }
    Ok(())
}

fn nesting_has_a_limit() -> Result<(), Error> {
    let chain: String = (0..40).map(|level| group(&level.to_string(), &[group_dn(&(level + 1).to_string())])).collect();
    let (world, _slapd) = World::with("deep", &(people() + &chain + &group("40", &dns(&["bob"]))))?;
    world.expect("", "20", &BOB)?;
    world.refuse("", "0", &["nested more than 32 deep"])?;
    Ok(())
}

fn members_that_are_gone() -> Result<(), Error> {
    let ldif = people()
        + &group("staff", &dns(&["alice", "left", "retired"]))
        // What a group without members has, as it must have one.
        + &group("void", &[String::new()])
        + &group("ghosts", &dns(&["left", "retired"]));
    let (world, _slapd) = World::with("gone", &ldif)?;
    let members = world.expect("", "staff", &ALICE)?;
    assert_eq!((members.entries, members.missing), (1, 2));
    world.expect("", "void", &[])?;
    world.refuse("", "ghosts", &["none of the 2 members", "ldap.bind_dn"])?;
    Ok(())
}

fn groups_are_found_by_their_simple_name() -> Result<(), Error> {
    let ldif = people()
        // A person with a group's name is no second hit.
        + &person("staff", "mail: staff@customer.test")
        + &group("staff", &dns(&["bob"]))
        + &group("R\\2BD (50%) *", &dns(&["bob"])).replace("cn: R\\2BD", "cn: R+D")
        + &group("twice", &dns(&["bob"]))
        + &format!("dn: cn=twice,{BASE}\nobjectClass: groupOfNames\ncn: twice\nmember: {}\n", person_dn("bob"));
    let (world, _slapd) = World::with("simple", &ldif)?;
    world.expect("", "STAFF", &BOB)?;
    world.expect("", "R+D (50%) *", &BOB)?;
    world.expect("", &group_dn("R\\2BD (50%) *"), &BOB)?;
    for pattern in ["sta*", "*", "x)(cn=*", "staff\\00", "=", "nobody"] {
        world.refuse("", pattern, &["ldap://ldap.customer.test: has no group of that name"])?;
    }
    world.refuse("", "twice", &["several groups", &format!("cn=twice,{BASE}"), &group_dn("twice")])?;
    world.refuse("", &group_dn("nobody"), &["has no such entry"])?;
    world.refuse("", &person_dn("bob"), &["is no group"])?;
    world.refuse("", "cn=staff,x", &["cannot search cn=staff,x: invalidDNSyntax (34)"])?;
    world.refuse("base = \"dc=elsewhere,dc=test\"", "staff", &["dc=elsewhere,dc=test: noSuchObject (32)"])?;
    Ok(())
}

fn a_doubtful_answer_is_an_error() -> Result<(), Error> {
    let world = World::new("doubt")?;
    let slapd = world.slapd(
        0,
        &format!(
            "access to dn.exact={} attrs=member by * none\n\
             access to dn.subtree=ou=people,{BASE} attrs=mail,mailAlternateAddress,proxyAddresses by * none",
            group_dn("hidden")
        ),
    )?;
    slapd.add(&(people() + &group("staff", &dns(&["alice"])) + &group("hidden", &dns(&["alice"]))))?;
    world.refuse("", "staff", &["none of the 1 members", "has an address in mail,", "ldap.bind_dn"])?;
    world.refuse("", "hidden", &["shows no member", "ldap.bind_dn"])?;
    Ok(())
}

fn crowd(count: usize) -> (String, Vec<String>) {
    let names: Vec<String> = (0..count).map(|number| format!("p{number:04}")).collect();
    let ldif = names.iter().map(|name| account(name, 100)).collect();
    (ldif, names)
}

fn more_entries_than_the_server_gives_at_once() -> Result<(), Error> {
    let (ldif, names) = crowd(700);
    let world = World::new("pages")?;
    let limits = format!("limits dn.exact={} size.soft=50 size.hard=50", READER.0);
    // As many pages as are asked for; and no more entries on all pages together, which is slapd's default.
    let slapd = world.slapd(0, &format!("{limits} size.prtotal=unlimited"))?;
    let strict = world.slapd(1, &limits)?;
    let members: Vec<String> = names.iter().map(|name| person_dn(name)).collect();
    let uids: String = names.iter().map(|name| format!("memberUid: {name}\n")).collect();
    let posix = format!("dn: {}\nobjectClass: posixGroup\ncn: all\ngidNumber: 100\n\n", group_dn("all"));
    let listed = format!("dn: {}\nobjectClass: posixGroup\ncn: listed\ngidNumber: 7\n{uids}\n", group_dn("listed"));
    let ldif = ldif + &group("named", &members) + &posix + &listed;
    slapd.add(&ldif)?;
    strict.add(&ldif)?;
    let addresses: Vec<String> = names.iter().map(|name| format!("{name}@customer.test")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let by_search = [("", "all"), ("", "listed"), ("membership = \"member-of\"", "named")];
    for (lines, name) in [("", "named")].into_iter().chain(by_search) {
        world.expect(&format!("{lines}\npage_size = 20"), name, &addresses)?;
        world.expect(&format!("{lines}\npage_size = 700"), name, &addresses)?;
    }
    let strict = "servers = \"ldap://ldap2.customer.test\"";
    world.expect(strict, "named", &addresses)?;
    for (lines, name) in by_search {
        let lines = format!("{strict}\n{lines}\npage_size = 20");
        world.refuse(&lines, name, &["sizeLimitExceeded (4)", "ldap.page_size"])?;
    }
    Ok(())
}

fn a_large_group() -> Result<(), Error> {
    let (ldif, names) = crowd(3000);
    let members: Vec<String> = names.iter().map(|name| person_dn(name)).collect();
    let (world, _slapd) = World::with("large", &(ldif + &group("all", &members)))?;
    assert_eq!(world.members("", "all")?.addresses.len(), 3000);
    Ok(())
}

fn limits_are_errors() -> Result<(), Error> {
    let ldif = people() + &group("staff", &dns(&["alice", "bob", "printer"]));
    let (world, slapd) = World::with("limits", &ldif)?;
    for membership in ["members", "member-of"] {
        let lines = format!("page_size = 1\nmembership = {membership:?}\n");
        world.expect(&format!("{lines}max_members = 3"), "staff", &alice_and_bob())?;
        world.refuse(&format!("{lines}max_members = 2"), "staff", &["more than 2 members (ldap.max_members)"])?;
    }
    let long = "x".repeat(2000);
    slapd.add(&(person("long", &format!("mail: {long}@customer.test")) + &group("long", &dns(&["long", "bob"]))))?;
    world.refuse("", "long", &["uid=long", "an address of 2014 bytes"])?;
    Ok(())
}

fn referrals_make_an_answer_incomplete() -> Result<(), Error> {
    let elsewhere = |name: &str| {
        format!(
            "dn: ou={name},{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: {name}\n\
             ref: ldap://{name}.test/ou={name},{BASE}\n\n"
        )
    };
    let ldif = people()
        + &elsewhere("branch")
        + &group("staff", &dns(&["bob"]))
        + &group("far", &[person_dn("bob"), format!("uid=dave,ou=branch,{BASE}")])
        + &format!("dn: {}\nobjectClass: posixGroup\ncn: known\ngidNumber: 9\nmemberUid: bob\n\n", group_dn("posix"));
    let (world, _slapd) = World::with("referrals", &ldif)?;
    // The member is named, and read where it is.
    world.expect("", "staff", &BOB)?;
    world.refuse("", "far", &["refers to another server for uid=dave,ou=branch", "not followed"])?;
    for (lines, name) in [("membership = \"member-of\"", "staff"), ("", "posix")] {
        world.refuse(lines, name, &["refers to ldap://branch.test/", "there may be more members"])?;
    }
    Ok(())
}
