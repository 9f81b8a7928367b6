//! sendmail.mc: our two blocks in it, and the sendmail.cf that m4(1) makes of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::command::{CommandError, Program};

/// Where distributions and the sources put Sendmail's m4 files.
const MACROS: [&str; 5] = [
    "/usr/share/sendmail/cf/",
    "/usr/share/sendmail-cf/",
    "/usr/lib/sendmail-cf/",
    "/usr/local/share/sendmail/cf/",
    "/usr/lib/mail/",
];

/// What a rule or a mailer of the site's own begins with: our features come before the first of these.
const FIRST: [&str; 16] = [
    "MAILER(",
    "MAILER (",
    "MAILER_DEFINITIONS",
    "LOCAL_CONFIG",
    "LOCAL_DNSBL",
    "LOCAL_NET_CONFIG",
    "LOCAL_RULESETS",
    "LOCAL_RULE_0",
    "LOCAL_RULE_1",
    "LOCAL_RULE_2",
    "LOCAL_RULE_3",
    "LOCAL_SRV_FEATURES",
    "LOCAL_CLT_FEATURES",
    "LOCAL_TLS_",
    "LOCAL_TRY_TLS",
    "LOCAL_UUCP",
];

/// One of our blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Before the mailers, and before rules of the site's own.
    Features,
    /// At the end.
    Rules,
}

impl Block {
    fn name(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Rules => "rules",
        }
    }

    fn begin(self) -> String {
        format!(
            "dnl # --- conbool-milter {}: begin; what stands between these lines is replaced by conbool-milter setup\n",
            self.name()
        )
    }

    fn end(self) -> String {
        format!("dnl # --- conbool-milter {}: end\n", self.name())
    }

    /// These lines between the two that make them known as ours.
    pub fn around(self, lines: &str) -> String {
        format!("{}{lines}{}", self.begin(), self.end())
    }

    /// What is before the block and after it; `None` without one.
    ///
    /// # Errors
    /// If one of its two lines is missing, or there twice.
    fn find(self, text: &str) -> Result<Option<(&str, &str)>, Marks> {
        let (begin, end) = (self.begin(), self.end());
        match (text.matches(&begin).count(), text.matches(&end).count(), text.split_once(&begin)) {
            (0, 0, _) => Ok(None),
            (1, 1, Some((before, rest))) => {
                let (_, after) = rest.split_once(&end).ok_or(Marks(self))?;
                Ok(Some((before, after)))
            }
            _ => Err(Marks(self)),
        }
    }

    /// The text with this block in place of what it has of it now; an empty one goes.
    ///
    /// # Errors
    /// As [`without_blocks`].
    pub fn put(self, text: &str, block: &str) -> Result<String, Marks> {
        Ok(match self.find(text)? {
            Some((before, after)) => format!("{before}{block}{after}"),
            None => {
                let at = if self == Self::Features { first_rule(text) } else { text.len() };
                let (before, after) = text.split_at(at);
                let newline = if block.is_empty() || before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
                format!("{before}{newline}{block}{after}")
            }
        })
    }
}

/// Of the two lines around a block, one is missing or there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks(Block);

impl std::fmt::Display for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "of the lines that enclose what setup writes, \"{}\" and \"{}\", one is missing or there twice; put that right \
             by hand",
            self.0.begin().trim_end(),
            self.0.end().trim_end()
        )
    }
}

/// The text as the site wrote it.
///
/// # Errors
/// [`Marks`].
pub fn without_blocks(text: &str) -> Result<String, Marks> {
    let mut text = text.to_owned();
    for block in [Block::Features, Block::Rules] {
        text = match block.find(&text)? {
            Some((before, after)) => format!("{before}{after}"),
            None => text,
        };
    }
    Ok(text)
}

/// Where the first mailer, or the first rule of the site's own, begins; the end if there is none.
///
/// A line within quotes is none: there it may be the argument of a macro. What follows `dnl` is not read.
fn first_rule(text: &str) -> usize {
    let mut at = 0;
    let mut depth = 0_usize;
    for line in text.split_inclusive('\n') {
        if depth == 0 && FIRST.iter().any(|first| line.trim_start().starts_with(first)) {
            return at;
        }
        at += line.len();
        for (offset, byte) in line.bytes().enumerate() {
            let word = |at: usize| !matches!(line.as_bytes().get(at), Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'_');
            match byte {
                b'`' => depth += 1,
                b'\'' => depth = depth.saturating_sub(1),
                b'd' if depth == 0 && line[offset..].starts_with("dnl") => {
                    let begins = offset.checked_sub(1).is_none_or(word);
                    if begins && word(offset + 3) {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    text.len()
}

/// Where Sendmail's m4 files are: what sendmail.mc includes them from, or else one of the usual places. Ends with a slash.
pub fn macros(mc: &str) -> Option<PathBuf> {
    let included = mc.lines().filter(|line| !line.trim_start().starts_with("dnl")).find_map(|line| {
        let (before, _) = line.split_once("m4/cf.m4")?;
        before.rsplit_once("include(`").map(|(_, directory)| PathBuf::from(directory))
    });
    included.or_else(|| MACROS.iter().map(PathBuf::from).find(|directory| directory.join("m4/cf.m4").is_file()))
}

/// A sendmail.cf, and what m4 said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its text.
    pub cf: String,
    /// Warnings, a line each.
    pub said: String,
}

/// Makes a sendmail.cf of a sendmail.mc that belongs into `directory`, as the `make` of distributions does.
///
/// # Errors
/// [`CommandError`], if there is no m4, or an error in the text.
pub fn make(directory: &Path, mc: &str) -> Result<Made, CommandError> {
    let m4 = Program { path: Path::new("m4"), package: "m4", directory };
    let includes = mc.lines().any(|line| !line.trim_start().starts_with("dnl") && line.contains("cf.m4"));
    let macros = macros(mc).filter(|_| !includes);
    let output = match macros {
        Some(macros) if fs::exists(macros.join("m4/cf.m4")).unwrap_or_default() => {
            let define = format!("-D_CF_DIR_={}", macros.display());
            let first = macros.join("m4/cf.m4");
            m4.run(&[&define, &first.to_string_lossy(), "-"], mc)?
        }
        _ => m4.run(&["-"], mc)?,
    };
    // m4 goes on after what Sendmail's macros call an error.
    let failed = |said: String| CommandError::Failed(m4.path.to_owned(), said);
    if let Some(error) = output.err.lines().find(|line| line.contains("*** ERROR")) {
        return Err(failed(error.trim().to_owned()));
    }
    if !output.out.lines().any(|line| line.starts_with('V')) {
        let missing = "it makes no sendmail.cf of sendmail.mc: Sendmail's m4 files are needed (package sendmail-cf), and a \
                       line that includes their cf.m4";
        return Err(failed(missing.to_owned()));
    }
    Ok(Made { cf: output.out, said: output.err })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_come_before_the_first_rule() {
        let at = |text: &str| text[first_rule(text)..].lines().next().unwrap_or_default().to_owned();
        assert_eq!(at("OSTYPE(`linux')dnl\nMAILER(smtp)dnl\nMAILER(`local')\n"), "MAILER(smtp)dnl");
        assert_eq!(at("LOCAL_DOMAIN(`a.test')dnl\nLOCAL_USER(`root')\nLOCAL_RULE_0\nR$*\t$@\n"), "LOCAL_RULE_0");
        assert_eq!(at("dnl MAILER(`cyrus')\n  MAILER(`local')\n"), "  MAILER(`local')");
        assert_eq!(at("ifdef(`X', `\nMAILER(`procmail')\n')dnl don't\nLOCAL_CONFIG\n"), "LOCAL_CONFIG");
        assert_eq!(at("define(`confX', `1')dnl `\nMAILER(`local')\n"), "MAILER(`local')");
        assert_eq!(at("define(`Xdnl', `1') `\nMAILER(`local')'\nMAILER(`smtp')\n"), "MAILER(`smtp')");
        assert_eq!(at("OSTYPE(`linux')\n"), "");
    }

    #[test]
    fn blocks_keep_their_places_and_the_rest_its_bytes() {
        let (features, rules) = (Block::Features.around("a\n"), Block::Rules.around("b\n"));
        let site = "OSTYPE(`linux')\nMAILER(`local')";
        let once = Block::Features.put(site, &features).and_then(|text| Block::Rules.put(&text, &rules)).unwrap();
        assert_eq!(once, format!("OSTYPE(`linux')\n{features}MAILER(`local')\n{rules}"));
        let twice = Block::Features.put(&once, &features).and_then(|text| Block::Rules.put(&text, &rules)).unwrap();
        assert_eq!(twice, once);
        assert_eq!(without_blocks(&once).unwrap(), format!("{site}\n"));
        assert_eq!(Block::Rules.put(&once, "").unwrap(), format!("OSTYPE(`linux')\n{features}MAILER(`local')\n"));
        assert_eq!(Block::Rules.put(site, "").unwrap(), site);
        for broken in [format!("{once}{features}"), once.replace(&Block::Rules.end(), "")] {
            assert!(without_blocks(&broken).is_err(), "{broken}");
        }
    }
}
