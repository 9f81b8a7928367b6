//! Runs the text cases in `tests/cases` against a real Postfix and a real Sendmail with the milter attached.

mod lab;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use lab::case_run::Sites;
use lab::postfix::Postfix;
use lab::sendmail::Sendmail;
use lab::site::{MailServer, Site};
use lab::{Error, case_file, case_run};
use libtest_mimic::{Failed, Trial};

fn main() -> ExitCode {
    lab::main(|| {
        let mut trials = trials::<Postfix>()?;
        trials.extend(self::trials::<Sendmail>()?);
        Ok(trials)
    })
}

/// One test for each file that is about this mail server.
fn trials<M: MailServer + Send + Sync + 'static>() -> Result<Vec<Trial>, Error> {
    let sites = Arc::new(Sites::<M>::default());
    let files = case_file::list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"))?;
    let trial = |file: PathBuf| {
        let (token, sites) = (file.file_stem().unwrap_or_default().to_string_lossy().into_owned(), sites.clone());
        let case = case_file::read(&file, M::NAME);
        if case.as_ref().is_ok_and(|case| !case.applies) {
            return None;
        }
        Some(Trial::test(format!("{}/{token}", M::COMMAND), move || {
            let case = case?;
            let check = |site: &Site<M>| case_run::run(site, &token, &case)?.check(&case);
            sites.with(&case.site, check).map_err(Failed::from)
        }))
    };
    Ok(files.into_iter().filter_map(trial).collect())
}
