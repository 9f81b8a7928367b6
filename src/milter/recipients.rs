//! What Sendmail says of each recipient of a message. At the end of the message it says nothing of them any more.

use std::ffi::{CStr, CString};

use indymilter::Macros;

use crate::address::Address;
use crate::config::LOCAL_MAILERS;
use crate::judge::Site;

/// The recipients that Sendmail has taken, in their order.
#[derive(Debug, Default)]
pub struct Recipients {
    list: Vec<Recipient>,
    has_dsn: bool,
}

/// One of them.
#[derive(Debug)]
pub struct Recipient {
    /// The argument of RCPT, to the letter: by it Sendmail finds the recipient again.
    pub argument: CString,
    /// The ESMTP parameters that the client gave (RFC 3461, 4.1 and 4.2).
    pub parameters: Vec<CString>,
    /// `{rcpt_mailer}`: the mailer that rule set 0 chose.
    mailer: Option<CString>,
    /// `{rcpt_addr}`: the address that it made of the argument.
    address: Option<CString>,
}

impl Recipients {
    /// With the parameters of the MAIL command: whoever uses RFC 3461 has been offered it.
    pub fn of_mail(parameters: &[CString]) -> Self {
        let has_dsn = parameters.iter().any(|parameter| is_of(parameter, "RET") || is_of(parameter, "ENVID"));
        Self { list: Vec::new(), has_dsn }
    }

    /// One more.
    pub fn push(&mut self, recipient: Recipient) {
        self.has_dsn |= !recipient.parameters.is_empty();
        self.list.push(recipient);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Recipient> {
        self.list.iter()
    }

    /// Whether Sendmail is known to offer delivery status notifications in this session. Where it does not
    /// (`PrivacyOptions`, `srv_features`), it takes no parameter of theirs from a milter either.
    pub fn has_dsn(&self) -> bool {
        self.has_dsn
    }
}

impl Recipient {
    /// The recipient of a RCPT command, with the macros that go with it.
    pub fn of_rcpt(arguments: &[CString], macros: &Macros) -> Self {
        let text = |name: &CStr| macros.get(name).filter(|value| !value.is_empty()).map(CStr::to_owned);
        let mut arguments = arguments.iter().cloned();
        Self {
            argument: arguments.next().unwrap_or_default(),
            parameters: arguments.collect(),
            mailer: text(c"{rcpt_mailer}"),
            address: text(c"{rcpt_addr}"),
        }
    }

    /// One as it would have been told.
    #[cfg(test)]
    pub fn of_test(argument: CString, parameters: Vec<CString>, address: &str) -> Self {
        let address = CString::new(address).ok().filter(|address| !address.is_empty());
        Self { argument, parameters, mailer: Some(c"esmtp".into()), address }
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        let text = |text: &CString| size_of::<CString>() + text.as_bytes_with_nul().len();
        let told = self.mailer.iter().chain(&self.address).chain(&self.parameters);
        size_of::<Self>() + text(&self.argument) + told.map(text).sum::<usize>()
    }

    /// The address as Sendmail understood it; empty if it did not say.
    pub fn address(&self) -> &[u8] {
        self.address.as_deref().map(CStr::to_bytes).unwrap_or_default()
    }

    /// Whether it is for another site: neither delivered on this host, nor of a hosted domain, nor of the host itself.
    /// One of whom Sendmail said nothing is.
    pub fn is_external(&self, site: &Site, host: Option<&str>) -> bool {
        let is_local = |mailer: &CString| {
            let mailer = mailer.to_string_lossy();
            let named = site.local_mailers.iter().map(String::as_str);
            LOCAL_MAILERS.into_iter().chain(named).any(|local| local.eq_ignore_ascii_case(&mailer))
        };
        if self.mailer.as_ref().is_some_and(is_local) {
            return false;
        }
        let Some(address) = &self.address else { return true };
        Address::parse(&address.to_string_lossy()).is_some_and(|address| {
            let domain = address.domain();
            !site.hosted.contains(domain) && host.is_none_or(|host| !host.eq_ignore_ascii_case(domain))
        })
    }
}

/// Whether a RCPT command names somebody at a hosted domain, and nobody elsewhere by way of it.
pub fn is_at_hosted_domain(site: &Site, path: &str) -> bool {
    Address::parse(path).is_some_and(|address| {
        site.hosted.contains(address.domain()) && !address.local_part().contains(['%', '!', '@', ':'])
    })
}

/// Whether an ESMTP parameter has this keyword.
pub fn is_of(parameter: &CStr, keyword: &str) -> bool {
    let parameter = parameter.to_bytes();
    let name = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
    name.len() < parameter.len() && name.eq_ignore_ascii_case(keyword.as_bytes())
}
