//! Runs the text cases in `tests/cases` against a real Postfix with the milter attached.

mod lab;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use lab::case_run::Sites;
use lab::site::Site;
use lab::{case_file, case_run};
use libtest_mimic::{Failed, Trial};

fn main() -> ExitCode {
    lab::main(|| Ok(trials(&Arc::new(Sites::default()))?))
}

/// One test for each file.
fn trials(sites: &Arc<Sites>) -> std::io::Result<Vec<Trial>> {
    let files = case_file::list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"))?;
    let trial = |file: std::path::PathBuf| {
        let (name, sites) = (file.file_stem().unwrap_or_default().to_string_lossy().into_owned(), sites.clone());
        let token = name.clone();
        Trial::test(name, move || {
            let case = case_file::read(&file)?;
            let check = |site: &Site| case_run::run(site, &token, &case)?.check(&case);
            sites.with(&case.site, check).map_err(Failed::from)
        })
    };
    Ok(files.into_iter().map(trial).collect())
}
