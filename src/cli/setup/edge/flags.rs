//! The settings of section `[edge]` as flags: each is written into our configuration.

use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, Table, Value};

/// The keys of section edge. What is not given stays as it is in the configuration.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Section edge of the configuration, where these are written")]
pub struct Flags {
    /// Next hop of mail for the hosted domains
    #[arg(long, value_name = "NEXT_HOP")]
    inner: Option<String>,
    /// Address or network of the inner server; can be given more than once
    #[arg(long = "inner-network", value_name = "NETWORK")]
    inner_networks: Vec<String>,
    /// PEM file with the certificate that the edge shows
    #[arg(long, value_name = "FILE")]
    certificate: Option<String>,
    /// PEM file with its key
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// Name of the Postfix instance
    #[arg(long, value_name = "NAME", conflicts_with = "only_instance")]
    instance: Option<String>,
    /// The edge is the host's only Postfix; a main.cf that is there is replaced
    #[arg(long)]
    only_instance: bool,
    /// The edge's own name
    #[arg(long, value_name = "NAME")]
    myhostname: Option<String>,
    /// Address to take mail on; can be given more than once
    #[arg(long = "listen", value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Port to take mail on
    #[arg(long, value_name = "PORT")]
    listen_port: Option<i64>,
    /// First of two consecutive ports for the split listeners
    #[arg(long, value_name = "PORT")]
    split_port: Option<i64>,
    /// Whether the inner server must use TLS
    #[arg(long, value_name = "BOOLEAN")]
    require_tls: Option<bool>,
    /// How the inner server proves to be it: address, password or certificate
    #[arg(long, value_name = "HOW")]
    authentication: Option<String>,
    /// SHA-256 fingerprint of its client certificate; can be given more than once
    #[arg(long = "fingerprint", value_name = "FINGERPRINT")]
    fingerprints: Vec<String>,
    /// TLS on the way to the inner server: may, encrypt, secure or fingerprint
    #[arg(long, value_name = "LEVEL")]
    inner_tls: Option<String>,
    /// Name that its certificate must carry
    #[arg(long, value_name = "NAME")]
    inner_tls_name: Option<String>,
    /// SHA-256 fingerprint of its server certificate; can be given more than once
    #[arg(long = "inner-fingerprint", value_name = "FINGERPRINT")]
    inner_fingerprints: Vec<String>,
    /// PEM file with the trust anchors for that certificate
    #[arg(long, value_name = "FILE")]
    inner_ca_file: Option<String>,
    /// How the edge knows that a recipient exists: inner, list or none
    #[arg(long, value_name = "HOW")]
    verify_recipients: Option<String>,
    /// Postfix table with all recipients
    #[arg(long, value_name = "TABLE")]
    recipient_table: Option<String>,
    /// Whether the world may deliver to hosted domains
    #[arg(long, value_name = "BOOLEAN")]
    open: Option<bool>,
    /// How long mail waits for either side, in seconds
    #[arg(long, value_name = "SECONDS")]
    queue_lifetime: Option<i64>,
    /// The largest message, in bytes
    #[arg(long, value_name = "BYTES")]
    message_size_limit: Option<i64>,
}

impl Flags {
    /// The configuration with what the flags say in its section edge. Everything else stays as it is written.
    ///
    /// # Errors
    /// If the text is no TOML.
    pub fn written_into(&self, text: &str) -> Result<String, String> {
        write(text, self.values()?)
    }

    fn values(&self) -> Result<Vec<(&'static str, Value)>, String> {
        let string = |text: &Option<String>| text.as_deref().map(Value::from);
        let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.iter().collect::<Array>().into());
        // Relative to where the command is run, not to the configuration's folder.
        let file = |name: &Option<String>| match name {
            None => Ok(None),
            Some(name) => match std::path::absolute(Path::new(name)) {
                Ok(path) => Ok(Some(Value::from(path.to_string_lossy().into_owned()))),
                Err(error) => Err(format!("{name}: {error}")),
            },
        };
        let instance = match self.only_instance {
            true => Some(Value::from(crate::config::ONLY_INSTANCE)),
            false => string(&self.instance),
        };
        let values = [
            ("inner", string(&self.inner)),
            ("inner_networks", list(&self.inner_networks)),
            ("certificate", file(&self.certificate)?),
            ("key", file(&self.key)?),
            ("instance", instance),
            ("myhostname", string(&self.myhostname)),
            ("listen", list(&self.listen)),
            ("listen_port", self.listen_port.map(Value::from)),
            ("split_port", self.split_port.map(Value::from)),
            ("require_tls", self.require_tls.map(Value::from)),
            ("authentication", string(&self.authentication)),
            ("fingerprints", list(&self.fingerprints)),
            ("inner_tls", string(&self.inner_tls)),
            ("inner_tls_name", string(&self.inner_tls_name)),
            ("inner_fingerprints", list(&self.inner_fingerprints)),
            ("inner_ca_file", file(&self.inner_ca_file)?),
            ("verify_recipients", string(&self.verify_recipients)),
            ("recipient_table", string(&self.recipient_table)),
            ("open", self.open.map(Value::from)),
            ("queue_lifetime", self.queue_lifetime.map(Value::from)),
            ("message_size_limit", self.message_size_limit.map(Value::from)),
        ];
        Ok(values.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }
}

/// The configuration saying that the edge is the host's only Postfix.
///
/// # Errors
/// If the text is no TOML.
pub fn only_instance(text: &str) -> Result<String, String> {
    write(text, vec![("instance", Value::from(crate::config::ONLY_INSTANCE))])
}

fn write(text: &str, values: Vec<(&'static str, Value)>) -> Result<String, String> {
    if values.is_empty() {
        return Ok(text.to_owned());
    }
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let section = document.entry("edge").or_insert(Item::Table(Table::new()));
    let section = section.as_table_like_mut().ok_or("edge is no section; write [edge] on a line of its own")?;
    for (key, value) in values {
        let same = |item: &Item| item.as_value().is_some_and(|old| plain(old) == plain(&value));
        if !section.get(key).is_some_and(same) {
            section.insert(key, Item::Value(value));
        }
    }
    Ok(document.to_string())
}

/// A value as it is written, without the space and comments around it.
fn plain(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let text = "domains = [\"customer.test\"] # ours\n\n[edge] # Kerio\ninner = \"[a.test]:25\" # there\nlisten_port = 25\n";
        let flags = Flags { inner: Some("[a.test]:25".into()), listen_port: Some(2525), ..Flags::default() };
        assert_eq!(flags.written_into(text).unwrap(), text.replace("listen_port = 25\n", "listen_port = 2525\n"));
        assert_eq!(Flags::default().written_into(text).unwrap(), text);
    }

    #[test]
    fn a_section_is_made() {
        let flags = Flags { inner_networks: vec!["192.0.2.1".into()], only_instance: true, ..Flags::default() };
        let text = flags.written_into("domains = []\n").unwrap();
        assert_eq!(text, "domains = []\n\n[edge]\ninner_networks = [\"192.0.2.1\"]\ninstance = \"-\"\n");
    }
}
