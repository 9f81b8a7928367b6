//! `conbool-milter check`: every mistake in the configuration and in the scripts at once.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("conbool-milter-{}-check-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            std::fs::write(folder.join(file), text).unwrap();
        }
        Self(folder)
    }

    /// Exit code, standard output, and standard error without the folder's path.
    fn check(&self) -> (Option<i32>, String, String) {
        self.check_with(None)
    }

    /// As [`Self::check`], in a service with this folder of credentials.
    fn check_with(&self, credentials: Option<&str>) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conbool-milter"));
        command.args(["check", "--config"]).arg(self.0.join("m.toml")).current_dir(&self.0);
        command.env_remove("CREDENTIALS_DIRECTORY").envs(credentials.map(|folder| ("CREDENTIALS_DIRECTORY", folder)));
        let output = command.output().unwrap();
        let folder = format!("{}/", self.0.display());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&folder, "");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const FIVE_LINES: &str = "provider = \"conbool\"\ndomains = [\"customer.test\"]\nrelay_networks = [\"192.0.2.0/24\"]\n\
                          socket = \"unix:/run/conbool-milter/milter.sock\"\ninternal_networks = [\"10.0.0.0/8\"]\n";

#[test]
fn five_lines_are_a_configuration() {
    let (code, output, errors) = Folder::new("good", &[("m.toml", FIVE_LINES)]).check();
    assert_eq!((code, output.as_str(), errors.as_str()), (Some(0), "m.toml: no errors\n", ""));
}

#[test]
fn the_packaged_configuration_is_right_and_waits_for_setup() {
    let packaged = std::fs::read_to_string("packaging/conbool-milter.toml").unwrap();
    let (code, output, errors) = Folder::new("packaged", &[("m.toml", &packaged)]).check();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let (first, second) = output.split_once('\n').unwrap();
    assert_eq!(first, "m.toml: no errors");
    assert!(second.contains("nothing is set up yet") && second.contains("run conbool-milter setup"), "{output}");
}

#[test]
fn mistakes_in_configuration_and_script_are_told_together() {
    let config = format!("{FIVE_LINES}relay_network = \"192.0.2.0/24\"\n[rules]\nsite_script = \"site.sieve\"\n");
    let script = "require \"fileinto\";\nfileinto \"Spam\";\nredirect \"x@remote.test\";\n";
    let (code, _, errors) = Folder::new("both", &[("m.toml", &config), ("site.sieve", script)]).check();
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 3, "{errors}");
    assert!(lines[0].starts_with("m.toml:6: relay_network: ") && lines[0].contains("relay_networks"), "{errors}");
    assert!(lines[1].starts_with("site.sieve:2: ") && lines[1].contains("Quarantine"), "{errors}");
    assert!(lines[2].starts_with("site.sieve:3: ") && lines[2].contains("redirect is not supported"), "{errors}");
}

#[test]
fn an_unknown_provider_is_told_with_its_place() {
    let config = format!("# our site\n{}", FIVE_LINES.replace("\"conbool\"", "\"conbol\""));
    let (code, _, errors) = Folder::new("provider", &[("m.toml", &config)]).check();
    assert_eq!(code, Some(1));
    assert!(errors.starts_with("m.toml:2: provider: ") && errors.contains("\"conbol\""), "{errors}");
}

#[test]
fn lock_down_in_mode_auto_needs_the_names_of_the_mx_hosts() {
    let config = format!("{FIVE_LINES}[lock_down]\nopen_recipients = [\"postmaster\"]\nmode = \"auto\"\n");
    let (code, _, errors) = Folder::new("auto", &[("m.toml", &config)]).check();
    assert_eq!(code, Some(1));
    assert!(errors.starts_with("m.toml:8: lock_down.mode: \"auto\" needs the names"), "{errors}");
    let config = format!("{config}mx_hosts = [\"*.example.net\"]\n");
    let (code, ..) = Folder::new("auto-good", &[("m.toml", &config)]).check();
    assert_eq!(code, Some(0));
}

#[test]
fn a_providers_own_folder_is_checked_too() {
    let config = FIVE_LINES.replace("\"conbool\"", "\"./own\"");
    let folder = Folder::new("own", &[("m.toml", &config)]);
    std::fs::create_dir(folder.0.join("own")).unwrap();
    std::fs::write(folder.0.join("own/provider.toml"), "name = \"Own\"\n[relay]\nhost = \"relay.example\"\n").unwrap();
    std::fs::write(folder.0.join("own/policy.sieve"), "keep\n").unwrap();
    let (code, _, errors) = folder.check();
    assert_eq!(code, Some(1));
    assert!(errors.contains("own/provider.toml:") && errors.contains("headers"), "{errors}");
}

/// What each built-in provider asks for.
const NEEDS: [(&str, &str); 3] = [
    ("conbool", "relay_networks = [\"192.0.2.0/24\"]\n"),
    (
        "secumailer",
        "[provider_settings]\ncustomer_id = \"4711\"\n[scope]\nmode = \"sections\"\nsections = [\"avg\"]\n[scope.avg]\n",
    ),
    ("mailprotector", "relay_networks = [\"192.0.2.0/24\"]\n[lock_down]\nmx_hosts = [\"*.example.net\"]\n"),
];

#[test]
fn a_copy_of_each_built_in_folder_is_a_provider_of_the_sites_own() {
    for (name, needs) in NEEDS {
        let config = |provider: &str| {
            format!(
                "provider = \"{provider}\"\ndomains = [\"customer.test\"]\n\
                 socket = \"unix:/run/conbool-milter/milter.sock\"\n{needs}"
            )
        };
        let (code, _, errors) = Folder::new(name, &[("m.toml", &config(name))]).check();
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{name}");
        let folder = Folder::new(&format!("copy-of-{name}"), &[("m.toml", &config("./own"))]);
        std::fs::create_dir(folder.0.join("own")).unwrap();
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sieve").join(name);
        for file in ["provider.toml", "policy.sieve"] {
            std::fs::copy(source.join(file), folder.0.join("own").join(file)).unwrap();
        }
        let (code, _, errors) = folder.check();
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{name}");
        let policy = folder.0.join("own/policy.sieve");
        let text = std::fs::read_to_string(&policy).unwrap();
        let wrong = "require \"environment\";\nif environment :is \"vnd.conbool.setting.region\" \"\" { stop; }\n";
        std::fs::write(&policy, format!("{wrong}{text}")).unwrap();
        let (code, _, errors) = folder.check();
        assert_eq!(code, Some(1));
        let expected = "own/policy.sieve:2: there is no environment item \"vnd.conbool.setting.region\"";
        assert!(errors.starts_with(expected), "{name}: {errors}");
    }
}

#[test]
fn a_password_may_be_a_credential_of_the_service() {
    let config = format!(
        "{FIVE_LINES}[ldap]\nservers = \"ldap://ldap.customer.test\"\nbase = \"o=Customer\"\nbind_dn = \"cn=reader\"\n\
         password_file = \"ldap-password\"\n"
    );
    let folder = Folder::new("credential", &[("m.toml", &config)]);
    // Outside of the service nobody can tell.
    assert_eq!(folder.check().0, Some(0));
    let in_service = Some("credentials");
    let (code, _, errors) = folder.check_with(in_service);
    assert!(code == Some(1) && errors.contains("\"ldap-password\" cannot be read: No such file"), "{errors}");
    std::fs::create_dir(folder.0.join("credentials")).unwrap();
    let password = folder.0.join("credentials/ldap-password");
    std::fs::write(&password, "secret").unwrap();
    for (mode, expected) in [(0o400, Some(0)), (0o444, Some(1))] {
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(folder.check_with(in_service).0, expected, "{mode:o}");
    }
    // The empty default of a unit is a mistake only for who needs the password.
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    for empty in ["", "\n"] {
        std::fs::write(&password, empty).unwrap();
        let (code, _, errors) = folder.check_with(in_service);
        assert!(code == Some(1) && errors.contains("is empty among the credentials of the service"), "{errors}");
    }
    std::fs::write(folder.0.join("m.toml"), FIVE_LINES).unwrap();
    assert_eq!(folder.check_with(in_service).0, Some(0));
}
